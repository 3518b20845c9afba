"""Keys that wrap data keys: the data keys go into a store, these never do.

A local key wraps by AES-GCM of its own size (128, 192 or 256 bits):

    nonce, 12 bytes ‖ ciphertext ‖ tag, 16 bytes;  AAD = subject ‖ LF ‖ key id

`subject` names what the data key is for: it cannot be unwrapped as that of anything else. Nonces
are random; at one wrap a snapshot the 2^32 a key is good for last for ever. The id of a local key
is an HMAC under it: it names the key and says nothing about it.
"""

import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["AesWrappingKey", "KeyRefusedError", "WrappingKey", "WrappingKeys"]

NONCE_BYTES = 12
ID_LABEL = b"attestream.index-key.id/v1"
ID_DIGITS = 16


class KeyRefusedError(ValueError):
    """What is to be unwrapped was not wrapped by this key for this subject."""


class WrappingKey(Protocol):
    """Wraps and unwraps data keys; the key stays behind it."""

    @property
    def key_id(self) -> str:
        """Names the key: at most 64 of a-z, 0-9 and -."""

    async def wrap(self, data_key: bytes, subject: str) -> bytes:
        """Raises TransientError, or SettingsError where an operator must act."""

    async def unwrap(self, wrapped: bytes, subject: str) -> bytes:
        """Raises KeyRefusedError, TransientError, SettingsError."""

    async def close(self) -> None:
        """Idempotent, never raises."""


class AesWrappingKey:
    """A key of 16, 24 or 32 bytes held in this process's memory."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._key_id = "aes-" + hmac.new(key, ID_LABEL, sha256).hexdigest()[:ID_DIGITS]

    def __repr__(self) -> str:
        return f"AesWrappingKey({self._key_id})"

    @property
    def key_id(self) -> str:
        """As the port says."""
        return self._key_id

    async def wrap(self, data_key: bytes, subject: str) -> bytes:
        """As the port says; never fails."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data_key, self._associated(subject))

    async def unwrap(self, wrapped: bytes, subject: str) -> bytes:
        """As the port says. Raises KeyRefusedError alone."""
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, sealed, self._associated(subject))
        except (InvalidTag, ValueError):
            raise KeyRefusedError(f"not wrapped by {self._key_id} for {subject}") from None

    async def close(self) -> None:
        """Nothing is open."""

    def _associated(self, subject: str) -> bytes:
        return f"{subject}\n{self._key_id}".encode()


class WrappingKeys:
    """The keys a process has: the first wraps, each may unwrap what it wrapped."""

    def __init__(self, keys: Sequence[WrappingKey]) -> None:
        assert keys, "no key wraps"
        self._keys = {key.key_id: key for key in keys}
        self.first = keys[0]

    def get(self, key_id: str) -> WrappingKey | None:
        """The key of this id; None where it is not at hand."""
        return self._keys.get(key_id)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all, that of the first first."""
        return tuple(self._keys)

    async def close(self) -> None:
        """Idempotent."""
        for key in self._keys.values():
            await key.close()
