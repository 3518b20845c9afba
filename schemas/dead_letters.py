"""`DeadLetter`: a sealed record no reader can use, and why (formats §7).

The bytes themselves stay in the audit record; a dead letter only names them.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import InvalidEventError

__all__ = ["DeadLetter", "Reason", "check_dead_letter"]


class Reason(StrEnum):
    """Why a record cannot be used."""

    UNKNOWN = "UNKNOWN"
    UNKNOWN_FRAMING = "UNKNOWN_FRAMING"
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    UNDECODABLE = "UNDECODABLE"
    TRAILING_BYTES = "TRAILING_BYTES"
    INVALID_EVENT = "INVALID_EVENT"
    WRONG_TYPE = "WRONG_TYPE"
    TOO_LARGE = "TOO_LARGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Where the record is sealed (`origin`, `index`), where it came from, and what is wrong.

    `timestamp` is in milliseconds since the epoch, -1 for none. `value_sha256` is the SHA-256 of
    the record's value, None where there is no value or its content was omitted.
    """

    origin: str
    index: int
    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    reason: Reason
    detail: str = ""
    value_sha256: bytes | None = None


def check_dead_letter(letter: DeadLetter) -> None:
    """Raise InvalidEventError where a dead letter names no place or no digest."""
    if not letter.origin or min(letter.index, letter.partition, letter.offset) < 0:
        raise InvalidEventError("dead letter: origin, index, partition and offset name a record")
    if letter.timestamp < -1:
        raise InvalidEventError(f"timestamp: {letter.timestamp} is below -1")
    if letter.value_sha256 is not None and len(letter.value_sha256) != 32:
        raise InvalidEventError("value_sha256: is not 32 bytes")
