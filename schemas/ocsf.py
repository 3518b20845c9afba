"""An alert as an OCSF Detection Finding (class 2004), for consumers that read no Avro.

A finding is a pure function of its alert: no clock, no version of ours is in it, so the same alert
gives the same bytes in every release that writes this version of OCSF. What OCSF has a term for
stands under it; what it has none for stands in `unmapped`; nothing is left out.

The schema is OCSF_VERSION with the profile `record_integrity`: the attestation's fingerprint is
over the finding itself (RFC 8785), so it shows damage on the way. What proves the decision is in
`evidences[].data`: leaf, inclusion proof and checkpoint. OCSF times are milliseconds. Integers
beyond 2**53 − 1, which JSON readers cannot hold, are cut to that.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import rfc8785

from schemas.alerts import (
    AnomalyAlert,
    Attack,
    Confidence,
    Evidence,
    Feature,
    Neighbour,
    Rule,
    RuleType,
    Status,
    check_alert,
)
from schemas.errors import DecodeError, InvalidEventError

__all__ = [
    "OCSF_VERSION",
    "alert_in",
    "detection_finding",
    "encode_finding",
    "fingerprint_of",
    "sealed_as",
]

OCSF_VERSION = "1.9.0-dev"
PROFILE = "record_integrity"
PRODUCT = {"name": "attestream", "vendor_name": "attestream"}
CLASS_UID, CATEGORY_UID = 2004, 2
INTEGER_MAX = 2**53 - 1
RARE = 10  # times seen before, below which a feature is called rare

ACTIVITIES = {
    Status.UNKNOWN: (0, "Unknown"),
    Status.NEW: (1, "Create"),
    Status.UPDATED: (2, "Update"),
    Status.CLOSED: (3, "Close"),
}
# An alert says nothing of anybody's triage: what is neither new nor unknown is "Other" there.
STATUSES = {
    Status.UNKNOWN: (0, "Unknown"),
    Status.NEW: (1, "New"),
    Status.UPDATED: (99, "Updated"),
    Status.CLOSED: (99, "Closed"),
}
ANALYTICS = {RuleType.LEARNING: "Learning (ML/DL)"}
SIGNED_APART = ("fingerprint", "signatures")  # of an attestation: all else it is computed over

Json = dict[str, Any]


def detection_finding(alert: AnomalyAlert, leaf: tuple[str, int] | None = None) -> Json:
    """The finding that says what the alert says, as `json.dumps` takes it.

    `leaf` is where the alert itself is sealed, as origin and index; the finding then names it.
    """
    activity_id, activity = ACTIVITIES[alert.status]
    status_id, status = STATUSES[alert.status]
    time = _millis(alert.last_seen) or _millis(alert.first_seen) or 0
    finding = _filled(
        activity_id=activity_id,
        activity_name=activity,
        category_uid=CATEGORY_UID,
        category_name="Findings",
        class_uid=CLASS_UID,
        class_name="Detection Finding",
        type_uid=CLASS_UID * 100 + activity_id,
        type_name=f"Detection Finding: {activity}",
        time=time,
        start_time=_millis(alert.first_seen),
        end_time=_millis(alert.last_seen),
        count=_whole(alert.count),
        message=alert.title,
        severity_id=alert.severity.ocsf_id,
        severity=alert.severity.value.capitalize(),
        status_id=status_id,
        status=status,
        confidence_id=list(Confidence).index(alert.confidence),
        confidence=alert.confidence.value.capitalize(),
        confidence_score=alert.confidence_score,
        risk_score=round(100 * alert.risk),
        is_alert=alert.status is not Status.CLOSED and not alert.replayed,
        metadata=_metadata(alert, leaf),
        finding_info=_finding_info(alert, time),
        resources=_resources(alert),
        evidences=_evidences(alert),
        anomaly_analyses=_analyses(alert),
        remediation=_remediation(alert),
        unmapped=_unmapped(alert),
        attestation_list=[{"uid": alert.alert_id}],
    )
    finding["attestation_list"][0]["fingerprint"] = {
        "algorithm": "SHA-256",
        "algorithm_id": 3,
        "encoding": "Hex",
        "encoding_id": 1,
        "serialization": "JCS",
        "serialization_id": 2,
        "value": fingerprint_of(finding),
    }
    return finding


def encode_finding(alert: AnomalyAlert, leaf: tuple[str, int] | None = None) -> bytes:
    """The finding as canonical JSON (RFC 8785): one line, UTF-8, one encoding only."""
    return rfc8785.dumps(detection_finding(alert, leaf))


def sealed_as(value: bytes) -> tuple[str, int] | None:
    """The `leaf` an encoded finding was made with; None where it names none, or is none."""
    try:
        origin, _, index = json.loads(value)["metadata"]["original_event_uid"].rpartition("/")
        return (origin, int(index)) if origin and index.isdecimal() else None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def fingerprint_of(finding: Mapping[str, Any]) -> str:
    """SHA-256 in hex over the canonical JSON of a finding without fingerprints and signatures.

    Equal to `attestation_list[0].fingerprint.value` as long as nothing of the finding was changed.
    Whoever adds members of his own on the way breaks it; the evidence stays good.
    """
    attestations = [
        {name: part for name, part in attestation.items() if name not in SIGNED_APART}
        for attestation in finding.get("attestation_list", ())
    ]
    return sha256(rfc8785.dumps({**finding, "attestation_list": attestations})).hexdigest()


def alert_in(finding: Mapping[str, Any]) -> AnomalyAlert:
    """What of a finding can be proven: an alert with its id, rule and evidence, all else empty.

    Raises:
        DecodeError: no finding that `detection_finding` makes.
    """
    try:
        info = finding["finding_info"]
        analytic = info["analytic"]
        alert = AnomalyAlert(
            alert_id=_text(info["uid"]),
            rule=Rule(id=_text(analytic["uid"]), version=_text(analytic["version"])),
            evidence=tuple(
                _evidence_in(item["data"])
                for item in finding.get("evidences", ())
                if "data" in item
            ),
        )
        check_alert(alert)
    except (LookupError, TypeError, ValueError, AttributeError, InvalidEventError) as error:
        raise DecodeError("UNDECODABLE", f"not a finding of ours: {error!r}") from error
    return alert


def _metadata(alert: AnomalyAlert, leaf: tuple[str, int] | None) -> Json:
    return _filled(
        version=OCSF_VERSION,
        profiles=[PROFILE],
        product=PRODUCT,
        uid=alert.alert_id,
        original_event_uid=None if leaf is None else f"{leaf[0]}/{leaf[1]}",
        correlation_uid=alert.dedup_key,
        tenant_uid=alert.tenant,
        log_name=alert.evidence[0].origin if alert.evidence else None,
    )


def _finding_info(alert: AnomalyAlert, time: int) -> Json:
    rule = alert.rule
    type_id = list(RuleType).index(rule.type)
    return _filled(
        uid=alert.alert_id,
        title=alert.title,
        desc=alert.description,
        created_time=time or None,
        first_seen_time=_millis(alert.first_seen),
        last_seen_time=_millis(alert.last_seen),
        analytic=_filled(
            uid=rule.id,
            name=rule.name,
            version=rule.version,
            type_id=type_id,
            type=ANALYTICS.get(rule.type, rule.type.value.capitalize()),
        ),
        attacks=[_attack(attack) for attack in alert.attacks if _is_told(attack)],
        data_sources=[evidence.origin for evidence in alert.evidence],
        related_events=[_related(near, alert) for near in alert.neighbours],
        related_events_count=len(alert.neighbours) or None,
        src_url=alert.source_url,
        tags=[{"name": name, "value": value} for name, value in sorted(alert.labels.items())],
    )


def _is_told(attack: Attack) -> bool:
    return bool(attack.tactic or attack.technique or attack.sub_technique)


def _attack(attack: Attack) -> Json:
    named = {
        name: {"uid": uid}
        for name in ("tactic", "technique", "sub_technique")
        if (uid := getattr(attack, name))
    }
    return _filled(version=attack.version, **named)


def _related(near: Neighbour, alert: AnomalyAlert) -> Json:
    origin = alert.evidence[0].origin if alert.evidence else ""
    return _filled(
        uid=f"{origin}/{near.index}" if origin else str(near.index),
        type="Nearest earlier decision",
        desc=near.summary,
        count=_whole(near.count),
    )


def _resources(alert: AnomalyAlert) -> list[Json]:
    decision = alert.decision
    name = decision.resource_id or decision.resource_kind or decision.scope
    if not name:
        return []
    return [
        _filled(
            uid=decision.resource_id,
            name=name,
            type=decision.resource_kind,
            namespace=decision.scope,
            role_id=1,
            role="Target",
        )
    ]


def _evidences(alert: AnomalyAlert) -> list[Json]:
    """One entry a proof; the first says what was decided too."""
    decision = alert.decision
    decided = _filled(
        uid=decision.event_id,
        actor=_actor(alert),
        api={"operation": decision.action} if decision.action else None,
    )
    proofs = [{"data": _data(evidence)} for evidence in alert.evidence]
    first = {**decided, **(proofs[0] if proofs else {})}
    told = [first] if first.keys() - {"uid"} else []
    return [{"name": "Sealed authorization decision", **item} for item in (*told, *proofs[1:])]


def _actor(alert: AnomalyAlert) -> Json | None:
    decision = alert.decision
    if not decision.principal:
        return None
    return _filled(
        user=_filled(
            uid=decision.principal,
            name=decision.principal,
            groups=[{"name": role, "type": "role"} for role in decision.roles if role],
        ),
        authorizations=[{"decision": decision.effect}] if decision.effect else None,
    )


def _data(evidence: Evidence) -> Json:
    return {
        "origin": evidence.origin,
        "index": _whole(evidence.index),
        "leaf_hash": b64encode(evidence.leaf_hash).decode(),
        "inclusion_proof": [b64encode(node).decode() for node in evidence.inclusion_proof],
        "checkpoint": evidence.checkpoint,
    }


def _evidence_in(data: Mapping[str, Any]) -> Evidence:
    index = data["index"]
    if not isinstance(index, int) or isinstance(index, bool):
        raise TypeError(f"a leaf index of {index!r}")
    return Evidence(
        origin=_text(data["origin"]),
        index=index,
        leaf_hash=b64decode(_text(data["leaf_hash"]), validate=True),
        inclusion_proof=tuple(
            b64decode(_text(node), validate=True) for node in data["inclusion_proof"]
        ),
        checkpoint=_text(data["checkpoint"]),
    )


def _analyses(alert: AnomalyAlert) -> list[Json]:
    """What the decision has, and what its nearest neighbour had in its place."""
    if not alert.features:
        return []
    expected = [feature for feature in alert.features if feature.expected]
    return [
        _filled(
            analysis_targets=[{"name": alert.decision.principal, "type": "Principal"}],
            anomalies=[
                _observed(feature, feature.observed, feature.observed_count)
                for feature in alert.features
            ],
            baselines=[
                _observed(feature, feature.expected, feature.expected_count)
                for feature in expected
            ],
        )
    ]


def _observed(feature: Feature, value: str, count: int) -> Json:
    known = "INFREQUENT" if count >= RARE else "RARE"
    return {
        "observation_parameter": feature.name,
        "observation_type": "Frequency Analysis",
        "observed_pattern": known if count else "UNSEEN",
        "observations": [{"value": value, "count": _whole(count)}],
    }


def _remediation(alert: AnomalyAlert) -> Json | None:
    if not alert.runbook_url:
        return None
    return {"desc": "Follow the runbook.", "references": [alert.runbook_url]}


def _unmapped(alert: AnomalyAlert) -> Json:
    """What OCSF has no term for; lists are in the order of what they belong to."""
    decision = alert.decision
    return _filled(
        risk=alert.risk,
        threshold=alert.threshold,
        similarity=alert.similarity,
        novelty=alert.novelty,
        rarity=alert.rarity,
        replayed=alert.replayed,
        suppressed_count=_whole(alert.suppressed_count),
        evaluation=decision.evaluation,
        feature_weights=[feature.weight for feature in alert.features],
        expected_counts=[_whole(feature.expected_count) for feature in alert.features],
        neighbour_similarities=[near.similarity for near in alert.neighbours],
        attacks=[
            _filled(framework=attack.framework, version=attack.version) for attack in alert.attacks
        ],
        # An actor without a user is none in OCSF.
        roles=[] if decision.principal else list(decision.roles),
        effect=None if decision.principal else decision.effect,
        # A decision with nothing to show is no evidence there.
        event_id=None if _evidences(alert) else decision.event_id,
        # What milliseconds leave of the times.
        first_seen_micros=_rest(alert.first_seen),
        last_seen_micros=_rest(alert.last_seen),
    )


def _filled(**members: Any) -> Json:  # noqa: ANN401  # any JSON value
    """The members that say something: an empty one is left out, 0 and false are not."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}


def _whole(number: int) -> int:
    return max(-INTEGER_MAX, min(number, INTEGER_MAX))


def _millis(micros: int | None) -> int | None:
    return None if micros is None else micros // 1000


def _rest(micros: int | None) -> int | None:
    return (micros or 0) % 1000 or None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value
