"""Findings and the alerts about them: identity, evidence, words, limits."""

from dataclasses import replace

import pytest

from projections.decision_index.alerts import Stamp, alerts_of, explain
from projections.decision_index.embedding import Features
from projections.decision_index.fold import DecisionFold, Finding, Summary
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import HELD_BACK_RULE, RISK_RULE, Mode, Rules
from projections.ports import SealedBatch
from schemas.alerts import AnomalyAlert, Confidence, Rule, Severity, alert_id
from schemas.codec import encode_alert
from streams.audit.checkpoint import open_note
from streams.audit.proofs import verify_inclusion
from tests.support.decision_log import EventLog, decision
from tests.support.sealed_log import KEYS, ORIGIN, START_MS, batches_of

RULES = Rules(threshold=0.3, warm_up=20, alerts_per_hour=3)
BEA = ("bea", "nurse", "chart", "view")
KARIM = ("karim", "billing", "invoice", "view")
ODD = ("karim", "billing", "chart", "view")
HOUR = 3_600_000
N = 100  # usual decisions before what a test adds

Values = list[tuple[int, bytes | None]]


def usual(count: int) -> Values:
    return [
        (START_MS + i, decision(i, (BEA, KARIM)[i % 2], resource=f"r{i % 3}"))
        for i in range(count)
    ]


