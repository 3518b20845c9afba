"""From findings to alerts: identity, words, and the evidence anyone can check.

An alert is a pure function of its finding, of the batch that sealed its leaf, and of the rule.
Texts are cut to what a consumer can show; the decision itself stays in the audit record that the
evidence names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from projections.decision_index.embedding import Features, summary_of
from projections.decision_index.fold import Assessment, Difference, Finding, Neighbour, Summary
from projections.decision_index.scoring import HELD_BACK_RULE, RISK_RULE, Rules, rule_version
from projections.decision_index.throttle import HeldBack
from projections.ports import SealedBatch
from schemas.alerts import (
    AnomalyAlert,
    Confidence,
    DecisionSummary,
    Evidence,
    Feature,
    Rule,
    RuleType,
    Severity,
    Status,
    alert_id,
)
from schemas.alerts import Neighbour as AlertNeighbour
from schemas.limits import MICROS_MAX
from streams.audit.merkle import Frontier
from streams.audit.proofs import inclusion_proofs

__all__ = ["Stamp", "alerts_of", "explain"]

TEXT_CHARS = 256
ROLES_MAX = 32
POSITIONS_MAX = 100
FEATURES_TOLD = 3
SEVERITIES = (  # from which risk on
    (0.95, Severity.CRITICAL),
    (0.9, Severity.HIGH),
    (0.8, Severity.MEDIUM),
    (0.0, Severity.LOW),
)
MILDER = {
    Severity.CRITICAL: Severity.HIGH,
    Severity.HIGH: Severity.MEDIUM,
    Severity.MEDIUM: Severity.LOW,
    Severity.LOW: Severity.INFORMATIONAL,
}
REFUSED = {"DENY", "NOT_APPLICABLE", "ERROR"}
HALF_KNOWN = 20  # decisions of a principal at which confidence reaches 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What all alerts of one run have in common; `replayed` is no part of an alert's identity."""

    rules: Rules
    version: str
    replayed: bool = False

    @classmethod
    def of(cls, rules: Rules, *, replayed: bool = False) -> "Stamp":
        """The stamp of these rules."""
        return cls(rules=rules, version=rule_version(rules), replayed=replayed)


def alerts_of(
    told: Sequence[Finding | Summary], batch: SealedBatch, stamp: Stamp
) -> list[AnomalyAlert]:
    """The alerts about what was found in the leaves of one batch, in order."""
    leaves = [record.leaf for record in batch.records]
    before = Frontier.of(batch.first, batch.before)
    proofs = inclusion_proofs(before, leaves, [item.leaf for item in told])
    return [
        _alert(
            item,
            Evidence(
                origin=batch.origin,
                index=item.leaf,
                leaf_hash=leaves[item.leaf - batch.first],
                inclusion_proof=proof,
                checkpoint=batch.checkpoint.note,
            ),
            stamp,
        )
        for item, proof in zip(told, proofs, strict=True)
    ]


def explain(assessment: Assessment) -> str:
    """An assessment in words: how near the nearest decision is, and what it lacks."""
    features, found, known, neighbours, differences = assessment
    if not neighbours:
        return f"No decision was known before: {_short(summary_of(features))}."
    nearest = neighbours[0]
    where = f"leaf {nearest.leaf}, seen {_times(nearest.times)}"
    what = _short(summary_of(nearest.features))
    sentences = [
        f"The nearest decision before is {found.similarity:.0%} alike ({where}): {what}.",
        f"{_short(features.principal)} had {known} decisions before.",
    ]
    unlike = [difference for difference in differences if not difference.observed_count]
    if unlike:
        listed = ", ".join(map(_unlike, unlike[:FEATURES_TOLD]))
        sentences.append(f"Never seen before: {listed}.")
    elif differences:
        listed = ", ".join(map(_rare, differences[:FEATURES_TOLD]))
        sentences.append(f"Unlike the nearest: {listed}.")
    return " ".join(sentences)


def _alert(item: Finding | Summary, evidence: Evidence, stamp: Stamp) -> AnomalyAlert:
    match item:
        case Finding():
            return _finding_alert(item, evidence, stamp)
        case Summary():
            return _summary_alert(item, evidence, stamp)


def _finding_alert(finding: Finding, evidence: Evidence, stamp: Stamp) -> AnomalyAlert:
    features, found, known, neighbours, differences = finding.assessment
    rule = Rule(
        id=RISK_RULE,
        name="A decision unlike any before",
        version=stamp.version,
        type=RuleType.STATISTICAL,
    )
    certainty = round(100 * known / (known + HALF_KNOWN))
    window = finding.timestamp // stamp.rules.dedup_window_ms
    return AnomalyAlert(
        alert_id=alert_id(evidence.origin, evidence.index, rule),
        dedup_key=_dedup_key(features, window),
        status=Status.NEW,
        severity=_severity(found.risk, features.effect),
        confidence=_confidence(certainty),
        confidence_score=certainty,
        rule=rule,
        tenant=features.tenant,
        title=f"Unusual: {_short(summary_of(features))}",
        description=_description(finding),
        first_seen=_micros(finding.timestamp),
        last_seen=_micros(finding.timestamp),
        count=1 + len(finding.others),
        suppressed_count=finding.repetitions,
        decision=_decision(finding),
        risk=found.risk,
        similarity=found.similarity,
        novelty=found.novelty,
        rarity=found.rarity,
        threshold=finding.threshold,
        features=tuple(map(_feature, differences)),
        neighbours=tuple(map(_neighbour, neighbours)),
        evidence=(evidence,),
        replayed=stamp.replayed,
        labels=_labels(finding),
    )


