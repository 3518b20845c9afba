"""What producers send: `AuthorizationDecision` and `MemoryMutation`; `Event` is their union.

The fields are those of `schemas/avro/authorization_decision.avsc` and `memory_mutation.avsc`,
where each is documented; times are microseconds since the epoch, UTC. Absent is empty (`""`, 0,
`()`), None only for times and bytes. `decode_*` builds these from bytes (`schemas.codec`),
`check_*` says whether one keeps the rules of its type.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from math import isfinite

from schemas.errors import InvalidEventError
from schemas.limits import (
    EVALUATIONS_MAX,
    ID_CHARS_MAX,
    NAME_CHARS_MAX,
    VECTOR_DIMENSION_MAX,
    check_id,
    check_items,
    check_micros,
)

__all__ = [
    "Action",
    "AuthorizationDecision",
    "Client",
    "Correlation",
    "Decision",
    "Enforcement",
    "Entity",
    "Evaluation",
    "Event",
    "MemoryMutation",
    "Operation",
    "PolicyRef",
    "PolicySource",
    "Producer",
    "Redaction",
    "RedactionKind",
    "SourceRecord",
    "check_decision",
    "check_event",
    "check_mutation",
    "event_key",
    "event_timestamp_ms",
]


class Decision(StrEnum):
    """What the policy decision point answered; UNKNOWN where its log does not say."""

    UNKNOWN = "UNKNOWN"
    ALLOW = "ALLOW"
    DENY = "DENY"
    CONDITIONAL = "CONDITIONAL"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    ERROR = "ERROR"


class RedactionKind(StrEnum):
    """How a place of the source record was blanked."""

    UNKNOWN = "UNKNOWN"
    ERASED = "ERASED"
    MASKED = "MASKED"


class Operation(StrEnum):
    """What is done to a memory node."""

    UNKNOWN = "UNKNOWN"
    UPSERT = "UPSERT"
    DELETE = "DELETE"
    HOLD = "HOLD"
    RELEASE = "RELEASE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A subject, an agent acting for it, or a resource."""

    type: str = ""
    id: str = ""
    roles: tuple[str, ...] = ()
    scope: str = ""
    policy_version: str = ""
    attributes_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the subject wanted to do."""

    name: str = ""
    properties_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """A policy that took part in a decision."""

    id: str = ""
    scope: str = ""
    version: str = ""


NO_ENTITY = Entity()
NO_ACTION = Action()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One question and its answer: may this subject do this action on this resource?"""

    id: str = ""
    subject: Entity = NO_ENTITY
    agents: tuple[Entity, ...] = ()
    action: Action = NO_ACTION
    resource: Entity = NO_ENTITY
    context_json: str = ""
    decision: Decision = Decision.UNKNOWN
    decision_raw_json: str = ""
    reasons: tuple[str, ...] = ()
    derived_roles: tuple[str, ...] = ()
    policies: tuple[PolicyRef, ...] = ()
    obligations_json: str = ""
    outputs_json: str = ""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What the enforcement point did, which is not what was decided."""

    outcome: str = ""
    status_code: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySource:
    """Which policies the decision point held."""

    kind: str = ""
    store_id: str = ""
    model_id: str = ""
    query: str = ""
    revisions: Mapping[str, str] = field(default_factory=dict)
    effective_policies: tuple[PolicyRef, ...] = ()
    consistency_token: str = ""
    details_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """The system whose log the event was read from."""

    product: str = ""
    format: str = ""
    version: str = ""
    instance: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Identifiers that join the event with others."""

    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    batch_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who called the decision point or the guarded service."""

    addresses: tuple[str, ...] = ()
    user_agent: str = ""
    principal: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """A place (RFC 6901 pointer) the producer blanked before it wrote the record."""

    pointer: str
    kind: RedactionKind = RedactionKind.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """The source bytes: their SHA-256, and the bytes themselves where they were kept."""

    media_type: str = ""
    sha256: bytes | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationDecision:
    """One record of a policy decision point's log, with all its evaluations."""

    event_id: str
    tenant: str = ""
    decided_at: int | None = None
    decided_at_nanos: int = 0
    decided_at_text: str = ""
    received_at: int | None = None
    evaluations: tuple[Evaluation, ...] = ()
    enforcement: Enforcement = field(default_factory=Enforcement)
    policy_source: PolicySource = field(default_factory=PolicySource)
    source: Producer = field(default_factory=Producer)
    correlation: Correlation = field(default_factory=Correlation)
    client: Client = field(default_factory=Client)
    redactions: tuple[Redaction, ...] = ()
    truncated: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    annotations_json: str = ""
    source_record: SourceRecord = field(default_factory=SourceRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMutation:
    """One change to what an AI agent remembers.

    `vector` holds `dimension` float32 values, little-endian; only an UPSERT has one.
    """

    event_id: str
    tenant: str = ""
    namespace: str
    owner: str = ""
    node_id: str
    version: int = 0
    operation: Operation
    occurred_at: int | None = None
    dimension: int = 0
    vector: bytes | None = None
    metadata_json: str = ""
    expires_at: int | None = None
    reason: str = ""
    actor: str = ""
    source: Producer = field(default_factory=Producer)
    correlation: Correlation = field(default_factory=Correlation)


Event = AuthorizationDecision | MemoryMutation


def check_event(event: Event) -> None:
    """Raise InvalidEventError unless the event keeps the rules of its type."""
    match event:
        case AuthorizationDecision():
            check_decision(event)
        case MemoryMutation():
            check_mutation(event)


def check_decision(event: AuthorizationDecision) -> None:
    """Raise InvalidEventError where an id is missing, too long, or contradicts what it names."""
    check_id("event_id", event.event_id, NAME_CHARS_MAX, required=True)
    check_id("tenant", event.tenant, NAME_CHARS_MAX)
    check_micros("decided_at", event.decided_at)
    check_micros("received_at", event.received_at)
    if not 0 <= event.decided_at_nanos <= 999:
        raise InvalidEventError(f"decided_at_nanos: {event.decided_at_nanos}, 0 to 999 are valid")
    check_items("evaluations", len(event.evaluations), EVALUATIONS_MAX)
    for evaluation in event.evaluations:
        _check_evaluation(evaluation)
    check_items("redactions", len(event.redactions))
    check_items("metrics", len(event.metrics))
    check_items("labels", len(event.source.labels))
    check_items("revisions", len(event.policy_source.revisions))
    check_items("effective_policies", len(event.policy_source.effective_policies))
    if event.metrics and not all(map(isfinite, event.metrics.values())):
        raise InvalidEventError("metrics: a number is infinite or not a number")
    _check_source_record(event.source_record)


def check_mutation(event: MemoryMutation) -> None:
    """Raise InvalidEventError where an id is missing, or vector, metadata or time is unusable."""
    check_id("event_id", event.event_id, NAME_CHARS_MAX, required=True)
    check_id("tenant", event.tenant, NAME_CHARS_MAX)
    check_id("namespace", event.namespace, NAME_CHARS_MAX, required=True)
    check_id("owner", event.owner, ID_CHARS_MAX)
    check_id("node_id", event.node_id, ID_CHARS_MAX, required=True)
    check_micros("occurred_at", event.occurred_at)
    check_micros("expires_at", event.expires_at)
    if event.version < 0:
        raise InvalidEventError(f"version: {event.version} is negative")
    if event.operation is Operation.UNKNOWN:
        raise InvalidEventError("operation: UNKNOWN says nothing that could be done")
    _check_vector(event)
    _check_metadata(event.metadata_json)


def event_key(event: Event) -> bytes:
    """The Kafka key, which puts events that must stay in order into one partition.

    A decision's is `<tenant>/<id of its first subject>` (its event id where no subject is
    known), a mutation's `<tenant>/<namespace>/<node id>`; `/` and `%` before the last part are
    percent-encoded, so that no two tenants or namespaces can share a key.
    """
    tenant = _escape(event.tenant)
    if isinstance(event, MemoryMutation):
        return f"{tenant}/{_escape(event.namespace)}/{event.node_id}".encode()
    principal = event.evaluations[0].subject.id if event.evaluations else ""
    return f"{tenant}/{principal or event.event_id}".encode()


def event_timestamp_ms(event: Event) -> int:
    """The event's own time in milliseconds since the epoch; -1 where it tells none.

    Times before the epoch count as none: Kafka has no negative timestamps.
    """
    if isinstance(event, MemoryMutation):
        micros = event.occurred_at
    else:
        micros = event.received_at if event.decided_at is None else event.decided_at
    return -1 if micros is None or micros < 0 else micros // 1000


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")


def _check_evaluation(evaluation: Evaluation) -> None:
    subject, resource = evaluation.subject, evaluation.resource
    check_id("subject.id", subject.id, ID_CHARS_MAX)
    check_id("resource.id", resource.id, ID_CHARS_MAX)
    check_id("action.name", evaluation.action.name, ID_CHARS_MAX)
    check_items("subject.roles", len(subject.roles))
    check_items("agents", len(evaluation.agents))
    check_items("policies", len(evaluation.policies))


def _check_source_record(record: SourceRecord) -> None:
    if record.content is None:
        if record.sha256 is not None and len(record.sha256) != 32:
            raise InvalidEventError("source_record.sha256: is not 32 bytes")
    elif record.sha256 != sha256(record.content).digest():
        raise InvalidEventError("source_record.sha256: is not the digest of the content")


def _check_vector(event: MemoryMutation) -> None:
    if event.operation is not Operation.UPSERT:
        if event.vector is not None or event.dimension:
            raise InvalidEventError(f"vector: a {event.operation} has none")
        return
    if event.vector is None or not 1 <= event.dimension <= VECTOR_DIMENSION_MAX:
        raise InvalidEventError(
            f"vector: an UPSERT has one, of 1 to {VECTOR_DIMENSION_MAX} components"
        )
    if len(event.vector) != 4 * event.dimension:
        raise InvalidEventError(
            f"vector: {len(event.vector)} bytes are not {event.dimension} float32 values"
        )
    # A sum of float32 values cannot overflow a double, and no infinity or NaN leaves it finite.
    components = struct.unpack(f"<{event.dimension}f", event.vector)
    if not isfinite(sum(components)):
        raise InvalidEventError("vector: a component is infinite or not a number")
    if not any(components):
        raise InvalidEventError("vector: all components are 0: it is near nothing")


def _check_metadata(text: str) -> None:
    if not text:
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError(f"metadata_json: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidEventError("metadata_json: is not a JSON object")