def followed_by(*values: tuple[int, bytes | None]) -> list[SealedBatch]:
    return list(batches_of(EventLog.sealed([*usual(N), *values], [N // 2, N])))


def fold(rules: Rules = RULES) -> DecisionFold:
    return DecisionFold(rules, lambda: DecisionRows(FoldedGraph))


def told_by(batches: list[SealedBatch], rules: Rules = RULES) -> list[Finding | Summary]:
    state = fold(rules)
    return [item for batch in batches for record in batch.records for item in state.apply(record)]


def alerts_in(batches: list[SealedBatch], rules: Rules = RULES) -> list[AnomalyAlert]:
    state, alerts = fold(rules), []
    for batch in batches:
        told = [item for record in batch.records for item in state.apply(record)]
        alerts += alerts_of(told, batch, Stamp.of(rules)) if told else []
    return alerts


def test_an_odd_decision_is_told_once_with_what_is_odd_about_it() -> None:
    (alert,) = alerts_in(followed_by((START_MS + N, decision(N, ODD))))
    assert alert.decision.principal == "karim"
    assert alert.decision.resource_kind == "chart"
    assert alert.risk >= RULES.threshold
    names = {feature.name for feature in alert.features if feature.observed_count == 0}
    assert "principal*resource_kind" in names
    assert sum(feature.weight for feature in alert.features) == pytest.approx(1.0)
    assert "karim on chart" in alert.description
    assert alert.neighbours[0].index in range(N)
    assert alert.neighbours[0].similarity == alert.similarity
    assert alert.title == "Unusual: karim (billing) view chart r in ward: ALLOW"


def test_the_id_is_that_of_the_leaf_and_the_rule() -> None:
    (alert,) = alerts_in(followed_by((START_MS + N, decision(N, ODD))))
    version = Stamp.of(RULES).version
    assert alert.alert_id == alert_id(ORIGIN, N, Rule(id=RISK_RULE, version=version))
    other_rules = replace(RULES, warm_up=21)
    (other,) = alerts_in(followed_by((START_MS + N, decision(N, ODD))), other_rules)
    assert other.alert_id != alert.alert_id


def test_the_evidence_proves_the_leaf_under_the_first_checkpoint_that_covers_it() -> None:
    batches = followed_by((START_MS + N, decision(N, ODD)))
    (alert,) = alerts_in(batches)
    (evidence,) = alert.evidence
    text = open_note(evidence.checkpoint, ORIGIN, KEYS)
    verify_inclusion(
        evidence.index, text.size, evidence.leaf_hash, evidence.inclusion_proof, text.root
    )
    assert text.size == batches[2].size
    assert evidence.leaf_hash == batches[2].records[N - batches[2].first].leaf


def test_nothing_is_told_while_warming_up() -> None:
    batches = followed_by((START_MS + N, decision(N, ODD)))
    assert told_by(batches, replace(RULES, warm_up=N + 1)) == []
    assert len(told_by(batches, replace(RULES, warm_up=N))) == 1


def test_leaves_of_other_tenants_warm_nobody_up() -> None:
    others = [(START_MS, decision(i, BEA, tenant="acme")) for i in range(50)]
    batches = followed_by(*others, (START_MS + N, decision(N, ODD)))
    assert told_by(batches, replace(RULES, warm_up=N + 1)) == []


def test_what_was_told_is_known_the_next_time() -> None:
    again = [(START_MS + i * HOUR, decision(N + i, ODD)) for i in range(1, 4)]
    told = told_by(followed_by((START_MS + N, decision(N, ODD)), *again))
    assert [item.leaf for item in told] == [N]


def test_all_evaluations_of_an_event_are_scored_and_the_riskiest_is_told() -> None:
    less = ("karim", "billing", "medication", "burn")
    event = decision(N, BEA, less, ODD, resource="r1")
    (finding,) = told_by(followed_by((START_MS + N, event)))
    assert isinstance(finding, Finding)
    assert finding.evaluation == 2
    assert finding.others == (1,)
    (alert,) = alerts_in(followed_by((START_MS + N, event)))
    assert (alert.count, alert.labels) == (2, {"evaluations": "1"})
    assert alert.decision.evaluation == 2


def test_evaluations_of_one_event_are_scored_against_earlier_leaves_only() -> None:
    twice = decision(N, ODD, ODD, ("karim", "billing", "chart", "void"))
    (finding,) = told_by(followed_by((START_MS + N, twice)))
    assert isinstance(finding, Finding)
    assert {finding.evaluation, *finding.others} == {0, 2}


def test_tenants_know_nothing_of_each_other() -> None:
    new = (START_MS + N, decision(N, BEA, tenant="acme"))
    state = fold()
    for batch in followed_by(new):
        for record in batch.records:
            state.apply(record)
    features = Features("acme", "bea", ("nurse",), "ward", "chart", "r", "view", "ALLOW")
    assert state.assess(features).known == 1
    assert state.assess(features._replace(tenant="")).known == N // 2
    assert state.assess(features._replace(tenant="nobody")).neighbours == ()
    assert explain(state.assess(features._replace(tenant="nobody"))).startswith("No decision was")


def test_what_an_hour_holds_back_is_summed_up_by_the_first_leaf_of_a_later_one() -> None:
    odd = [
        (START_MS + 300 + i, decision(N + i, ("karim", "billing", "chart", f"burn-{i}")))
        for i in range(6)
    ]
    later = (START_MS + 2 * HOUR, decision(300, BEA, resource="r0"))
    told = told_by(followed_by(*odd, later))
    assert [type(item) for item in told] == [Finding] * 3 + [Summary]
    alert = alerts_in(followed_by(*odd, later))[-1]
    assert alert.rule.id == HELD_BACK_RULE
    assert (alert.count, alert.suppressed_count) == (3, 3)
    assert alert.labels == {"first_leaf": str(N + 3), "last_leaf": str(N + 5)}
    assert alert.evidence[0].index == N + 6


def test_summaries_of_several_tenants_at_one_leaf_have_ids_of_their_own() -> None:
    rules = Rules(warm_up=0, alerts_per_hour=1, threshold=0.01)
    values: Values = []
    for tenant in ("acme", "bolt"):
        for i in range(6):
            asked = (f"p{i}", "role", f"k{i}", f"a{i}")
            values.append((START_MS + i, decision(i, asked, tenant=tenant)))
    values.append((START_MS + 2 * HOUR, None))
    summaries = [
        alert
        for alert in alerts_in(list(batches_of(EventLog.sealed(values))), rules)
        if alert.rule.id.startswith(HELD_BACK_RULE)
    ]
    assert [alert.tenant for alert in summaries] == ["acme", "bolt"]
    assert len({alert.alert_id for alert in summaries}) == 2


def test_a_refused_decision_is_a_step_milder() -> None:
    (allowed,) = alerts_in(followed_by((START_MS + N, decision(N, ODD))))
    (denied,) = alerts_in(followed_by((START_MS + N, decision(N, ODD, effect="DENY"))))
    order = list(Severity)
    assert order.index(denied.severity) < order.index(allowed.severity)


@pytest.mark.parametrize(
    ("risk", "allowed", "denied"),
    [
        (0.7, Severity.LOW, Severity.INFORMATIONAL),
        (0.799999999, Severity.LOW, Severity.INFORMATIONAL),
        (0.8, Severity.MEDIUM, Severity.LOW),
        (0.9, Severity.HIGH, Severity.MEDIUM),
        (0.95, Severity.CRITICAL, Severity.HIGH),
        (1.0, Severity.CRITICAL, Severity.HIGH),
    ],
    ids=str,
)
def test_severity_rises_with_risk(risk: float, allowed: Severity, denied: Severity) -> None:
    finding = first_finding()
    score = finding.assessment.score._replace(risk=risk)
    for effect, expected in (("ALLOW", allowed), ("DENY", denied), ("ERROR", denied)):
        features = finding.assessment.features._replace(effect=effect)
        assessed = finding.assessment._replace(score=score, features=features)
        assert alert_of(finding._replace(assessment=assessed)).severity is expected


@pytest.mark.parametrize(
    ("known", "score", "confidence"),
    [
        (0, 0, Confidence.LOW),
        (10, 33, Confidence.LOW),
        (11, 35, Confidence.MEDIUM),
        (20, 50, Confidence.MEDIUM),
        (41, 67, Confidence.HIGH),
        (10**9, 100, Confidence.HIGH),
    ],
    ids=str,
)
def test_confidence_rises_with_what_is_known_of_the_principal(
    known: int, score: int, confidence: Confidence
) -> None:
    finding = first_finding()
    alert = alert_of(finding._replace(assessment=finding.assessment._replace(known=known)))
    assert (alert.confidence_score, alert.confidence) == (score, confidence)


def first_finding() -> Finding:
    (finding,) = told_by(followed_by((START_MS + N, decision(N, ODD))))
    assert isinstance(finding, Finding)
    return finding


def alert_of(finding: Finding) -> AnomalyAlert:
    (alert,) = alerts_of([finding], followed_by((START_MS + N, b""))[2], Stamp.of(RULES))
    return alert


def test_one_habit_is_told_once_a_window_and_the_rest_is_counted_into_the_next() -> None:
    window = RULES.dedup_window_ms
    begin = (START_MS // window + 1) * window
    at = [0, 1, window - 1, window, window + 1]
    odd = [
        (begin + after, decision(N + i, ODD, resource=f"new-{i}", scope=f"scope-{i}"))
        for i, after in enumerate(at)
    ]
    rules = replace(RULES, threshold=0.1, alerts_per_hour=100)
    first, second = alerts_in(followed_by(*odd), rules)
    assert [a.evidence[0].index for a in (first, second)] == [N, N + 3]
    assert (first.suppressed_count, second.suppressed_count) == (0, 2)
    assert "2 findings like this were not told before" in second.description
    assert first.dedup_key != second.dedup_key
    other = [(begin + 2, decision(N + 1, ("karim", "billing", "chart", "burn"), scope="x"))]
    pair = alerts_in(followed_by(odd[0], *other), rules)
    assert len({alert.dedup_key for alert in pair}) == len(pair) == 2


def test_all_findings_about_one_habit_in_one_window_share_a_dedup_key() -> None:
    finding = first_finding()
    features = finding.assessment.features
    same = finding.assessment._replace(
        features=features._replace(resource_id="other", scope="y", roles=("z",), effect="DENY")
    )
    assert alert_of(finding._replace(assessment=same)).dedup_key == alert_of(finding).dedup_key
    for unlike in (
        features._replace(principal="else"),
        features._replace(resource_kind="else"),
        features._replace(action="else"),
        features._replace(tenant="else"),
    ):
        alert = alert_of(finding._replace(assessment=finding.assessment._replace(features=unlike)))
        assert alert.dedup_key != alert_of(finding).dedup_key


def test_in_shadow_findings_are_counted_and_not_told() -> None:
    rules = replace(RULES, mode=Mode.SHADOW)
    state = fold(rules)
    batches = followed_by((START_MS + N, decision(N, ODD)))
    told = [item for batch in batches for record in batch.records for item in state.apply(record)]
    assert told == []
    assert (state.tallies.findings, state.tallies.shadowed) == (1, 1)
    off = fold(Rules(mode=Mode.OFF))
    assert not any(off.apply(record) for batch in batches for record in batch.records)
    assert off.rows == 0


def test_unreadable_leaves_are_as_if_they_were_not_there() -> None:
    junk = [(START_MS, value) for value in (None, b"", b"\x00\x00", b"\xc3\x01junk", b"{}")]
    with_junk = followed_by(*junk, (START_MS + N, decision(N, ODD)))
    without = followed_by((START_MS + N, decision(N, ODD)))
    (told,), (expected,) = told_by(with_junk), told_by(without)
    assert isinstance(told, Finding)
    assert isinstance(expected, Finding)
    assert told.assessment == expected.assessment
    assert (told.leaf, expected.leaf) == (N + 5, N)


@pytest.mark.parametrize("timestamp", [-1, 0, 2**62, 253_402_300_800_000], ids=str)
def test_a_timestamp_off_the_calendar_stops_nothing(timestamp: int) -> None:
    (alert,) = alerts_in(followed_by((timestamp, decision(N, ODD))))
    assert encode_alert(alert)


def test_endless_names_are_cut_in_an_alert() -> None:
    long = "x" * 4096
    event = decision(N, (long, long, long, long), resource=long)
    (alert,) = alerts_in(followed_by((START_MS + N, event)))
    assert len(encode_alert(alert)) < 64_000
