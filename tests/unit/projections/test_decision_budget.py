"""An alert budget: the threshold follows it, and what it holds back is told."""

import random
from dataclasses import replace

import pytest

from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.budget import BUDGET_LEAVES, STEP_LEAVES, Budget, threshold_for
from projections.decision_index.fold import DecisionFold, Finding, Summary
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import Rules
from schemas.alerts import AnomalyAlert
from tests.support.decision_log import EventLog, habits
from tests.support.sealed_log import batches_of

RULES = Rules(threshold=0.5, alert_budget=20)


def told_in(risks: dict[int, float], rules: Rules = RULES) -> list[int]:
    """The leaves told of findings of these risks, by leaf."""
    budget = Budget(rules)
    return [leaf for leaf, risk in sorted(risks.items()) if budget.admits(leaf, risk)]


def drawn(leaves: int, every: int, seed: int = 1) -> dict[int, float]:
    rng = random.Random(seed)
    return {leaf: round(rng.uniform(0.5, 1), 9) for leaf in range(0, leaves, every)}


def test_a_threshold_lets_as_many_pass_as_the_budget_and_no_more() -> None:
    risks = [0.9, 0.8, 0.8, 0.7, 0.6]
    for budget in range(6):
        threshold = threshold_for(risks, budget)
        assert sum(risk >= threshold for risk in risks) <= budget
    assert threshold_for(risks, 5) == 0.0
    assert threshold_for(risks, 4) == pytest.approx(0.6, abs=2e-9)
    assert threshold_for([1.0, 1.0], 1) == 1.0


def test_without_budget_every_finding_is_told_at_the_configured_threshold() -> None:
    risks = drawn(50_000, 10)
    assert len(told_in(risks, replace(RULES, alert_budget=0))) == len(risks)


def test_few_findings_are_told_as_if_there_were_no_budget() -> None:
    risks = drawn(100_000, 1000)
    assert told_in(risks) == sorted(risks)


def test_a_steady_stream_settles_at_its_budget() -> None:
    told = told_in(drawn(200_000, 20))
    late = [leaf for leaf in told if leaf >= 100_000]
    assert 0.7 * 200 <= len(late) <= 1.3 * 200


def test_no_ten_thousand_leaves_have_more_than_half_as_much_again() -> None:
    risks = drawn(60_000, 7) | dict.fromkeys(range(30_000, 33_000), 0.999)
    told = told_in(risks)
    for start in range(0, 60_000, STEP_LEAVES):
        assert sum(start <= leaf < start + BUDGET_LEAVES for leaf in told) <= 30


def test_after_a_burst_the_threshold_comes_back_and_never_below_the_configured_one() -> None:
    budget = Budget(RULES)
    for leaf in range(5000, 6000):
        budget.admits(leaf, 0.95)
    assert not budget.admits(7000, 0.6)
    assert budget.threshold > 0.9
    assert budget.admits(40_000, 0.5)
    assert budget.threshold == 0.5


def test_a_budget_stored_in_the_middle_goes_on_as_it_would_have() -> None:
    risks = sorted(drawn(40_000, 11).items())
    straight, first = Budget(RULES), Budget(RULES)
    expected = [straight.admits(*at) for at in risks]
    told = [first.admits(*at) for at in risks[:1777]]
    second = Budget(RULES)
    second.restore(first.state())
    assert told + [second.admits(*at) for at in risks[1777:]] == expected


def test_what_the_budget_holds_back_is_summed_up_in_words_and_the_threshold_in_force_is_told() -> (
    None
):
    rules = Rules(threshold=0.05, warm_up=10, alert_budget=4, dedup_window_ms=1)
    fold = DecisionFold(rules, lambda: DecisionRows(FoldedGraph))
    alerts: list[AnomalyAlert] = []
    for batch in batches_of(EventLog.sealed(list(habits(200, seed=2, odd_share=0.3)), [150])):
        told = [item for record in batch.records for item in fold.apply(record)]
        alerts += alerts_of(told, batch, Stamp.of(rules)) if told else []
        assert all(isinstance(item, Finding | Summary) for item in told)
    summaries = [alert for alert in alerts if alert.rule.id.startswith("decision-risk-held-back")]
    assert fold.tallies.below > 5
    assert fold.tallies.held_back == 0
    assert summaries
    assert all("the budget of 4 alerts in 10,000 records" in one.description for one in summaries)
    findings = [alert for alert in alerts if alert not in summaries]
    assert all(alert.risk >= alert.threshold >= rules.threshold for alert in findings)


def test_findings_about_earlier_leaves_than_asked_for_are_counted_and_not_told() -> None:
    values = list(habits(200, seed=2, odd_share=0.3))
    middle = values[100][0]
    told = {}
    for since_ms in (0, middle, 10**15):
        rules = Rules(threshold=0.05, warm_up=10, dedup_window_ms=1, since_ms=since_ms)
        fold = DecisionFold(rules, lambda: DecisionRows(FoldedGraph))
        items = [
            item
            for batch in batches_of(EventLog.sealed(values))
            for record in batch.records
            for item in fold.apply(record)
        ]
        findings = {item.leaf for item in items if isinstance(item, Finding)}
        assert all(item.timestamp >= since_ms for item in items if isinstance(item, Finding))
        told[since_ms] = (findings, fold.tallies.shadowed, fold.tallies.findings)
    everything, later, nothing = told.values()
    assert everything[2] == later[2] == nothing[2] == nothing[1]
    assert everything[1] == 0
    assert set() == nothing[0] < later[0] < everything[0]
