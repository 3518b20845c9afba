"""Bytes ↔ events, and the records that are derived or recorded, in all framings (formats §1).

Decoding runs for every event of every log. A body written by the schema of today is read straight
into its dataclasses; one written by another schema of the same name is resolved to it. Whatever
the bytes say, time and memory are bounded by their length, and only `RejectedInput` comes out,
with a reason of formats §7.

    >>> decode_event(Record(0, 0, None, encode_event(event)), BUILT_IN) == event
    True
"""

import io
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from fastavro import schemaless_writer

from schemas.alerts import AnomalyAlert, check_alert
from schemas.dead_letters import DeadLetter, check_dead_letter
from schemas.errors import DecodeError, InvalidEventError, TooLargeError
from schemas.events import (
    AuthorizationDecision,
    Event,
    MemoryMutation,
    check_decision,
    check_event,
    check_mutation,
)
from schemas.framing import confluent_frame, read_frame, single_object_frame
from schemas.heads import LogHead, check_head
from schemas.limits import EVENT_BYTES_MAX
from schemas.operations import (
    DrillFinished,
    IndexKeyRotated,
    LogOpened,
    OperationEvent,
    SnapshotRestored,
    check_operation_event,
)
from schemas.record_types import (
    ALERT,
    DEAD_LETTER,
    DECISION,
    DRILL_FINISHED,
    INDEX_KEY_ROTATED,
    LOG_HEAD,
    LOG_OPENED,
    MUTATION,
    RECORD_TYPES,
    SCHEMA_ANSWER,
    SNAPSHOT_RESTORED,
)
from schemas.records import Record
from schemas.schema_answers import SchemaAnswer, check_schema_answer
from schemas.writer_schemas import (
    BUILT_IN,
    SchemaLookup,
    SchemaTable,
    WriterSchema,
    writer_schema,
)

__all__ = [
    "BUILT_IN",
    "SchemaLookup",
    "SchemaTable",
    "WriterSchema",
    "decode_alert",
    "decode_dead_letter",
    "decode_decision",
    "decode_event",
    "decode_head",
    "decode_mutation",
    "decode_operation_event",
    "decode_schema_answer",
    "encode_alert",
    "encode_dead_letter",
    "encode_event",
    "encode_head",
    "encode_operation_event",
    "encode_schema_answer",
    "writer_schema",
]

FRAME_BYTES_MAX = 10  # of the longest framing that is written
OPERATION_EVENTS: dict[type[OperationEvent], str] = {
    LogOpened: LOG_OPENED,
    IndexKeyRotated: INDEX_KEY_ROTATED,
    SnapshotRestored: SNAPSHOT_RESTORED,
    DrillFinished: DRILL_FINISHED,
}


def decode_event(record: Record, schemas: SchemaLookup = BUILT_IN) -> Event:
    """The event in a record of an event topic.

    Raises:
        DecodeError: UNKNOWN_FRAMING, UNKNOWN_SCHEMA, WRONG_TYPE, UNDECODABLE, TRAILING_BYTES or
            TOO_LARGE.
        InvalidEventError: the event breaks a rule of its type.
    """
    event: Event = _decode(record, schemas, (DECISION, MUTATION))
    check_event(event)
    return event


def decode_decision(record: Record, schemas: SchemaLookup = BUILT_IN) -> AuthorizationDecision:
    """As `decode_event`, where any other event has the WRONG_TYPE."""
    event: AuthorizationDecision = _decode(record, schemas, (DECISION,))
    check_decision(event)
    return event


def decode_mutation(record: Record, schemas: SchemaLookup = BUILT_IN) -> MemoryMutation:
    """As `decode_event`, where any other event has the WRONG_TYPE."""
    event: MemoryMutation = _decode(record, schemas, (MUTATION,))
    check_mutation(event)
    return event


def decode_alert(record: Record, schemas: SchemaLookup = BUILT_IN) -> AnomalyAlert:
    """The alert in a record of the alert topic. Raises as `decode_event`."""
    alert: AnomalyAlert = _decode(record, schemas, (ALERT,))
    check_alert(alert)
    return alert


def decode_dead_letter(record: Record, schemas: SchemaLookup = BUILT_IN) -> DeadLetter:
    """The dead letter in a record of a dead-letter topic. Raises as `decode_event`."""
    letter: DeadLetter = _decode(record, schemas, (DEAD_LETTER,))
    check_dead_letter(letter)
    return letter


def decode_head(record: Record, schemas: SchemaLookup = BUILT_IN) -> LogHead:
    """The log's head in a record of the heads topic. Raises as `decode_event`."""
    head: LogHead = _decode(record, schemas, (LOG_HEAD,))
    check_head(head)
    return head


