"""The entry of a leaf, and its hash (formats §3).

The entry is ASCII text, a pure function of the leaf's index, the source coordinates and the hash
of the content; it is at most 385 bytes and is never stored. Leaf hash = SHA-256(00 ‖ entry)
(RFC 6962 §2.1).
"""

from binascii import b2a_base64
from hashlib import sha256

from schemas.records import Source

__all__ = ["ENTRY_HEADER", "leaf_entry", "leaf_hash"]

ENTRY_HEADER = b"attestream.leaf/v1\n"
LEAF_PREFIX = b"\x00"


def leaf_entry(index: int, source: Source, content: bytes) -> bytes:
    """The four lines a leaf commits to; `content` is what `schemas.audit_values` encodes."""
    topic, partition, offset, timestamp = source
    return b"%b%d\n%b %d %d %d\n%b" % (
        ENTRY_HEADER,
        index,
        topic.encode(),
        partition,
        offset,
        timestamp,
        b2a_base64(sha256(content).digest()),
    )


def leaf_hash(index: int, source: Source, content: bytes) -> bytes:
    """The 32 bytes that stand for one sealed record in the tree."""
    return sha256(LEAF_PREFIX + leaf_entry(index, source, content)).digest()
