"""Record batches as any producer may send them, written here from Kafka's description alone.

aiokafka's builder cannot write a timestamp of -1, a header name that is not UTF-8, or a record
with neither key nor value; other producers do. Source: the message format of Kafka's
documentation, "Record Batch" and "Record".
"""

import struct
from collections.abc import Sequence

from aiokafka.record.util import calc_crc32c

from schemas.records import Record

__all__ = ["record_batch"]


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


def record_batch(records: Sequence[Record]) -> bytes:
    """One uncompressed batch; the broker sets the offsets."""
    base = records[0].timestamp
    body = b"".join(one_record(r, at, base) for at, r in enumerate(records))
    last = len(records) - 1
    after_crc = struct.pack(
        ">hiqqqhii", 0, last, base, max(r.timestamp for r in records), -1, -1, -1, len(records)
    )
    crc = calc_crc32c(after_crc + body)
    after_length = struct.pack(">ibI", -1, 2, crc) + after_crc + body
    return struct.pack(">qi", 0, len(after_length)) + after_length


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
