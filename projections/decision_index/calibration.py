"""Which threshold keeps to an alert budget, by the exact risks of a whole log.

The threshold is set by the older half of a tenant's records and tried on the newer one, so that
what is printed is what a threshold chosen then would have done since.
"""

from dataclasses import replace
from math import ceil
from typing import NamedTuple

from projections.decision_index.budget import BUDGET_LEAVES, Budget, threshold_for
from projections.decision_index.fold import DecisionFold, MakeRows, Scored
from projections.decision_index.scoring import Mode, Rules
from projections.ports import SealedRecord
from schemas.codec import BUILT_IN, SchemaLookup

__all__ = ["Calibrated", "LogRisks"]

LEAST_RISK = 0.1  # below, no threshold is of use
DIGITS = 4
NOTHING_CONFIRMED = 1 - 1e-9


class Calibrated(NamedTuple):
    """What thresholds would have done to one tenant of one log; `older` and `newer` are halves.

    The halves are of its `records` behind the warm-up.

    `threshold` is None where there is nothing to calibrate by. `followed` is how many alerts of
    the newer half a budget that follows the log would have told.
    """

    tenant: str
    records: int
    budget: int
    wanted: int
    configured: float
    configured_older: int
    configured_newer: int
    threshold: float | None
    older: int
    newer: int
    followed: int


class LogRisks:
    """The exact risk of every record of a log: its riskiest evaluation's, before it is learned."""

    def __init__(
        self, rules: Rules, make_rows: MakeRows, schemas: SchemaLookup = BUILT_IN
    ) -> None:
        self._rules = rules
        unheard = replace(rules, mode=Mode.ON, threshold=NOTHING_CONFIRMED)
        self._fold = DecisionFold(unheard, make_rows, schemas)
        self._risks: dict[str, list[tuple[int, float]]] = {}

    def apply(self, record: SealedRecord) -> None:
        """Score one leaf exactly, then learn it."""
        scored = self._fold.score(record)
        if scored.decision is not None:
            self._note(scored, scored.decision.tenant)
        self._fold.learn(scored)

    def _note(self, scored: Scored, tenant: str) -> None:
        leaves = self._fold.tenant(tenant).leaves
        if leaves < self._rules.warm_up or not scored.new:
            return
        new = [
            features
            for features, digest in zip(scored.features, scored.digests, strict=True)
            if digest in scored.new
        ]
        worst = max(self._fold.exact_score(features).risk for features in new)
        if worst >= LEAST_RISK:
            self._risks.setdefault(tenant, []).append((leaves, worst))

    def calibrated(self, budget: int) -> list[Calibrated]:
        """Every tenant of the log, by name, for so many alerts in 10,000 records."""
        return [self._calibrated(tenant, budget) for tenant in self._fold.tenants]

    def _calibrated(self, tenant: str, budget: int) -> Calibrated:
        end, begin = self._fold.tenant(tenant).leaves, self._rules.warm_up
        middle = (begin + end) // 2
        risks = self._risks.get(tenant, [])
        older = [risk for leaf, risk in risks if leaf < middle]
        newer = [risk for leaf, risk in risks if leaf >= middle]
        wanted = max(budget * (middle - begin) // BUDGET_LEAVES, 1)
        followed = Budget(replace(self._rules, alert_budget=budget))
        admitted = [leaf for leaf, risk in risks if followed.admits(leaf, risk)]
        threshold = None
        if end - begin >= 2 and len(older) > wanted:
            threshold = ceil(threshold_for(older, wanted) * 10**DIGITS) / 10**DIGITS
        elif end - begin >= 2:
            threshold = LEAST_RISK
        configured = self._rules.threshold
        return Calibrated(
            tenant,
            end,
            budget,
            wanted,
            configured,
            _reaching(older, configured),
            _reaching(newer, configured),
            threshold,
            _reaching(older, threshold),
            _reaching(newer, threshold),
            sum(leaf >= middle for leaf in admitted),
        )


def _reaching(risks: list[float], threshold: float | None) -> int:
    return 0 if threshold is None else sum(risk >= threshold for risk in risks)
