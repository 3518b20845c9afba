"""Where segments are cut, and what is in them."""

from dataclasses import replace

import pytest

from projections.archive.fold import (
    ClosedSegment,
    CutRules,
    OpenSegment,
    cut_after,
    cut_before,
)
from projections.ports import SealedBatch
from schemas.audit_values import decode_audit_value
from schemas.records import Checkpoint, Record
from streams.audit.trail import Trail
from streams.errors import BreakError
from streams.segments import encode_segment, read_segment
from tests.support.golden_log import golden_segments
from tests.support.sealed_log import KEYS, ORIGIN, START_MS, SealedLog, batches_of

DAY_MS = 86_400_000
WIDE = CutRules(bytes_max=2**40, records_max=2**40, span_ms_max=2**60)


def cuts(log: SealedLog, rules: CutRules) -> list[ClosedSegment]:
    """As the projection does it, without a store."""
    closed, held = [], OpenSegment(0, None)

    def cut() -> OpenSegment:
        closed.append(held.close())
        return held.rest(closed[-1].size, closed[-1].closing, closed[-1].leaves)

    for batch in batches_of(log):
        while cut_before(held, batch, rules):
            held = cut()
        held.add(batch)
        while cut_after(held, rules):
            held = cut()
    if held.records:
        cut()
    return closed


def sizes(log: SealedLog, rules: CutRules) -> list[tuple[int, int]]:
    return [(segment.first, segment.size) for segment in cuts(log, rules)]


@pytest.fixture
def log() -> SealedLog:
    """Ten checkpoints of five records each."""
    made = SealedLog()
    for _ in range(10):
        made.append(5)
        made.checkpoint()
    return made


def test_a_log_within_all_limits_is_one_segment(log: SealedLog) -> None:
    assert sizes(log, WIDE) == [(0, 50)]


@pytest.mark.parametrize(
    ("records_max", "expected"),
    [(50, [50]), (49, [45, 50]), (12, [10, 20, 30, 40, 50]), (1, list(range(5, 55, 5)))],
)
def test_records_cut_at_a_checkpoint(
    log: SealedLog, records_max: int, expected: list[int]
) -> None:
    assert [size for _, size in sizes(log, replace(WIDE, records_max=records_max))] == expected


def test_bytes_cut_before_they_are_exceeded(log: SealedLog) -> None:
    for limit in (1500, 4000):
        for segment in cuts(log, replace(WIDE, bytes_max=limit)):
            assert sum(len(row.value or b"") for row in segment.rows[:-1]) <= limit


def test_a_batch_larger_than_the_limit_is_a_segment_of_its_own(log: SealedLog) -> None:
    log.append(30, size=1000)
    log.checkpoint()
    log.append(1)
    log.checkpoint()
    assert sizes(log, replace(WIDE, bytes_max=10_000))[-2:] == [(50, 80), (80, 81)]


def test_a_new_day_of_record_time_begins_a_segment() -> None:
    log = SealedLog()
    for day in (0, 0, 1, 1, 0, 3):
        log.append(5, start_ms=START_MS + day * DAY_MS)
        log.checkpoint()
    # The one that comes late stays where it is: time only goes on.
    assert sizes(log, WIDE) == [(0, 10), (10, 25), (25, 30)]


def test_a_span_of_record_time_cuts() -> None:
    log = SealedLog()
    for minute in range(10):
        log.append(1, start_ms=START_MS + minute * 60_000)
        log.checkpoint()
    spans = sizes(log, replace(WIDE, span_ms_max=3 * 60_000))
    assert spans == [(0, 3), (3, 6), (6, 9), (9, 10)]


def test_records_without_a_time_never_cut_by_time() -> None:
    log = SealedLog()
    for _ in range(5):
        log.append(2, start_ms=-1)
        log.checkpoint()
    assert sizes(log, replace(WIDE, span_ms_max=1))[-1][1] == 10


def test_checkpoints_alone_are_no_segment() -> None:
    log = SealedLog()
    assert sizes(log, CutRules(records_max=1)) == []


def test_the_golden_segments_come_out_row_for_row() -> None:
    golden = golden_segments()
    rows = sorted({row for segment in golden for row in segment.rows})
    held = OpenSegment(0, None)
    for segment in golden:
        for batch in _golden_batches(segment.origin, rows):
            if held.first < batch.size <= segment.size or batch.size == held.first == 0:
                held.add(batch)
        closed = held.close()
        assert (closed.first, closed.size) == (segment.first, segment.size)
        assert closed.opening == segment.opening
        assert closed.rows == segment.rows
        held = held.rest(closed.size, closed.closing, closed.leaves)


def _golden_batches(origin: str, rows: list[Record]) -> list[SealedBatch]:
    log = SealedLog()
    log.rows = rows
    return list(batches_of(log, origin=origin, keys=None))


def test_each_segment_is_valid_history_alone_and_joined(log: SealedLog) -> None:
    log.append(7)
    log.checkpoint(53)  # lags: four records lie before it that belong to the next segment
    log.append(1)
    log.checkpoint()
    joined = Trail(ORIGIN, KEYS)
    for segment in cuts(log, CutRules(records_max=9)):
        data = encode_segment(ORIGIN, segment.first, segment.opening, segment.rows)
        read = read_segment(data)
        for trail in (joined, Trail(ORIGIN, KEYS)):
            trail.begin_file(segment.first, read.opening)
            trail.feed_all(read.rows)
            trail.end_file()
            trail.finish()
            assert trail.size == segment.size
    assert joined.due == log.size


def test_a_second_checkpoint_of_one_size_is_kept_on_either_side_of_a_cut(log: SealedLog) -> None:
    log.checkpoint(rotated=True)
    log.append(1)
    log.checkpoint()
    for rules, cut in ((CutRules(records_max=5), 50), (WIDE, 0)):
        *_, last = cuts(log, rules)
        assert last.first == cut
        values = [decode_audit_value(row.value or b"") for row in last.rows]
        seals = [v.note.split("\n")[1] for v in values if isinstance(v, Checkpoint)]
        assert seals[-2:] == ["50", "51"]
        assert seals.count("50") == (1 if cut else 2)


def test_behind_a_shorter_segment_of_another_archiver_the_rest_is_kept(log: SealedLog) -> None:
    *_, whole = cuts(log, WIDE)
    held = OpenSegment(0, None)
    for batch in batches_of(log):
        held.add(batch)
    shorter = cuts(log, CutRules(records_max=15))[0]
    rest = held.rest(15, shorter.closing, shorter.leaves).close()
    assert (rest.first, rest.size, rest.opening) == (15, 50, shorter.closing)
    assert rest.leaves == whole.leaves[15:]
    assert rest.rows == [row for row in whole.rows if row.offset > shorter.rows[-1].offset]


def test_behind_a_longer_one_the_log_is_compared_and_not_kept(log: SealedLog) -> None:
    longer = cuts(log, CutRules(records_max=40))[0]
    for salt, differs in ((b"", False), (b"other ", True)):
        same = SealedLog(salt)
        for _ in range(10):
            same.append(5)
            same.checkpoint()
        batches = list(batches_of(same))
        held = OpenSegment(0, None)
        for batch in batches[:3]:
            held.add(batch)
        held = held.rest(40, longer.closing, longer.leaves)
        assert held.records == 0
        if differs:
            with pytest.raises(BreakError) as found:
                held.add(batches[3])
            assert (found.value.kind, found.value.index) == ("fork", 10)
            continue
        for batch in batches[3:]:
            held.add(batch)
        rest = held.close()
        assert (rest.first, rest.size) == (40, 50)
