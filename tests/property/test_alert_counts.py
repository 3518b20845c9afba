"""Every finding is told, counted into a later alert, or still held: the sums are equal."""

from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.fold import DecisionFold, Finding
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import HELD_BACK_RULE, HOUR_MS, Rules
from tests.support.decision_log import EventLog, habits
from tests.support.sealed_log import batches_of


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 1000),
    limit=st.sampled_from([1, 2, 5, 100]),
    window_ms=st.sampled_from([1, HOUR_MS, 24 * HOUR_MS]),
    percentage=st.sampled_from([0, 50, 100]),
    budget=st.sampled_from([0, 2, 30]),
)
def test_no_finding_is_silent(
    seed: int, limit: int, window_ms: int, percentage: int, budget: int
) -> None:
    rules = Rules(
        threshold=0.05,
        warm_up=10,
        alerts_per_hour=limit,
        dedup_window_ms=window_ms,
        percentage=percentage,
        alert_budget=budget,
    )
    fold, alerts = DecisionFold(rules, lambda: DecisionRows(FoldedGraph)), []
    hours: Counter[tuple[str, int]] = Counter()
    for batch in batches_of(EventLog.sealed(list(habits(120, seed, odd_share=0.3)), [40, 7])):
        told = [item for record in batch.records for item in fold.apply(record)]
        alerts += alerts_of(told, batch, Stamp.of(rules)) if told else []
        findings = [item for item in told if isinstance(item, Finding)]
        hours.update((f.assessment.features.tenant, f.timestamp // HOUR_MS) for f in findings)
    summed = 0
    for alert in alerts:
        # A summary's count is what it tells of; both its counts say so.
        is_summary = alert.rule.id.startswith(HELD_BACK_RULE)
        summed += alert.count + (0 if is_summary else alert.suppressed_count)
    throttles = [tenant.throttle for tenant in fold._tenants.values()]
    summed += sum(told.untold for t in throttles for told in t._habits.values())
    summed += sum(held.findings for t in throttles for held in t._held.values())
    assert fold.tallies.findings > 10
    assert summed == fold.tallies.findings - fold.tallies.shadowed
    assert max(hours.values(), default=0) <= limit
    assert len({alert.alert_id for alert in alerts}) == len(alerts)
