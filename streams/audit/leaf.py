"""The entry of a leaf, and its hash (formats §3).

The entry is ASCII text, a pure function of the leaf's index, the source coordinates and the hash
of the content; it is at most 385 bytes and is never stored. Leaf hash = SHA-256(00 ‖ entry)
(RFC 6962 §2.1).
"""

import re
from binascii import b2a_base64
from hashlib import sha256
from typing import NamedTuple

from schemas.canonical import LONG_MAX
from schemas.records import Source
from streams.audit.note import MalformedError

__all__ = ["ENTRY_HEADER", "LEAF_PREFIX", "LeafEntry", "leaf_entry", "leaf_hash", "parse_entry"]

ENTRY_HEADER = b"attestream.leaf/v1\n"
LEAF_PREFIX = b"\x00"
NUMBER = rb"(0|[1-9][0-9]{0,18})"
ENTRY = re.compile(
    re.escape(ENTRY_HEADER)
    + rb"%b\n([a-zA-Z0-9._-]{1,249}) %b %b (-1|%b)\n" % (NUMBER, NUMBER, NUMBER, NUMBER[1:-1])
    # The last digit of base64 has two bits that mean nothing, and are 0.
    + rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n"
)


class LeafEntry(NamedTuple):
    """What an entry says besides the hash of its content."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    source: Source


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


def parse_entry(entry: bytes) -> LeafEntry:
    """Read an entry, in its one spelling. Raises MalformedError."""
    found = ENTRY.fullmatch(entry)
    if found is None:
        raise MalformedError(f"not the entry of a leaf: {entry[:100]!r}")
    index, partition, offset, timestamp = map(int, found.group(1, 3, 4, 5))
    if max(index, offset, timestamp) > LONG_MAX:
        raise MalformedError(f"a number in an entry that no record has: {entry[:100]!r}")
    return LeafEntry(index, Source(found[2].decode(), partition, offset, timestamp))