def _summary_alert(summary: Summary, evidence: Evidence, stamp: Stamp) -> AnomalyAlert:
    # Several tenants may be told of at one leaf: each has a rule id of its own, so an alert id.
    tenant, held = summary.tenant, summary.held
    rule = Rule(
        id=f"{HELD_BACK_RULE}/{tenant}" if tenant else HELD_BACK_RULE,
        name="Findings held back by the hourly limit",
        version=stamp.version,
        type=RuleType.RULE,
    )
    return AnomalyAlert(
        alert_id=alert_id(evidence.origin, evidence.index, rule),
        dedup_key=sha256(f"{rule.id}\n{held.first}".encode()).hexdigest()[:32],
        status=Status.NEW,
        severity=Severity.MEDIUM,
        confidence=Confidence.HIGH,
        confidence_score=100,
        rule=rule,
        tenant=tenant,
        title=f"{held.findings} findings held back",
        description=_held_back(held, stamp.rules),
        first_seen=_micros(held.first_ms),
        last_seen=_micros(held.last_ms),
        count=held.findings,
        suppressed_count=held.findings,
        threshold=stamp.rules.threshold,
        evidence=(evidence,),
        replayed=stamp.replayed,
        labels={"first_leaf": str(held.first), "last_leaf": str(held.last)},
    )


def _held_back(held: HeldBack, rules: Rules) -> str:
    where = f"{held.findings} findings in leaves {held.first} to {held.last} were not published: "
    over = f"more than {rules.alerts_per_hour} alerts in an hour of record time"
    budget = f"more than the budget of {rules.alert_budget} alerts in 10,000 records of the tenant"
    if not held.below:
        return f"{where}{over}."
    if held.below == held.findings:
        return f"{where}{budget}."
    return f"{where}{held.below} for {budget}, the others for {over}."


def _description(finding: Finding) -> str:
    sentences = [explain(finding.assessment)]
    if finding.others:
        sentences.append(
            f"{len(finding.others)} further evaluations of the event are above the threshold."
        )
    if finding.repetitions:
        sentences.append(f"{finding.repetitions} findings like this were not told before.")
    return " ".join(sentences)


def _decision(finding: Finding) -> DecisionSummary:
    _, principal, roles, scope, kind, resource, action, effect = finding.assessment.features
    return DecisionSummary(
        event_id=_short(finding.event_id),
        evaluation=finding.evaluation,
        principal=_short(principal),
        roles=tuple(map(_short, roles[:ROLES_MAX])),
        scope=_short(scope),
        resource_kind=_short(kind),
        resource_id=_short(resource),
        action=_short(action),
        effect=effect,
    )


def _labels(finding: Finding) -> dict[str, str]:
    if not finding.others:
        return {}
    return {"evaluations": " ".join(map(str, finding.others[:POSITIONS_MAX]))}


def _severity(risk: float, effect: str) -> Severity:
    """By risk; a step milder where the decision was refused: it did no harm yet."""
    severity = next(severity for least, severity in SEVERITIES if risk >= least)
    return MILDER[severity] if effect in REFUSED else severity


def _confidence(certainty: int) -> Confidence:
    if certainty < 34:
        return Confidence.LOW
    return Confidence.MEDIUM if certainty < 67 else Confidence.HIGH


def _dedup_key(features: Features, window: int) -> str:
    parts = (
        RISK_RULE,
        features.tenant,
        features.principal,
        features.resource_kind,
        features.action,
        str(window),
    )
    joined = b"".join(sha256(part.encode("utf-8", "surrogatepass")).digest() for part in parts)
    return sha256(joined).hexdigest()[:32]


def _feature(difference: Difference) -> Feature:
    name, observed, expected, observed_count, expected_count, weight = difference
    return Feature(
        name=name,
        observed=_short(observed),
        expected=_short(expected),
        observed_count=observed_count,
        expected_count=expected_count,
        weight=weight,
    )


def _neighbour(neighbour: Neighbour) -> AlertNeighbour:
    return AlertNeighbour(
        index=neighbour.leaf,
        similarity=neighbour.similarity,
        count=neighbour.times,
        summary=_short(summary_of(neighbour.features)),
    )


def _unlike(difference: Difference) -> str:
    return f"{difference.name} “{_short(difference.observed)}”"


def _rare(difference: Difference) -> str:
    return f"{_unlike(difference)}, seen {_times(difference.observed_count)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else f"{text[: TEXT_CHARS - 1]}…"


def _micros(timestamp: int) -> int | None:
    """Milliseconds as microseconds; None where a producer's clock left the calendar."""
    micros = timestamp * 1000
    return micros if 0 < micros <= MICROS_MAX else None
