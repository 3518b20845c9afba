"""The tables of `attestream.db`, and the bytes of a headers column.

Every partition has a table of its own, `records_<id>`, whose rowid is the offset: appends always
go to the right edge of one B-tree, and a second record at an offset is refused by the key. One
table for all, keyed by (partition, offset) `WITHOUT ROWID`, was measured: from 1 KB a record on
SQLite keeps such rows in overflow pages, twice the CPU and 4.7 KB of disk for 1.5 KB of record.
"""

import re
import struct

from schemas.records import Header

__all__ = [
    "APPLICATION_ID",
    "FORMAT",
    "PAGE_BYTES",
    "TABLES",
    "TOPIC_NAME",
    "decode_headers",
    "encode_headers",
    "records_table",
]

APPLICATION_ID = 0x61747374  # "atst", in the file's header
FORMAT = 2  # `user_version`, in the file's header
PAGE_BYTES = 8192
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")

# The text is compared with what a file says of itself: views, triggers and generated columns of
# a file made by somebody else are never run.
TABLES = {
    "identity": "CREATE TABLE identity (id INTEGER PRIMARY KEY CHECK (id = 1), "
    "cluster_id TEXT NOT NULL, origin TEXT NOT NULL)",
    "topics": "CREATE TABLE topics (name TEXT PRIMARY KEY, topic_id TEXT NOT NULL UNIQUE, "
    "audit INTEGER NOT NULL)",
    # An id is never given twice, nor is an offset: `end_offset` only grows.
    "partitions": "CREATE TABLE partitions (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "topic TEXT NOT NULL, partition INTEGER NOT NULL, start_offset INTEGER NOT NULL DEFAULT 0, "
    "end_offset INTEGER NOT NULL DEFAULT 0, writer_epoch INTEGER NOT NULL DEFAULT 0, "
    "UNIQUE (topic, partition))",
    "positions": "CREATE TABLE positions (role TEXT NOT NULL, partition_id INTEGER NOT NULL, "
    "owner INTEGER NOT NULL, next_offset INTEGER, size INTEGER, root BLOB, "
    "epoch INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (role, partition_id))",
}

NAME_LENGTH = struct.Struct(">I")
VALUE_LENGTH = struct.Struct(">i")
NULL = -1


def records_table(partition_id: int) -> str:
    """The statement that makes the table `records_<partition_id>`."""
    return (
        f"CREATE TABLE records_{partition_id} (offset INTEGER PRIMARY KEY, "
        "timestamp INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB)"
    )


def encode_headers(headers: tuple[Header, ...]) -> bytes | None:
    """Each header as length, name, length (-1: null), value; lengths 4 bytes, big-endian.

    None for no headers: nearly every record.
    """
    if not headers:
        return None
    parts: list[bytes] = []
    for name, value in headers:
        parts += (NAME_LENGTH.pack(len(name)), name)
        if value is None:
            parts.append(VALUE_LENGTH.pack(NULL))
        else:
            parts += (VALUE_LENGTH.pack(len(value)), value)
    return b"".join(parts)


def decode_headers(data: bytes | None) -> tuple[Header, ...]:
    """The inverse of `encode_headers`.

    Raises:
        ValueError: the bytes are damaged.
    """
    headers: list[Header] = []
    at, data = 0, data or b""
    try:
        while at < len(data):
            (length,) = NAME_LENGTH.unpack_from(data, at)
            name, at = _taken(data, at + NAME_LENGTH.size, length)
            (length,) = VALUE_LENGTH.unpack_from(data, at)
            at += VALUE_LENGTH.size
            value: bytes | None = None
            if length != NULL:
                value, at = _taken(data, at, length)
            headers.append((name, value))
    except struct.error as error:
        raise ValueError(f"headers end within a length: {error}") from error
    return tuple(headers)


def _taken(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if length < 0 or at + length > len(data):
        raise ValueError(f"a header of {length} bytes in {len(data) - at}")
    return data[at : at + length], at + length
