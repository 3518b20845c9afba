"""Runs of audit records that need no second look (formats §2, §9).

In most logs nearly every record is byte for byte what follows from the one before: the next index,
a later source offset, a plain content without headers, and the leaf hash that it hashes to. Such
records are recognised here without being decoded, many at once and away from any history: by
another process if need be. Whether a run belongs where it stands, `streams.audit.trail` decides.
What is accepted here, decoding would accept: the bytes compared are canonical.
"""

from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import count
from typing import NamedTuple

from schemas.audit_values import AUDIT_RECORD_HEAD, HASH_BYTES, is_usual_plain
from schemas.canonical import (
    CHUNK_BITS,
    LAST,
    MORE,
    consecutive_longs,
    encode_bytes,
    encode_long,
    encode_varint,
    read_bytes,
    read_long,
)
from schemas.errors import DecodeError
from schemas.records import Record
from streams.audit.leaf import ENTRY_HEADER, LEAF_PREFIX

__all__ = ["CONTENT_MAX", "CONTENT_MIN", "ENTRY_START", "Part", "Run", "runs_of"]

CONTENT_MIN = 133  # see is_usual_plain
CONTENT_MAX = 8191  # a length of two bytes
ENTRY_START = LEAF_PREFIX + ENTRY_HEADER
ENTRY = ENTRY_START + b"%d%b%d %d\n%b"
RUN_RECORDS = 512
CHUNK_MASK = (1 << CHUNK_BITS) - 1
NUMBER_MAX = 2**40  # of an index or a source offset; beyond it nothing is usual
HIGH_MAX = 2**28  # a timestamp of six bytes


class Run(NamedTuple):
    """Audit records of consecutive indexes, each good in itself.

    Good: its topic, partition and timestamp are those of its source, it has neither Kafka key nor
    headers, its content is canonical and its stored leaf hash is its own.

    Attributes:
        topic: of the source.
        partition: of the source.
        index: of the first record.
        source_offsets: of the first record and of the last; they rise.
        offsets: the audit offsets of the first record and of the last; they rise.
        leaves: a leaf hash a record.
        lengths: the size of each record's Kafka value.
    """

    topic: str
    partition: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    source_offsets: tuple[int, int]
    offsets: tuple[int, int]
    leaves: list[bytes]
    lengths: list[int]


Part = Run | Record


class _Start(NamedTuple):
    """Where a run begins, as its first record says."""

    number: int
    topic: str
    partition: int
    offset: int


def runs_of(rows: Sequence[Record]) -> Iterator[Part]:
    """The rows in order: as runs where they are usual, each by itself where it is not.

    Raises nothing, whatever the rows hold.
    """
    at = 0
    while at < len(rows):
        start = _start(rows[at].value)
        run = None if start is None else _run(start, rows[at : at + RUN_RECORDS])
        if run is not None and run.leaves:
            yield run
            at += len(run.leaves)
        else:
            yield rows[at]
            at += 1


def _start(value: bytes | None) -> _Start | None:
    if value is None or not value.startswith(AUDIT_RECORD_HEAD):
        return None
    try:
        number, at = read_long(value, len(AUDIT_RECORD_HEAD))
        topic, at = read_bytes(value, at)
        partition, at = read_long(value, at)
        offset, _ = read_long(value, at)
        start = _Start(number, topic.decode("ascii"), partition, offset)
    except (DecodeError, IndexError, UnicodeDecodeError):
        return None
    if not (0 <= number < NUMBER_MAX and 0 <= offset < NUMBER_MAX):
        return None
    return start


def _run(start: _Start, rows: Sequence[Record]) -> Run:
    """The usual records at the start of `rows`, perhaps none."""
    _, topic, partition, source_offset = start
    source = encode_bytes(topic.encode()) + encode_long(partition)
    coordinates = f"\n{topic} {partition} ".encode()
    offset_codes = consecutive_longs(source_offset)
    high, high_code = 0, b""
    last_offset = last_source_offset = -1
    leaves: list[bytes] = []
    lengths: list[int] = []
    for (offset, timestamp, key, value, headers), number, code in zip(
        rows, count(start.number), consecutive_longs(start.number), strict=False
    ):
        if value is None or key is not None or headers or offset <= last_offset:
            break
        zigzag = timestamp << 1
        if zigzag >> CHUNK_BITS != high:
            high = zigzag >> CHUNK_BITS
            high_code = encode_varint(high) if 0 < high < HIGH_MAX else b""
        low_code = MORE[zigzag & CHUNK_MASK]
        head = b"".join((AUDIT_RECORD_HEAD, code, source, next(offset_codes), low_code, high_code))
        if not value.startswith(head):
            source_offset = _later_offset(value, len(code) + len(source), source_offset)
            offset_codes = consecutive_longs(source_offset)
            head = b"".join(
                (AUDIT_RECORD_HEAD, code, source, next(offset_codes), low_code, high_code)
            )
        begin = len(head) + 2
        length = len(value) - begin - HASH_BYTES
        if (
            not (high_code and CONTENT_MIN <= length <= CONTENT_MAX)
            or not value.startswith(LAST[length << 1], begin - 2)
            or not value.startswith(head)
        ):
            break
        content = value[begin:-HASH_BYTES]
        digest = b2a_base64(sha256(content).digest())
        entry = ENTRY % (number, coordinates, source_offset, timestamp, digest)
        leaf = sha256(entry).digest()
        if not value.endswith(leaf) or not is_usual_plain(content):
            break
        leaves.append(leaf)
        lengths.append(len(value))
        last_offset, last_source_offset = offset, source_offset
        source_offset += 1
    return Run(
        topic,
        partition,
        start.number,
        (start.offset, last_source_offset),
        (rows[0].offset, last_offset),
        leaves,
        lengths,
    )


def _later_offset(value: bytes, at: int, due: int) -> int:
    """The source offset that stands at `at` behind the head, where it is later than the one due.

    A transaction's marker, say, took the one that was due.
    """
    try:
        offset, _ = read_long(value, len(AUDIT_RECORD_HEAD) + at)
    except (DecodeError, IndexError):
        return due
    return offset if due < offset < NUMBER_MAX else due
