"""Seven daily, four weekly, six monthly: as borg counts them, in UTC."""

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from projections.snapshots.names import created_ms, new_snapshot_id
from projections.snapshots.retention import Kept, judge, lock_days

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def taken(at: datetime, salt: int = 0) -> str:
    return new_snapshot_id(round(at.timestamp() * 1000), salt.to_bytes(10, "big"))


def daily(count: int, newest: datetime = NOON) -> list[str]:
    return [taken(newest - timedelta(days=days)) for days in range(count)]


def kept(snapshots: list[str], rules: Kept | None = None) -> list[str]:
    """Day and reason of each that is kept, newest first."""
    verdicts = judge(snapshots, rules or Kept())
    return [
        f"{datetime.fromtimestamp(created_ms(one.snapshot) / 1000, UTC):%m-%d} {one.reason}"
        for one in verdicts
        if one.is_kept
    ]


def test_400_daily_ones_leave_17() -> None:
    found = kept(daily(400))
    assert len(found) == 17
    assert found[:7] == [f"11-{20 - day} daily {day + 1} of 7" for day in range(7)]
    # The week of 9 November and November itself are those of daily ones, and are not counted.
    assert sorted(found[7:], key=lambda one: one[6:]) == [
        "10-31 monthly 1 of 6",
        "09-30 monthly 2 of 6",
        "08-31 monthly 3 of 6",
        "07-31 monthly 4 of 6",
        "06-30 monthly 5 of 6",
        "05-31 monthly 6 of 6",
        "11-08 weekly 1 of 4",
        "11-01 weekly 2 of 4",
        "10-25 weekly 3 of 4",
        "10-18 weekly 4 of 4",
    ]


def test_a_hole_of_two_weeks_takes_nothing_from_the_count() -> None:
    snapshots = [one for day, one in enumerate(daily(400)) if not 3 <= day < 17]
    assert len(kept(snapshots)) == 17


def test_of_several_in_a_period_the_newest_stays() -> None:
    hours = [taken(NOON - timedelta(hours=hour)) for hour in range(12)]
    assert kept(hours, Kept(daily=1, weekly=0, monthly=0)) == ["11-20 daily 1 of 1"]
    assert next(v.snapshot for v in judge(hours) if v.is_kept) == hours[0]


def test_the_oldest_stays_while_the_coarsest_rule_has_room() -> None:
    hours = [taken(NOON - timedelta(hours=hour)) for hour in range(3)]
    assert kept(hours) == ["11-20 daily 1 of 7", "11-20 monthly, the oldest"]


def test_days_are_those_of_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    before = datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
    after = before + timedelta(minutes=2)
    assert before.astimezone(ZoneInfo("Pacific/Auckland")).day == 21
    found = kept([taken(before), taken(after)], Kept(daily=2, weekly=0, monthly=0))
    monkeypatch.undo()
    time.tzset()
    assert found == ["11-21 daily 1 of 2", "11-20 daily 2 of 2"]


def test_a_week_is_that_of_iso_across_a_new_year() -> None:
    days = [datetime(2026, 12, 28, tzinfo=UTC) + timedelta(days=day) for day in range(7)]
    found = kept([taken(day) for day in days], Kept(daily=0, weekly=4, monthly=0))
    assert found == ["01-03 weekly 1 of 4", "12-28 weekly, the oldest"]


def test_the_newest_good_one_is_kept_whatever_the_rules() -> None:
    snapshots = daily(3)
    for rules in (Kept(1, 0, 0), Kept(0, 1, 0), Kept(0, 0, 1)):
        assert judge(snapshots, rules)[0].is_kept


@pytest.mark.parametrize("rules", [Kept(0, 0, 0), Kept(-1, 4, 6)])
def test_an_empty_policy_is_refused(rules: Kept) -> None:
    with pytest.raises(ValueError, match="expected to keep some"):
        judge(daily(1), rules)


def test_nothing_is_judged_where_there_is_nothing() -> None:
    assert judge([]) == []


def test_the_first_of_a_period_is_locked_as_long_as_its_rule_keeps_one() -> None:
    first = taken(datetime(2026, 11, 1, 1, tzinfo=UTC))
    assert lock_days(first, []) == 6 * 31
    monday = taken(datetime(2026, 11, 2, 1, tzinfo=UTC))
    assert lock_days(monday, [first]) == 4 * 7
    tuesday = taken(datetime(2026, 11, 3, 1, tzinfo=UTC))
    assert lock_days(tuesday, [first, monday]) == 7
    later = taken(datetime(2026, 11, 3, 2, tzinfo=UTC))
    assert lock_days(later, [first, monday, tuesday]) == 1
