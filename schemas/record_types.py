"""The records that are read into values: schema of today and reader of each.

A reader builds the dataclasses of `schemas.events`, `schemas.alerts`, `schemas.dead_letters`,
`schemas.heads`, `schemas.operations` and `schemas.schema_answers` from a body; their fields have
the names and order of the schemas.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas import alerts, dead_letters, events, heads, operations, schema_answers
from schemas.catalogue import (
    Schema,
    canonical_form,
    current_text,
    fingerprint,
    parse_text,
    plain_schema,
)
from schemas.strict_reader import Reader, compile_reader

__all__ = [
    "ALERT",
    "DEAD_LETTER",
    "DECISION",
    "DRILL_FINISHED",
    "INDEX_KEY_ROTATED",
    "LOG_HEAD",
    "LOG_OPENED",
    "MUTATION",
    "RECORD_TYPES",
    "SCHEMA_ANSWER",
    "SNAPSHOT_RESTORED",
    "RecordType",
]

DECISION = "attestream.authz.v1.AuthorizationDecision"
MUTATION = "attestream.memory.v1.MemoryMutation"
ALERT = "attestream.alerts.v1.AnomalyAlert"
DEAD_LETTER = "attestream.deadletters.v1.DeadLetter"
LOG_HEAD = "attestream.heads.v1.LogHead"
SCHEMA_ANSWER = "attestream.operations.v1.SchemaAnswer"
LOG_OPENED = "attestream.operations.v1.LogOpened"
INDEX_KEY_ROTATED = "attestream.operations.v1.IndexKeyRotated"
SNAPSHOT_RESTORED = "attestream.operations.v1.SnapshotRestored"
DRILL_FINISHED = "attestream.operations.v1.DrillFinished"

_BUILT: dict[str, tuple[str, tuple[Callable[..., Any], ...]]] = {
    DECISION: (
        "authorization_decision",
        (
            events.AuthorizationDecision,
            events.Evaluation,
            events.Entity,
            events.Action,
            events.PolicyRef,
            events.Decision,
            events.Enforcement,
            events.PolicySource,
            events.Producer,
            events.Correlation,
            events.Client,
            events.Redaction,
            events.RedactionKind,
            events.SourceRecord,
        ),
    ),
    MUTATION: (
        "memory_mutation",
        (events.MemoryMutation, events.Operation, events.Producer, events.Correlation),
    ),
    ALERT: (
        "anomaly_alert",
        (
            alerts.AnomalyAlert,
            alerts.Status,
            alerts.Severity,
            alerts.Confidence,
            alerts.Rule,
            alerts.RuleType,
            alerts.Attack,
            alerts.DecisionSummary,
            alerts.Feature,
            alerts.Neighbour,
            alerts.Evidence,
        ),
    ),
    DEAD_LETTER: ("dead_letter", (dead_letters.DeadLetter, dead_letters.Reason)),
    LOG_HEAD: ("log_head", (heads.LogHead,)),
    SCHEMA_ANSWER: ("schema_answer", (schema_answers.SchemaAnswer, schema_answers.Naming)),
    LOG_OPENED: ("log_opened", (operations.LogOpened,)),
    INDEX_KEY_ROTATED: ("index_key_rotated", (operations.IndexKeyRotated,)),
    SNAPSHOT_RESTORED: ("snapshot_restored", (operations.SnapshotRestored, operations.LogRoot)),
    DRILL_FINISHED: ("drill_finished", (operations.DrillFinished, operations.LogRoot)),
}


class RecordType(NamedTuple):
    """A record: its schema's text, parsed, without logical types, and what is made of them."""

    text: str
    schema: Schema
    plain: Schema
    form: str
    fingerprint: bytes
    read: Reader


def _record_type(name: str) -> RecordType:
    file_name, kinds = _BUILT[name]
    namespace = name.rpartition(".")[0]
    text = current_text(file_name)
    schema = parse_text(text)
    plain = plain_schema(text)
    return RecordType(
        text=text,
        schema=schema,
        plain=plain,
        form=canonical_form(schema),
        fingerprint=fingerprint(schema),
        read=compile_reader(plain, {f"{namespace}.{kind.__name__}": kind for kind in kinds}),
    )


RECORD_TYPES: Mapping[str, RecordType] = MappingProxyType(
    {name: _record_type(name) for name in _BUILT}
)
"""By full name."""
