"""From a sealed record to its dead letter, if no reader can use it (formats §7).

Validity is a judgement derived from what is sealed, so it may change with the schemas that are
known; the bytes stay in the audit record, and a dead letter only names them.
"""

from collections.abc import Callable
from hashlib import sha256

from projections.ports import SealedRecord
from schemas.audit_values import decode_content
from schemas.dead_letters import DeadLetter, Reason
from schemas.errors import DecodeError, RejectedInput
from schemas.records import Encrypted, Omitted, Plain, Record

__all__ = ["Decode", "dead_letter_of"]

DETAIL_CHARS = 1000

Decode = Callable[[Record], object]


def dead_letter_of(origin: str, record: SealedRecord, decode: Decode) -> DeadLetter | None:
    """The dead letter of a sealed record; None where `decode` can read it.

    Content that only the holder of a key can read is no dead letter: its readers are elsewhere.
    """
    try:
        content = decode_content(record.content)
    except RejectedInput as rejected:
        return _letter(origin, record, None, rejected)
    match content:
        case Encrypted():
            return None
        case Omitted(length, digest):
            detail = f"{length} bytes, sealed as their digest {digest.hex()}"
            return _letter(origin, record, None, DecodeError("TOO_LARGE", detail))
        case Plain(key, value, headers):
            try:
                source = record.source
                decode(Record(source.offset, source.timestamp, key, value, headers))
            except RejectedInput as rejected:
                return _letter(origin, record, value, rejected)
            return None


def _letter(
    origin: str, record: SealedRecord, value: bytes | None, rejected: RejectedInput
) -> DeadLetter:
    known = rejected.reason in set(Reason)
    return DeadLetter(
        origin=origin,
        index=record.index,
        topic=record.source.topic,
        partition=record.source.partition,
        offset=record.source.offset,
        timestamp=record.source.timestamp,
        reason=Reason(rejected.reason) if known else Reason.UNKNOWN,
        detail=rejected.detail[:DETAIL_CHARS],
        value_sha256=None if value is None else sha256(value).digest(),
    )