def decode_schema_answer(record: Record) -> SchemaAnswer:
    """The schema answer in a record of the operations topic: no registry says how to read one.

    Raises as `decode_event`.
    """
    answer: SchemaAnswer = _decode(record, BUILT_IN, (SCHEMA_ANSWER,))
    check_schema_answer(answer)
    return answer


def decode_operation_event(record: Record) -> OperationEvent:
    """The event in a record of the operations topic: no registry says how to read one.

    Raises as `decode_event`; an operator's note is of UNKNOWN_FRAMING.
    """
    event: OperationEvent = _decode(record, BUILT_IN, tuple(OPERATION_EVENTS.values()))
    check_operation_event(event)
    return event


def encode_event(event: Event, schema_id: int | None = None) -> bytes:
    """An event framed: single object, or Confluent V0 given the id a registry gave its schema.

    Raises InvalidEventError where the event breaks a rule of its type, TooLargeError beyond
    1 MiB.
    """
    check_event(event)
    return _encode(MUTATION if isinstance(event, MemoryMutation) else DECISION, event, schema_id)


def encode_alert(alert: AnomalyAlert, schema_id: int | None = None) -> bytes:
    """An alert, framed as `encode_event` does, raising the same."""
    check_alert(alert)
    return _encode(ALERT, alert, schema_id)


def encode_dead_letter(letter: DeadLetter, schema_id: int | None = None) -> bytes:
    """A dead letter, framed as `encode_event` does, raising the same."""
    check_dead_letter(letter)
    return _encode(DEAD_LETTER, letter, schema_id)


def encode_head(head: LogHead, schema_id: int | None = None) -> bytes:
    """A log's head, framed as `encode_event` does, raising the same."""
    check_head(head)
    return _encode(LOG_HEAD, head, schema_id)


def encode_schema_answer(answer: SchemaAnswer) -> bytes:
    """A schema answer as a single object, raising as `encode_event` does."""
    check_schema_answer(answer)
    return _encode(SCHEMA_ANSWER, answer, None)


def encode_operation_event(event: OperationEvent) -> bytes:
    """An event of the operations topic as a single object, raising as `encode_event` does."""
    check_operation_event(event)
    return _encode(OPERATION_EVENTS[type(event)], event, None)


def _decode(record: Record, schemas: SchemaLookup, wanted: tuple[str, ...]) -> Any:  # noqa: ANN401
    frame = read_frame(record)
    schema = schemas.find(frame.reference)
    if schema is None:
        raise DecodeError("UNKNOWN_SCHEMA", f"no schema is known by {frame.reference}")
    if schema.name not in wanted or schema.read is None:
        found = schema.name or "a value without name"
        raise DecodeError("WRONG_TYPE", f"expected {' or '.join(wanted)}, got {found}")
    return schema.read(frame.value, frame.start)


def _encode(name: str, value: object, schema_id: int | None) -> bytes:
    record_type = RECORD_TYPES[name]
    buffer = io.BytesIO()
    datum = _Datum().of(value)
    try:
        schemaless_writer(buffer, record_type.plain, datum)
    except Exception as error:  # noqa: BLE001 - fastavro raises many types of its own
        raise InvalidEventError(f"{type(error).__name__}: {error}") from None
    body = buffer.getvalue()
    if len(body) + FRAME_BYTES_MAX > EVENT_BYTES_MAX:
        raise TooLargeError(f"{len(body)} bytes encoded, {EVENT_BYTES_MAX} fit with the frame")
    if schema_id is None:
        return single_object_frame(record_type.fingerprint, body)
    return confluent_frame(schema_id, body)


class _Datum:
    """Makes of dataclasses what fastavro writes; maps sorted: equal values have equal bytes.

    A text may be shared by thousands of evaluations, so sizes are added up before it is written
    thousands of times.
    """

    def __init__(self) -> None:
        self._size = 0

    def of(self, value: object) -> object:
        if isinstance(value, str | bytes):
            self._size += len(value)
            if self._size > EVENT_BYTES_MAX:
                raise TooLargeError(f"more than the {EVENT_BYTES_MAX} bytes that are read")
            return value
        if is_dataclass(value) and not isinstance(value, type):
            return {name: self.of(getattr(value, name)) for name in _field_names(type(value))}
        if isinstance(value, tuple):
            return [self.of(item) for item in value]
        if isinstance(value, Mapping):
            return {self.of(key): self.of(value[key]) for key in sorted(value)}
        return value


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
