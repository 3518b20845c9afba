"""The operator key: it orders what moves trust, and is kept apart from the keys that sign logs.

An Ed25519 key in the forms of a local signing key. It signs on the operator's machine only: a
worker that is given one refuses to start.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.audit.note import ED25519, Vkey
from streams.audit.operations import (
    Operation,
    make_operation_note,
    operator_name,
    render_operation,
)

__all__ = ["OperatorKey"]


class OperatorKey:
    """The key that orders for the deployment whose origins begin with `base`."""

    def __init__(self, key: Ed25519PrivateKey, base: str) -> None:
        self._key = key
        self._base = base

    @property
    def vkey(self) -> Vkey:
        """What verifiers and workers are given."""
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return Vkey(operator_name(self._base), ED25519, public)

    def order(self, operation: Operation) -> bytes:
        """The signed note, as it is sent to `attestream.operations`.

        A note of many heads is longer than what signers of checkpoints sign.
        """
        signature = self._key.sign(render_operation(operation).encode())
        return make_operation_note(operation, self._base, self.vkey, signature)
