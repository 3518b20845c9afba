"""Signers behind one port (`streams.ports.Signer`).

`choice` opens the one the settings name: `kms` (AWS KMS), `proxy` (a signing proxy), or `local`
(an Ed25519 key in this process). `guarded` stands around those that are remote: time-out, check
of every signature, circuit breaker. `signing` is what all share, `ring` what one process
holds, `operator` the key that orders. `reference_proxy` is a signing
proxy for development.

Keys that wrap data keys of snapshots are beside them: `index_keys` opens those the settings name,
`wrapping` is a local one, `kms_wrapping` one of AWS KMS, which is asked through `kms_client`.
"""
