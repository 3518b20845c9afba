"""What was done to a deployment, as Avro events of `attestream.operations` (formats §5).

They are sealed like any event and bear no signature: they tell when something happened and move
no trust. What moves trust are the operator's notes (`streams.audit.operations`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import InvalidEventError

__all__ = [
    "FAILURES_MAX",
    "DrillFinished",
    "IndexKeyRotated",
    "LogOpened",
    "LogRoot",
    "OperationEvent",
    "SnapshotRestored",
    "check_operation_event",
]

DIGEST_BYTES = 32
NAME_CHARS_MAX = 2_048
FAILURES_MAX = 32
FAILURE_CHARS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRoot:
    """One log at one size."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOpened:
    """Where a log began: what its claim says, and the keys that sign it."""

    origin: str
    vkeys: tuple[str, ...]
    source_topic: str
    source_partition: int
    source_cluster_id: str
    source_topic_id: str
    first_offset: int
    audit_cluster_id: str = ""
    audit_topic_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexKeyRotated:
    """Data keys of snapshots were wrapped by `key_id` as well. `rotated_at` in microseconds."""

    rotated_at: int
    key_id: str
    previous_key_ids: tuple[str, ...] = ()
    snapshots: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRestored:
    """A projection goes on from a snapshot. `restored_at` in microseconds."""

    restored_at: int
    snapshot: str
    projection: str
    logs: tuple[LogRoot, ...] = ()
    content_sha256: bytes | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillFinished:
    """A drill ended. `finished_at` in microseconds; `logs`: how far each was archived."""

    finished_at: int
    passed: bool
    seed: str
    logs: tuple[LogRoot, ...] = ()
    segments: int = 0
    records: int = 0
    segment_bytes: int = 0
    recovery_seconds: float = 0.0
    newest_record_age_seconds: float | None = None
    failures: tuple[str, ...] = ()
    report_sha256: bytes | None = None


OperationEvent = LogOpened | IndexKeyRotated | SnapshotRestored | DrillFinished


def check_operation_event(event: OperationEvent) -> None:
    """Raise InvalidEventError where an event names nothing, or what cannot be."""
    match event:
        case LogOpened():
            _check_names(event.origin, event.source_topic, *event.vkeys)
            _check_numbers(event.source_partition, event.first_offset)
            if not event.vkeys:
                raise InvalidEventError("log opened: no vkey")
        case IndexKeyRotated():
            _check_names(event.key_id, *event.previous_key_ids)
            _check_numbers(event.rotated_at, event.snapshots)
        case SnapshotRestored():
            _check_names(event.snapshot, event.projection)
            _check_numbers(event.restored_at, event.seconds)
            _check_logs(event.logs)
            _check_digest(event.content_sha256)
        case DrillFinished():
            _check_drill(event)


def _check_drill(event: DrillFinished) -> None:
    _check_names(event.seed)
    _check_numbers(
        event.finished_at,
        event.segments,
        event.records,
        event.segment_bytes,
        event.recovery_seconds,
    )
    _check_logs(event.logs)
    _check_digest(event.report_sha256)
    if event.passed == bool(event.failures):
        raise InvalidEventError("drill finished: passed, or what did not hold, one of the two")
    if len(event.failures) > FAILURES_MAX:
        raise InvalidEventError(f"drill finished: at most {FAILURES_MAX} failures are told")
    if any(len(failure) > FAILURE_CHARS_MAX for failure in event.failures):
        raise InvalidEventError(f"drill finished: a failure over {FAILURE_CHARS_MAX} characters")


def _check_logs(logs: Iterable[LogRoot]) -> None:
    for log in logs:
        _check_names(log.origin)
        _check_numbers(log.size)
        _check_digest(log.root)


def _check_names(*names: str) -> None:
    if not all(0 < len(name) <= NAME_CHARS_MAX for name in names):
        raise InvalidEventError(f"operation: a name has 1 to {NAME_CHARS_MAX} characters")


def _check_numbers(*numbers: float) -> None:
    # A number that is none (NaN) is no more than 0 either.
    if not all(number >= 0 for number in numbers):
        raise InvalidEventError("operation: a number below 0")


def _check_digest(digest: bytes | None) -> None:
    if digest is not None and len(digest) != DIGEST_BYTES:
        raise InvalidEventError(f"operation: a digest of {len(digest)} bytes")
