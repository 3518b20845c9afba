"""`memories-jsonl`: one JSON object a change of memory → `MemoryMutation`.

    {"operation": "UPSERT", "namespace": "notes", "node_id": "n-1", "version": 3,
     "owner": "agent-7", "vector": [0.25, -1.5], "metadata": {"topic": "travel"},
     "expires_at": "2027-01-01T00:00:00Z", "occurred_at": "2026-01-02T03:04:05Z"}

`vector` is a list of numbers, or base64 of float32 values, little-endian. `time_ms` may stand in
the place of `occurred_at`. `operation`, `namespace` and `node_id` are needed. A member of another
name is an error: in a form of our own it is a typing mistake, and a mistaken expiry must not pass
silently.
"""

import struct
from base64 import b64decode

from schemas.errors import InvalidEventError
from schemas.events import Correlation, MemoryMutation, Operation, Producer
from schemas.sources.reading import (
    Json,
    Options,
    canonical_json,
    event_id,
    members,
    parse_moment,
    parse_object,
    text,
)

__all__ = ["translate"]

_TEXTS = ("namespace", "node_id", "owner", "reason", "actor", "request_id")
_MEMBERS = {"event_id", "tenant", "version", "operation", "occurred_at", "time_ms"}
_MEMBERS |= {"vector", "metadata", "expires_at", *_TEXTS}


def translate(document: bytes, options: Options) -> MemoryMutation:
    """The mutation of one line. Raises InvalidEventError for any member that cannot be used."""
    row = parse_object(document)
    unknown = sorted(row.keys() - _MEMBERS)
    if unknown:
        raise InvalidEventError(f"members {', '.join(unknown)[:256]} have no meaning here")
    for name in _TEXTS:
        if row.get(name) is not None and not isinstance(row[name], str):
            raise InvalidEventError(f"{name}: is no string")
    vector = _vector(row.get("vector"))
    return MemoryMutation(
        event_id=event_id(row.get("event_id"), document),
        tenant=text(row.get("tenant")) or options.tenant,
        namespace=text(row.get("namespace")),
        owner=text(row.get("owner")),
        node_id=text(row.get("node_id")),
        version=_version(row.get("version")),
        operation=_operation(row.get("operation")),
        occurred_at=_occurred_at(row),
        dimension=len(vector) // 4 if vector is not None else 0,
        vector=vector,
        metadata_json=_metadata(row.get("metadata")),
        expires_at=_micros("expires_at", row.get("expires_at")),
        reason=text(row.get("reason")),
        actor=text(row.get("actor")),
        source=Producer(format="memories-jsonl"),
        correlation=Correlation(request_id=text(row.get("request_id"))),
    )


def _operation(value: Json) -> Operation:
    try:
        return Operation(text(value).upper())
    except ValueError:
        names = ", ".join(name for name in Operation if name is not Operation.UNKNOWN)
        raise InvalidEventError(f"operation: expected one of {names}") from None


def _version(value: Json) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InvalidEventError("version: expected a whole number from 0 on")
    return value


def _occurred_at(row: dict[str, Json]) -> int | None:
    millis = row.get("time_ms")
    if millis is None:
        return _micros("occurred_at", row.get("occurred_at"))
    if not isinstance(millis, int) or isinstance(millis, bool) or "occurred_at" in row:
        raise InvalidEventError("time_ms: expected whole milliseconds, and no occurred_at beside")
    return millis * 1000


def _micros(name: str, value: Json) -> int | None:
    if value is None:
        return None
    micros = parse_moment(value).micros
    if micros is None:
        raise InvalidEventError(f"{name}: expected an RFC 3339 time")
    return micros


def _metadata(value: Json) -> str:
    if value is not None and not isinstance(value, dict):
        raise InvalidEventError("metadata: expected a JSON object")
    return canonical_json(members(value))


def _vector(value: Json) -> bytes | None:
    try:
        if isinstance(value, str):
            return b64decode(value, validate=True)
        if isinstance(value, list):
            return struct.pack(f"<{len(value)}f", *value)
    except (struct.error, OverflowError, ValueError) as error:
        raise InvalidEventError(f"vector: {error}") from None
    if value is not None:
        raise InvalidEventError("vector: expected a list of numbers, or base64")
    return None
