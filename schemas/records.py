"""The values that stand in an audit partition, and the records they are made of.

A `Record` is one committed record of any partition, on Kafka or on the embedded engine. The sealer
turns each `Record` of a source partition into an `AuditRecord`; between the audit records stand
`Checkpoint`s. Bytes of both: `schemas.audit_values`.

These are `NamedTuple`s because hundreds of thousands a second are made on the read path, where a
frozen dataclass costs four times as much to build.
"""

from typing import NamedTuple, NewType

__all__ = [
    "AuditRecord",
    "AuditValue",
    "Checkpoint",
    "Content",
    "Encrypted",
    "Header",
    "LeafIndex",
    "Offset",
    "Omitted",
    "Plain",
    "Record",
    "Source",
    "TreeSize",
]

Offset = NewType("Offset", int)
LeafIndex = NewType("LeafIndex", int)
TreeSize = NewType("TreeSize", int)

Header = tuple[bytes, bytes | None]


class Record(NamedTuple):
    """One committed record of a partition, as a reader got it.

    `timestamp` is in milliseconds since the epoch, -1 where the record has none. Header names are
    raw bytes: Kafka does not promise UTF-8.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Source(NamedTuple):
    """Where a sealed record came from: topic, partition, offset, and its timestamp in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class Plain(NamedTuple):
    """Content kept as it was produced; nothing is normalised, null is not empty."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class Encrypted(NamedTuple):
    """Content only the holder of a subject's data key can read (reserved, formats §4)."""

    key_id: str
    ciphertext: bytes


class Omitted(NamedTuple):
    """Content too long for an audit record: its length in bytes and SHA-256 stand for it."""

    length: int
    sha256: bytes


Content = Plain | Encrypted | Omitted


class AuditRecord(NamedTuple):
    """One leaf: `content` is the canonical Avro that is hashed, `leaf` its stored leaf hash."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    source: Source
    content: bytes
    leaf: bytes


class Checkpoint(NamedTuple):
    """A C2SP signed note, whole, and the compact range [0, size) its root folds from."""

    note: str
    frontier: tuple[bytes, ...]


AuditValue = AuditRecord | Checkpoint
