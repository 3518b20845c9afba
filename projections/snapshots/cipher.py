"""Chunks and manifests under a data key: AES-256-GCM, and HMAC-SHA-256 (formats §8).

    chunk    = nonce, 12 bytes ‖ ciphertext ‖ tag, 16 bytes
               AAD = snapshot id, 26 bytes ‖ chunk number, u32 big-endian
    manifest = RFC 8785 JSON ‖ LF ‖ HMAC-SHA-256 of the JSON, 64 hex digits ‖ LF

A data key is 32 random bytes, made for one snapshot. The key of the HMAC is derived from it by
HKDF-SHA-256 with a label of its own, so that neither use says anything about the other. The HMAC
stands outside the JSON: it is checked before anything is parsed.
"""

import hmac
import re
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from projections.snapshots.refusal import SnapshotRefusedError

__all__ = [
    "DATA_KEY_BYTES",
    "MANIFEST_BYTES_MAX",
    "NONCE_BYTES",
    "authenticated",
    "decrypt_chunk",
    "encrypt_chunk",
    "with_mac",
]

DATA_KEY_BYTES = 32
NONCE_BYTES = 12
MANIFEST_LABEL = b"attestream.snapshot.manifest/v1"
TRAILER = re.compile(rb"\n([0-9a-f]{64})\n")
TRAILER_BYTES = 66
MANIFEST_BYTES_MAX = 64 * 2**20


def encrypt_chunk(data_key: bytes, place: tuple[str, int], nonce: bytes, plain: bytes) -> bytes:
    """A chunk as it is stored; `place` is its snapshot and its number there."""
    assert len(nonce) == NONCE_BYTES
    return nonce + AESGCM(data_key).encrypt(nonce, plain, _associated(place))


def decrypt_chunk(data_key: bytes, place: tuple[str, int], stored: bytes) -> bytes:
    """What a chunk holds.

    Raises:
        SnapshotRefusedError: it was changed, or belongs to another place or key.
    """
    try:
        return AESGCM(data_key).decrypt(
            stored[:NONCE_BYTES], stored[NONCE_BYTES:], _associated(place)
        )
    except (InvalidTag, ValueError):
        snapshot, number = place
        raise SnapshotRefusedError(
            f"chunk {number} of {snapshot} is not what was stored: its tag does not fit"
        ) from None


def with_mac(data_key: bytes, document: bytes) -> bytes:
    """A manifest as it is stored."""
    return b"%s\n%s\n" % (document, _mac(data_key, document).hexdigest().encode())


def authenticated(data_key: bytes, stored: bytes) -> bytes:
    """The document of a stored manifest.

    Raises:
        SnapshotRefusedError: it was changed, or made with another key.
    """
    document, trailer = stored[:-TRAILER_BYTES], stored[-TRAILER_BYTES:]
    found = TRAILER.fullmatch(trailer)
    if len(stored) > MANIFEST_BYTES_MAX or not found:
        raise SnapshotRefusedError("the manifest does not end in its HMAC")
    given = bytes.fromhex(found[1].decode())
    if not hmac.compare_digest(_mac(data_key, document).digest(), given):
        raise SnapshotRefusedError("the manifest is not what was stored: its HMAC does not fit")
    return document


def _associated(place: tuple[str, int]) -> bytes:
    snapshot, number = place
    return snapshot.encode() + number.to_bytes(4, "big")


def _mac(data_key: bytes, document: bytes) -> hmac.HMAC:
    derived = HKDF(SHA256(), length=32, salt=None, info=MANIFEST_LABEL).derive(data_key)
    return hmac.new(derived, document, sha256)
