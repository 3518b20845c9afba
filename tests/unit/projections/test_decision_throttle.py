"""Repetitions, hourly limits, and that nothing of either is lost."""

from projections.decision_index.embedding import Features
from projections.decision_index.scoring import HOUR_MS, Rules
from projections.decision_index.throttle import HOURS_KEPT, HeldBack, Throttle

BASE = Features("", "bea", (), "w", "chart", "c-1", "void", "ALLOW")
RULES = Rules(alerts_per_hour=2, dedup_window_ms=60_000)


def test_a_habit_is_told_once_a_window_and_repetitions_are_counted_into_the_next() -> None:
    throttle = Throttle(RULES)
    assert not throttle.is_repeated(BASE, 1000)
    assert throttle.tell(BASE, 1000) == 0
    assert throttle.is_repeated(BASE._replace(resource_id="c-2", scope="x"), 2000)
    assert throttle.is_repeated(BASE, 59_999)
    assert not throttle.is_repeated(BASE._replace(action="burn"), 2000)
    assert not throttle.is_repeated(BASE, 60_000)
    assert throttle.tell(BASE, 60_000) == 2
    assert throttle.tell(BASE, 120_000) == 0


def test_an_hour_has_room_for_so_many_and_the_first_leaf_of_a_later_one_sums_up_the_rest() -> None:
    throttle = Throttle(RULES)
    assert [throttle.admits(leaf, leaf) for leaf in range(5)] == [True, True, False, False, False]
    assert throttle.holds
    assert throttle.release(HOUR_MS - 1) is None
    released = throttle.release(HOUR_MS)
    assert released == HeldBack(3, 2, 4, 2, 4)
    assert throttle.release(2 * HOUR_MS) is None
    assert not throttle.holds


def test_hours_are_counted_by_record_time_in_whatever_order_it_comes() -> None:
    throttle = Throttle(RULES)
    times = [0, HOUR_MS, 1, HOUR_MS + 1, 2, HOUR_MS + 2]
    admitted = [throttle.admits(leaf, at) for leaf, at in enumerate(times)]
    assert admitted == [True, True, True, True, False, False]
    early = throttle.release(HOUR_MS + 3)
    assert early is not None
    assert early.findings == 1
    late = throttle.release(5 * HOUR_MS)
    assert late is not None
    assert (late.findings, late.first) == (1, 5)


def test_a_far_future_leaf_neither_stops_nor_frees_the_present_hour() -> None:
    throttle = Throttle(RULES)
    assert throttle.admits(0, 10**15)
    assert throttle.admits(1, 5)
    assert throttle.admits(2, 6)
    assert not throttle.admits(3, 7)


def test_only_some_hours_are_kept() -> None:
    throttle = Throttle(RULES)
    for hour in range(HOURS_KEPT + 50):
        assert throttle.admits(hour, hour * HOUR_MS)
    assert len(throttle._hours) == HOURS_KEPT


def test_what_was_held_back_is_repeated_too() -> None:
    throttle = Throttle(RULES)
    throttle.hold(BASE, 0)
    assert throttle.is_repeated(BASE, 1)
    throttle.hold(BASE, 60_000)
    assert throttle.tell(BASE, 120_000) == 1
