"""Which snapshots are kept, and until when each is locked. Pure, in UTC, periods as in borg.

Rules go from days to weeks to months; each keeps the newest snapshot of a period (calendar day,
ISO week, calendar month), newest period first, until it has kept as many as it may. What a finer
rule kept occupies its period in a coarser one and does not count there: 7, 4 and 6 keep 17. The
coarsest rule keeps the oldest snapshot too while it has room. The newest good one is always kept:
the finest rule there is begins with it.

A lock is set when a snapshot is written, when nobody knows whether it will be its period's newest.
So the *first* of a month, a week, a day is locked as long as its rule may keep one, and any other
for a day; nothing is deleted before its lock ends.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from projections.snapshots.names import created_ms

__all__ = ["KEPT", "Kept", "Verdict", "judge", "lock_days"]

PLAIN_LOCK_DAYS = 1
DAYS_A_WEEK, DAYS_A_MONTH = 7, 31
PERIODS = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m"}


class Kept(NamedTuple):
    """How many daily, weekly and monthly snapshots are kept."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 6


KEPT = Kept()


class Verdict(NamedTuple):
    """What becomes of a snapshot, and why."""

    snapshot: str
    is_kept: bool
    reason: str


def judge(good: Sequence[str], kept: Kept = KEPT) -> list[Verdict]:
    """What becomes of each of these snapshots, newest first; all of them can be restored.

    Raises:
        ValueError: a rule below 0, or nothing would be kept.
    """
    if min(kept) < 0 or not any(kept):
        raise ValueError(f"expected to keep some daily, weekly or monthly ones, got {kept}")
    newest_first = sorted(good, reverse=True)
    reasons: dict[str, str] = {}
    rules = [(rule, most) for rule, most in zip(PERIODS, kept, strict=True) if most]
    for rule, most in rules:
        count = _keep(newest_first, rule, most, reasons)
        oldest = newest_first[-1] if newest_first else None
        if rule == rules[-1][0] and count < most and oldest and oldest not in reasons:
            reasons[oldest] = f"{rule}, the oldest"
    return [
        Verdict(snapshot, snapshot in reasons, reasons.get(snapshot, "no rule keeps it"))
        for snapshot in newest_first
    ]


def lock_days(snapshot: str, earlier: Sequence[str], kept: Kept = KEPT) -> int:
    """For how many days a new snapshot is locked, given the ids of those there are."""
    lengths = {
        "monthly": kept.monthly * DAYS_A_MONTH,
        "weekly": kept.weekly * DAYS_A_WEEK,
        "daily": kept.daily,
    }
    days = [
        length
        for rule, length in lengths.items()
        if _period(snapshot, rule) not in {_period(one, rule) for one in earlier}
    ]
    return max([PLAIN_LOCK_DAYS, *days])


def _keep(newest_first: Sequence[str], rule: str, most: int, reasons: dict[str, str]) -> int:
    last, count = None, 0
    for snapshot in newest_first:
        period = _period(snapshot, rule)
        if period == last:
            continue
        last = period
        if snapshot not in reasons:
            count += 1
            reasons[snapshot] = f"{rule} {count} of {most}"
            if count == most:
                break
    return count


def _period(snapshot: str, rule: str) -> str:
    return datetime.fromtimestamp(created_ms(snapshot) / 1000, UTC).strftime(PERIODS[rule])
