"""Which findings of one tenant are published: once a habit and window, so many an hour.

Time is the leaf's own, never a clock's: windows and hours are floor(leaf timestamp / length), so
the same log always gives the same answer. Timestamps may jump (a producer's clock is what it is),
so every hour is counted by itself, whatever order they come in. A leaf without a timestamp counts
at that of the last leaf that had one.

Nothing is lost silently. A repetition is counted into the next finding about the same habit; what
an hour's limit held back is summed up by the first leaf of a later hour.
"""

from typing import Any, NamedTuple

from projections.decision_index.embedding import Features
from projections.decision_index.scoring import HOUR_MS, Rules

__all__ = ["HeldBack", "Throttle"]

HOURS_KEPT = 64

Habit = tuple[str, str, str]


class HeldBack(NamedTuple):
    """What limits held back: how many evaluations, in leaves from `first` to `last`, and when.

    Of these `below` were held back by the alert budget, the others by the limit of the hour.
    """

    findings: int
    first: int
    last: int
    first_ms: int
    last_ms: int
    below: int = 0


class _Told(NamedTuple):
    window: int
    untold: int


class Throttle:
    """The deduplication and the limits of one tenant in one log."""

    __slots__ = ("_habits", "_held", "_hours", "_rules")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._habits: dict[Habit, _Told] = {}
        self._hours: dict[int, int] = {}
        self._held: dict[int, HeldBack] = {}

    def is_repeated(self, features: Features, timestamp: int) -> bool:
        """Whether a finding about this habit was already told in this window; counts it if so."""
        habit = _habit(features)
        told = self._habits.get(habit)
        if told is None or told.window != timestamp // self._rules.dedup_window_ms:
            return False
        self._habits[habit] = told._replace(untold=told.untold + 1)
        return True

    def tell(self, features: Features, timestamp: int) -> int:
        """Note that this habit is told of in this window; how many repetitions were not yet."""
        told = self._habits.get(_habit(features))
        self._note(features, timestamp, 0)
        return told.untold if told else 0

    def hold(self, features: Features, timestamp: int) -> None:
        """Note that this habit was held back in this window, so that it is held back once."""
        told = self._habits.get(_habit(features))
        self._note(features, timestamp, told.untold if told else 0)

    def admits(self, leaf: int, timestamp: int, findings: int = 1) -> bool:
        """Whether the hour has room for one leaf more; else its findings are held and counted."""
        hour = timestamp // HOUR_MS
        admitted = self._hours.get(hour, 0)
        if admitted < self._rules.alerts_per_hour:
            self._hours[hour] = admitted + 1
            self._forget(hour)
            return True
        self.hold_back(leaf, timestamp, findings)
        return False

    def hold_back(self, leaf: int, timestamp: int, findings: int, below: int = 0) -> None:
        """Count findings of a leaf that are not told; `below` of them for the budget."""
        hour = timestamp // HOUR_MS
        held = self._held.get(hour)
        if held is None:
            held = HeldBack(0, leaf, leaf, timestamp, timestamp)
        self._held[hour] = held._replace(
            findings=held.findings + findings,
            last=leaf,
            last_ms=timestamp,
            below=held.below + below,
        )

    def release(self, timestamp: int) -> HeldBack | None:
        """What was held back in hours before that of this timestamp; told once."""
        if not self._held:
            return None
        hour = timestamp // HOUR_MS
        over = [self._held.pop(past) for past in sorted(self._held) if past < hour]
        if not over:
            return None
        return HeldBack(
            sum(held.findings for held in over),
            min(held.first for held in over),
            max(held.last for held in over),
            min(held.first_ms for held in over),
            max(held.last_ms for held in over),
            sum(held.below for held in over),
        )

    @property
    def holds(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def state(self) -> dict[str, Any]:
        """What is to be stored, as JSON values."""
        return {
            "habits": [[*habit, *told] for habit, told in self._habits.items()],
            "hours": list(self._hours.items()),
            "held": [[hour, *held] for hour, held in self._held.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become what was stored. Raises KeyError, TypeError, ValueError: none can have been."""
        self._habits = {(p, k, a): _Told(*told) for p, k, a, *told in state["habits"]}
        self._hours = {int(hour): int(count) for hour, count in state["hours"]}
        self._held = {int(hour): HeldBack(*held) for hour, *held in state["held"]}

    def _note(self, features: Features, timestamp: int, untold: int) -> None:
        window = timestamp // self._rules.dedup_window_ms
        self._habits[_habit(features)] = _Told(window, untold)

    def _forget(self, hour: int) -> None:
        """Keep the counts of some hours only: the one least lately begun goes first."""
        if len(self._hours) > HOURS_KEPT:
            self._hours.pop(next(past for past in self._hours if past != hour))


def _habit(features: Features) -> Habit:
    return features.principal, features.resource_kind, features.action
