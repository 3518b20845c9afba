"""Signers behind one port (`streams.ports.Signer`): today the local Ed25519 key.

`local` reads a private key in any of the customary forms, makes new ones, and signs.
"""
