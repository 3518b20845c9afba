"""Rows of a segment: `{offset long, timestamp long, value bytes}`, one after another.

Pure. A verifier reads hundreds of thousands of rows a second, so `decode_rows` takes the usual
row by table: an offset whose varint differs from the row before in its first byte only, a
timestamp of six varint bytes (1970-07 to 2039-09), a value of 64 to 8191 bytes. Any other row goes
through `schemas.canonical`, which is strict; the tables accept nothing that it would refuse.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from schemas.canonical import encode_long, read_long
from schemas.errors import DecodeError
from schemas.records import Record

__all__ = ["VALUE_BYTES_MAX", "decode_rows", "encode_rows"]

VALUE_BYTES_MAX = 16 * 2**20  # twice what a topic takes; more is no audit value
HEAD_BYTES_MAX = 30  # three varints of ten bytes
NO_OTHER_BYTES = b"\xff"  # ends no varint: the next offset is read in full

_WORDS = Struct("<HHHH").unpack_from


def _tables() -> tuple[list[Any], ...]:
    # Two bytes of a varint, by what follows: more bytes or none. None where the table must not
    # be used: the wrong continuation bits, a varint that is not minimal, an odd (negative) number.
    even: list[Any] = [None] * 65_536
    more: list[Any] = [None] * 65_536
    last: list[Any] = [None] * 65_536
    length: list[Any] = [None] * 65_536
    for high in range(128):
        for low in range(128):
            number = low | high << 7
            goes_on = (low | 128) | (high | 128) << 8
            ends = (low | 128) | high << 8
            more[goes_on] = number
            if not low & 1:
                even[goes_on] = number >> 1
            if high:
                last[ends] = number
                if not low & 1:
                    length[ends] = number >> 1
    first: list[Any] = [
        None if byte < 128 or byte & 1 else (byte & 127) >> 1 for byte in range(256)
    ]
    return first, even, more, last, length


_FIRST, _EVEN, _MORE, _LAST, _LENGTH = _tables()


def encode_rows(rows: Sequence[Record]) -> bytes:
    """The rows as they stand in a block, before compression."""
    return b"".join(
        [
            b"%b%b%b%b"
            % (
                encode_long(row.offset),
                encode_long(row.timestamp),
                encode_long(len(row.value or b"")),
                row.value or b"",
            )
            for row in rows
        ]
    )


def decode_rows(data: bytes, count: int) -> tuple[list[Record], int]:
    """The whole rows at the start of `data`, at most `count`, and where the last of them ends.

    Raises:
        DecodeError: a varint that is not minimal, a negative length, a value over 16 MiB.
    """
    rows: list[Record] = []
    append, new, unpack = rows.append, tuple.__new__, _WORDS
    at, end = 0, len(data)
    by_table = end - HEAD_BYTES_MAX
    width, rest, base = 1, NO_OTHER_BYTES, 0
    offset = timestamp = 0
    for _ in range(count):
        stop = 0
        start = at + width
        if at < by_table and data[at + 1 : start] == rest:
            low, middle, high, length = unpack(data, start)
            try:
                # A None out of a table raises TypeError: the row is then read in full.
                offset = base + _FIRST[data[at]]
                timestamp = _EVEN[low] | _MORE[middle] << 13 | _LAST[high] << 27
                start += 8
                stop = start + _LENGTH[length]
            except TypeError:
                stop = 0
        if not stop:
            try:
                offset, timestamp, start, stop, width = _read_head(data, at)
            except IndexError:
                break
            # The bytes of an offset behind its first one hold what is above its low six bits.
            rest = data[at + 1 : at + width] if offset >= 64 else NO_OTHER_BYTES
            base = offset & ~63
        if stop > end:
            break
        append(new(Record, (offset, timestamp, None, data[start:stop], ())))
        at = stop
    return rows, at


def _read_head(data: bytes, at: int) -> tuple[int, int, int, int, int]:
    """Offset, timestamp, where the value begins and ends, and the bytes the offset takes."""
    offset, after = read_long(data, at)
    timestamp, start = read_long(data, after)
    length, start = read_long(data, start)
    if not 0 <= length <= VALUE_BYTES_MAX:
        raise DecodeError("UNDECODABLE", f"a value of {length} bytes: at most {VALUE_BYTES_MAX}")
    return offset, timestamp, start, start + length, after - at
