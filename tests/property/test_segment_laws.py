"""Laws of segment files: they come back as they went, and no changed byte says something else."""

import io
from typing import Any

import fastavro
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.records import Record
from streams.audit.trail import Trail
from streams.errors import BreakError
from streams.segments import encode_segment, read_segment
from streams.segments.rows import decode_rows, encode_rows
from tests.support.golden_log import golden_segments
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog

INT64 = st.integers(-(2**63), 2**63 - 1)
OFFSETS = st.one_of(INT64, st.integers(0, 300), st.integers(8000, 8400), st.integers(0, 2**31))
TIMES = st.one_of(INT64, st.integers(-1, 1), st.integers(2**40, 2**41))
VALUES = st.one_of(
    st.binary(max_size=200), st.integers(0, 20_000).map(bytes), st.just(b"\xff" * 64)
)
ROWS = st.lists(st.builds(Record, OFFSETS, TIMES, st.none(), VALUES, st.just(())), max_size=60)


@example([Record(offset, 2**40, None, b"v" * 64) for offset in (-100, 99, -100, 100, 8191, 8192)])
@given(ROWS)
def test_rows_come_back_as_they_went(rows: list[Record]) -> None:
    data = encode_rows(rows)
    assert decode_rows(data, len(rows)) == (rows, len(data))
    assert decode_rows(data + b"\x80", len(rows) + 1) == (rows, len(data))


@given(ROWS, st.integers(0, 5000))
def test_rows_cut_anywhere_are_the_whole_ones_before_the_cut(rows: list[Record], cut: int) -> None:
    data = encode_rows(rows)
    cut = min(cut, len(data))
    whole, end = decode_rows(data[:cut], len(rows))
    assert whole == rows[: len(whole)]
    assert encode_rows(whole) == data[:end]
    rest, _ = decode_rows(data[end:], len(rows) - len(whole))
    assert whole + rest == rows


@given(ROWS)
def test_any_rows_are_stored_and_read_by_another_library(rows: list[Record]) -> None:
    """Around a genesis and a record, so that it is a segment at all."""
    first = golden_segments()[0]
    rows = first.rows[:2] + rows
    data = encode_segment(first.origin, 0, None, rows)
    assert read_segment(data).rows == rows
    others: Any = fastavro.reader(io.BytesIO(data))
    assert [(r["offset"], r["timestamp"], r["value"]) for r in others] == [
        (row.offset, row.timestamp, row.value) for row in rows
    ]


FILES = [
    (encode_segment(s.origin, s.first, s.opening, s.rows), s.origin, s.first)
    for s in golden_segments()
]


@settings(max_examples=400)
@given(st.sampled_from(FILES), st.data())
def test_no_changed_byte_says_something_else(
    file: tuple[bytes, str, int], data: st.DataObject
) -> None:
    """A change breaks the container or the history, or leaves both as they were."""
    stored, origin, first = file
    at = data.draw(st.integers(0, len(stored) - 1))
    flipped = data.draw(st.integers(1, 255))
    changed = stored[:at] + bytes([stored[at] ^ flipped]) + stored[at + 1 :]
    true = read_segment(stored)
    try:
        read = read_segment(changed)
        trail = Trail(origin, None)
        trail.begin_file(first, read.opening)
        trail.feed_all(read.rows)
        trail.end_file()
        trail.finish()
    except BreakError:
        return
    # Left are bits that say nothing: of the deflate stream, of a checkpoint's signature (no keys
    # here), and of audit offsets, which nothing authenticates but the manifest's digest.
    assert [row.timestamp for row in read.rows] == [row.timestamp for row in true.rows]
    assert trail.size == (4 if first == 0 else 7)


@settings(max_examples=50)
@given(st.data())
def test_no_row_of_a_signed_segment_can_be_changed(data: st.DataObject) -> None:
    log = SealedLog()
    log.append(6)
    log.checkpoint(4)
    log.append(3)
    log.checkpoint()
    at = data.draw(st.integers(0, len(log.rows) - 1))
    value = log.rows[at].value or b""
    where = data.draw(st.integers(0, len(value) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    changed = value[:where] + bytes([value[where] ^ bit]) + value[where + 1 :]
    rows = [*log.rows[:at], log.rows[at]._replace(value=changed), *log.rows[at + 1 :]]
    read = read_segment(encode_segment(ORIGIN, 0, None, rows))
    trail = Trail(ORIGIN, KEYS)
    found: BreakError | None = None
    try:
        trail.begin_file(0, read.opening)
        trail.feed_all(read.rows)
        trail.end_file()
        trail.finish()
    except BreakError as error:
        found = error
    assert found is not None
