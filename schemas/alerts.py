"""`AnomalyAlert`: a finding about one sealed decision, with the evidence to check it by.

The fields are those of `schemas/avro/anomaly_alert.avsc`, where each is documented. An alert id
is a pure function of the leaf and the rule (formats §6): the same history gives the same ids.
"""

from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from math import isfinite

from schemas.errors import InvalidEventError
from schemas.limits import NAME_CHARS_MAX, check_id, check_items, check_micros

__all__ = [
    "AnomalyAlert",
    "Attack",
    "Confidence",
    "DecisionSummary",
    "Evidence",
    "Feature",
    "Neighbour",
    "Rule",
    "RuleType",
    "Severity",
    "Status",
    "alert_id",
    "check_alert",
]


class Status(StrEnum):
    """Where an alert stands."""

    UNKNOWN = "UNKNOWN"
    NEW = "NEW"
    UPDATED = "UPDATED"
    CLOSED = "CLOSED"


class Severity(StrEnum):
    """Severity; `ocsf_id` is its number there."""

    UNKNOWN = "UNKNOWN"
    INFORMATIONAL = "INFORMATIONAL"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"
    FATAL = "FATAL"

    @property
    def ocsf_id(self) -> int:
        """The severity_id of OCSF, 0 to 6."""
        return list(Severity).index(self)


class Confidence(StrEnum):
    """Confidence; the position of a member is the confidence_id of OCSF."""

    UNKNOWN = "UNKNOWN"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class RuleType(StrEnum):
    """Kind of analysis; the position of a member is the type_id of an OCSF analytic."""

    UNKNOWN = "UNKNOWN"
    RULE = "RULE"
    BEHAVIORAL = "BEHAVIORAL"
    STATISTICAL = "STATISTICAL"
    LEARNING = "LEARNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule that fired; `version` hashes every parameter that can change a verdict."""

    id: str
    name: str = ""
    version: str
    type: RuleType = RuleType.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A technique of ATT&CK or ATLAS that the finding may be a sign of."""

    framework: str = ""
    version: str = ""
    tactic: str = ""
    technique: str = ""
    sub_technique: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSummary:
    """The decision a finding is about, shortened; `evaluation` counts from 0."""

    event_id: str = ""
    evaluation: int = 0
    principal: str = ""
    roles: tuple[str, ...] = ()
    scope: str = ""
    resource_kind: str = ""
    resource_id: str = ""
    action: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature of the decision that its nearest neighbour lacks, with how often each was seen."""

    name: str
    observed: str = ""
    expected: str = ""
    observed_count: int = 0
    expected_count: int = 0
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An earlier decision near this one, by the leaf index of its last occurrence."""

    index: int
    similarity: float = 0.0
    count: int = 1
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Proof that a leaf is under `checkpoint`, the first that covers it, a note verbatim."""

    origin: str
    index: int
    leaf_hash: bytes
    inclusion_proof: tuple[bytes, ...] = ()
    checkpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyAlert:
    """A finding, published. `replayed` is no part of its identity."""

    alert_id: str
    dedup_key: str = ""
    status: Status = Status.UNKNOWN
    severity: Severity = Severity.UNKNOWN
    confidence: Confidence = Confidence.UNKNOWN
    confidence_score: int = 0
    rule: Rule
    attacks: tuple[Attack, ...] = ()
    tenant: str = ""
    title: str = ""
    description: str = ""
    first_seen: int | None = None
    last_seen: int | None = None
    count: int = 1
    suppressed_count: int = 0
    decision: DecisionSummary = field(default_factory=DecisionSummary)
    risk: float = 0.0
    similarity: float = 0.0
    novelty: float = 0.0
    rarity: float = 0.0
    threshold: float = 0.0
    features: tuple[Feature, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    replayed: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    runbook_url: str = ""
    source_url: str = ""


def alert_id(origin: str, index: int, rule: Rule) -> str:
    """The id of the alert a rule raises about one leaf (formats §6)."""
    digest = sha256(f"{origin}\n{index}\n{rule.id}\n{rule.version}".encode()).digest()
    return b32encode(digest).decode("ascii")[:26].lower()


def check_alert(alert: AnomalyAlert) -> None:
    """Raise InvalidEventError where an alert has no id, a number off its scale, or bad hashes."""
    check_id("alert_id", alert.alert_id, NAME_CHARS_MAX, required=True)
    check_micros("first_seen", alert.first_seen)
    check_micros("last_seen", alert.last_seen)
    if not 0 <= alert.confidence_score <= 100:
        raise InvalidEventError(f"confidence_score: {alert.confidence_score}, 0 to 100 are valid")
    if min(alert.count, alert.suppressed_count) < 0:
        raise InvalidEventError("count: is negative")
    _check_numbers(alert)
    for name, items in (
        ("attacks", alert.attacks),
        ("features", alert.features),
        ("neighbours", alert.neighbours),
        ("evidence", alert.evidence),
        ("labels", alert.labels),
    ):
        check_items(name, len(items))
    for evidence in alert.evidence:
        _check_evidence(evidence)


def _check_numbers(alert: AnomalyAlert) -> None:
    numbers = [alert.risk, alert.similarity, alert.novelty, alert.rarity, alert.threshold]
    numbers += [feature.weight for feature in alert.features]
    numbers += [near.similarity for near in alert.neighbours]
    if not all(map(isfinite, numbers)):
        raise InvalidEventError("risk: a score is infinite or not a number")
    if not 0.0 <= alert.risk <= 1.0:
        raise InvalidEventError(f"risk: {alert.risk}, 0 to 1 are valid")


def _check_evidence(evidence: Evidence) -> None:
    if evidence.index < 0 or len(evidence.inclusion_proof) > 64:
        raise InvalidEventError("evidence: no leaf has this index or so long a proof")
    if any(len(node) != 32 for node in (evidence.leaf_hash, *evidence.inclusion_proof)):
        raise InvalidEventError("evidence: a hash is not 32 bytes")
