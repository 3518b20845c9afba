"""An alert budget of one tenant in one log: how the threshold follows it.

So many alerts in 10,000 leaves of a tenant are wanted. Every 1,000 leaves the threshold is set
anew: to what would have kept to the budget in the 9,000 before, by the exact risks found there,
but never below the configured one. Between, one and a half times the budget is the end: in no
10,000 leaves that begin with a thousand are there more. What either holds back is counted.

Only leaves are counted and only exact risks are used, so the threshold is a function of the log.
"""

from collections.abc import Sequence
from math import floor, inf
from typing import Any

from projections.decision_index.scoring import DECIMALS, Rules

__all__ = ["BUDGET_LEAVES", "Budget", "threshold_for"]

BUDGET_LEAVES = 10_000
STEP_LEAVES = 1000
STEPS = BUDGET_LEAVES // STEP_LEAVES
EXCESS = 1.5
STEP = 10.0**-DECIMALS  # between two risks


class Budget:
    """The threshold in force, and what it is set by."""

    __slots__ = ("_budget", "_least", "_risks", "_step", "_told", "threshold")

    def __init__(self, rules: Rules) -> None:
        self._budget = rules.alert_budget or inf
        self._least = rules.threshold
        self._step = 0
        self._risks: list[list[float]] = [[]]  # of the step before, its predecessors, and this
        self._told: list[int] = [0]
        self.threshold = rules.threshold

    def admits(self, leaves: int, risk: float) -> bool:
        """Whether a finding of this exact risk is told, after so many leaves of the tenant.

        To be asked once a finding, in the order of the log.
        """
        if self._budget == inf:
            return True
        self._turn(leaves // STEP_LEAVES)
        self._risks[-1].append(risk)
        if risk < self.threshold or sum(self._told) >= floor(EXCESS * self._budget):
            return False
        self._told[-1] += 1
        return True

    def state(self) -> dict[str, Any]:
        """What is to be stored, as JSON values."""
        return {
            "step": self._step,
            "risks": self._risks,
            "told": self._told,
            "threshold": self.threshold,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become what was stored. Raises KeyError, TypeError, ValueError: none can have been."""
        self._step = int(state["step"])
        self._risks = [[float(risk) for risk in step] for step in state["risks"]]
        self._told = [int(told) for told in state["told"]]
        self.threshold = float(state["threshold"])
        if not 1 <= len(self._risks) == len(self._told) <= STEPS:
            raise ValueError("a budget of more steps than there are")

    def _turn(self, step: int) -> None:
        """Begin the step of these leaves, if it is another."""
        if step == self._step:
            return
        for _ in range(min(step - self._step, STEPS)):
            self._risks = [*self._risks, []][-STEPS:]
            self._told = [*self._told, 0][-STEPS:]
        self._step = step
        past = [risk for risks in self._risks[:-1] for risk in risks]
        share = len(self._risks[:-1]) / STEPS
        self.threshold = max(self._least, threshold_for(past, floor(self._budget * share)))


def threshold_for(risks: Sequence[float], budget: int) -> float:
    """The least threshold that at most `budget` of these risks reach; 0 where all may."""
    if len(risks) <= budget:
        return 0.0
    highest_over = sorted(risks, reverse=True)[budget]
    return min(round(highest_over + STEP, DECIMALS), 1.0)
