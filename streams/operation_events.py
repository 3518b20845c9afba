"""Events of `attestream.operations`: one published, and those that are sealed (formats §5).

Whoever did something that the log should tell publishes it here; the sealer of the operations
seals it like any event. The operator's notes and the schema answers beside them are read by
others, and passed over here.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from schemas.audit_values import decode_audit_value, decode_content
from schemas.codec import decode_operation_event, encode_operation_event
from schemas.errors import RejectedInput
from schemas.operations import (
    DrillFinished,
    IndexKeyRotated,
    LogOpened,
    OperationEvent,
    SnapshotRestored,
)
from schemas.records import AuditRecord, Plain, Record
from streams.engine import Engine
from streams.history import pages
from streams.ports import Clock, NewRecord, PartitionReader

__all__ = ["SealedEvent", "event_of", "publish_operation", "sealed_events"]

KINDS: dict[type[OperationEvent], bytes] = {
    LogOpened: b"log-opened",
    IndexKeyRotated: b"index-key-rotated",
    SnapshotRestored: b"snapshot-restored",
    DrillFinished: b"drill-finished",
}


class SealedEvent(NamedTuple):
    """An event in the audit log of the operations, with its leaf index."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    event: OperationEvent


async def publish_operation(engine: Engine, event: OperationEvent, clock: Clock) -> None:
    """Publish an event to the deployment's operations; durable when this returns.

    Publishing it twice, after an answer that was lost, says the same thing twice.

    Raises:
        InvalidEventError: the event breaks a rule of its type.
        TransientError: perhaps not published.
        SettingsError: there is no such topic, or nobody here may write to it.
    """
    value = encode_operation_event(event)
    async with engine.sink(engine.topology.operations) as sink:
        await sink.send(NewRecord(clock.now_ms(), value, KINDS[type(event)]))


async def sealed_events(audit: PartitionReader) -> AsyncIterator[SealedEvent]:
    """Every such event in an audit partition of operations, in order; nothing is verified.

    Raises TransientError.
    """
    low, end, _ = await audit.bounds()
    async for page in pages(audit, low, end):
        for row in page:
            found = _event_in(row)
            if found is not None:
                yield found


def event_of(content: bytes) -> OperationEvent | None:
    """The event that a leaf of the operations commits to; None where it is something else."""
    try:
        plain = decode_content(content)
        if isinstance(plain, Plain):
            return decode_operation_event(Record(0, -1, *plain))
    except RejectedInput:
        pass
    return None


def _event_in(row: Record) -> SealedEvent | None:
    try:
        value = decode_audit_value(row.value or b"")
    except RejectedInput:
        return None
    event = event_of(value.content) if isinstance(value, AuditRecord) else None
    return SealedEvent(value.index, event) if event and isinstance(value, AuditRecord) else None
