"""Whatever is sealed or derived as JSON values, for people and for `--json`.

Not an encoding: nothing reads it back. Bytes become base64, times stay the integers they are.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from schemas.codec import (
    decode_alert,
    decode_dead_letter,
    decode_event,
    decode_head,
    decode_operation_event,
    decode_schema_answer,
)
from schemas.errors import RejectedInput
from schemas.records import Record

__all__ = ["as_json", "record_as_json"]

NOTE = b"attestream.operation/"  # an operator's order begins so (formats §5)
OTHERS: tuple[Callable[[Record], object], ...] = (
    decode_alert,
    decode_head,
    decode_operation_event,
    decode_schema_answer,
    decode_dead_letter,
)


def as_json(value: object) -> Any:  # noqa: ANN401  # any JSON value
    """A value of `schemas` as what `json.dumps` takes; fields with empty values are left out."""
    if is_dataclass(value):
        shown = {f.name: as_json(getattr(value, f.name)) for f in fields(value)}
        return {name: part for name, part in shown.items() if part not in (None, "", [], {})}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(name): as_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in value]
    return value


def record_as_json(record: Record) -> Any:  # noqa: ANN401  # any JSON value
    """What is in a record of any topic of ours, or why it cannot be read and its bytes."""
    if record.value is None:
        return None
    try:
        return as_json(decode_event(record))
    except RejectedInput as error:
        shown = _other(record)
        if shown is not None:
            return shown
        return {"unreadable": str(error), "base64": b64encode(record.value).decode()}


def _other(record: Record) -> Any:  # noqa: ANN401  # any JSON value
    for decode in OTHERS:
        try:
            return as_json(decode(record))
        except RejectedInput:
            continue
    if record.value is not None and record.value.startswith(NOTE):
        return {"note": record.value.decode("utf-8", "replace")}
    return None
