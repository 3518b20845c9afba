"""What a replay reads, and where one that was interrupted goes on."""

import pytest

from projections.replay.fold import (
    Continuation,
    StoredSegment,
    beginning,
    in_order,
    plan_archived,
    staged_end,
)
from schemas.records import Record
from streams.errors import BreakError
from tests.support.replays import long_log, values
from tests.support.sealed_log import SealedLog

STORED = [StoredSegment(0, 10, 100), StoredSegment(10, 25, 150), StoredSegment(25, 30, 50)]


def rotated_log() -> SealedLog:
    """A rotation in the middle: three checkpoints of two sizes and two texts."""
    log = SealedLog()
    log.append(5)
    log.checkpoint()
    log.checkpoint(rotated=True)
    log.append(4)
    log.checkpoint(7)
    log.checkpoint(rotated=True)
    log.append(2)
    log.checkpoint()
    return log


def continued(staged: list[Record], rows: list[Record]) -> list[Record]:
    continuation = Continuation(staged_end(staged))
    # Read again in pieces of three rows: no piece knows of the others.
    new = [row for at in range(0, len(rows), 3) for row in continuation.behind(rows[at : at + 3])]
    return [*new, *continuation.finish()]


@pytest.mark.parametrize("log", [long_log(), rotated_log()])
def test_rows_are_put_behind_what_they_cover_and_none_is_lost(log: SealedLog) -> None:
    rows = in_order(log.rows, 0)
    assert sorted(values(rows)) == sorted(values(log.rows))
    assert in_order(rows, 0) == rows
    sizes = [beginning(row) for row in rows if row.value and row.value[2] == 0x8D]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("log", [long_log(), rotated_log()])
def test_a_copy_cut_anywhere_goes_on_behind_its_last_row(log: SealedLog) -> None:
    rows = in_order(log.rows, 0)
    for cut in range(1, len(rows) + 1):
        assert continued(rows[:cut], rows) == rows[cut:]


def test_what_is_no_copy_of_this_log_is_not_continued() -> None:
    ours, theirs = in_order(long_log().rows, 0), in_order(long_log(salt=b"other").rows, 0)
    for cut in range(2, len(ours)):
        with pytest.raises(BreakError) as caught:
            continued(theirs[:cut], ours)
        assert caught.value.kind == "fork"


def test_a_copy_of_more_than_the_source_has_is_not_continued() -> None:
    rows = in_order(long_log().rows, 0)
    continuation = Continuation(staged_end(rows[:-1]))
    assert continuation.behind(rows[:-3]) == []
    with pytest.raises(BreakError, match="more records than its source"):
        continuation.finish()


def test_rows_that_begin_with_no_checkpoint_are_no_copy() -> None:
    rows = in_order(long_log().rows, 0)
    assert staged_end(rows[1:4]) is None
    with pytest.raises(BreakError):
        beginning(rows[1])
    with pytest.raises(BreakError):
        staged_end([Record(0, 0, None, b"\xc3\x01" + bytes.fromhex("8d3ad55c060df88d") + b"x")])


def test_a_plan_begins_with_the_segment_that_holds_the_index() -> None:
    plan = plan_archived("o", STORED, 12)
    assert (plan.first, plan.size, plan.segments, plan.segment_bytes) == (10, 30, 2, 200)
    assert (plan.records, plan.missing) == (20, ())
    assert plan_archived("o", STORED, 0).segments == 3
    assert plan_archived("o", STORED, 0).seconds == 30 / 40_000


def test_a_plan_says_what_is_missing() -> None:
    gap = plan_archived("o", [STORED[0], STORED[2]], 0)
    assert gap.missing == ("10 to 24: no segment holds these records",)
    beyond = plan_archived("o", STORED, 31)
    assert beyond.segments == 0
    assert beyond.missing == ("o is archived up to 30, and 31 was asked for",)
    assert plan_archived("o", [], 0).missing == ("o is archived up to 0, and 0 was asked for",)
    fresh = plan_archived("o", [*STORED[:2], StoredSegment(25, 0, 50)], 0)
    assert "without manifest" in fresh.missing[0]
