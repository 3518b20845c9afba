"""Snapshots: a projection's state at a position, encrypted, so that a start need not begin at 0.

Pure: `names` (where objects are), `parts` (a state as bytes, and chunks of them), `cipher` (chunks
and manifests under a data key), `manifest`, `retention`. Beside the world: `keys` (data keys,
wrapped), `store` (objects), `containment` (does the log hold it?), `writing`, `restoring`,
`cleanup`, `rekeying`, and `keeper`, which does it all for one projection of one log.
"""
