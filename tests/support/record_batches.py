"""Record batches as any producer may send them, written here from Kafka's description alone.

aiokafka's builder cannot write a timestamp of -1, a header name that is not UTF-8, or a record
with neither key nor value; other producers do. Source: the message format of Kafka's
documentation, "Record Batch" and "Record".
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

from schemas.records import Record

__all__ = ["BatchKind", "record_batch"]

CODECS = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}


def varint(number: int) -> bytes:
    """Zigzag, least significant group first."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | number & 0x7F)
        number >>= 7
    out.append(number)
    return bytes(out)


def string(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


class BatchKind(NamedTuple):
    """What a batch is besides its records; `missing` offsets at its end were compacted away."""

    base_offset: int = 0
    codec: int = 0
    producer_id: int = -1
    transactional: bool = False
    control: bool = False
    append_time: int | None = None
    missing: int = 0


def record_batch(records: Sequence[Record], kind: BatchKind = BatchKind()) -> bytes:  # noqa: B008
    """One batch as it stands on the wire; when produced, the broker sets its offsets."""
    base = records[0].timestamp
    body = b"".join(one_record(r, at, base) for at, r in enumerate(records))
    if kind.codec:
        body = CODECS[kind.codec](body)
    attributes = kind.codec | kind.transactional << 4 | kind.control << 5
    newest = max(r.timestamp for r in records)
    if kind.append_time is not None:
        attributes, newest = attributes | 1 << 3, kind.append_time
    after_crc = struct.pack(
        ">hiqqqhii",
        attributes,
        len(records) - 1 + kind.missing,
        base,
        newest,
        kind.producer_id,
        -1,
        -1,
        len(records),
    )
    crc = calc_crc32c(after_crc + body)
    after_length = struct.pack(">ibI", -1, 2, crc) + after_crc + body
    return struct.pack(">qi", kind.base_offset, len(after_length)) + after_length


def one_record(record: Record, at: int, base_timestamp: int) -> bytes:
    headers = b"".join(string(name) + string(value) for name, value in record.headers)
    body = (
        b"\0"
        + varint(record.timestamp - base_timestamp)
        + varint(at)
        + string(record.key)
        + string(record.value)
        + varint(len(record.headers))
        + headers
    )
    return varint(len(body)) + body
