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
    digest: bytes | None = None
    try:
        content = decode_content(record.content)
        match content:
            case Encrypted():
                return None
            case Omitted(length, omitted):
                raise DecodeError(
                    "TOO_LARGE", f"{length} bytes, sealed by digest {omitted.hex()} only"
                )
            case Plain(key, value, headers):
                if value is not None:
                    digest = sha256(value).digest()
                decode(Record(record.source.offset, record.source.timestamp, key, value, headers))
                return None
    except RejectedInput as rejected:
        reason, detail = rejected.reason, rejected.detail
    return DeadLetter(
        origin=origin,
        index=record.index,
        topic=record.source.topic,
        partition=record.source.partition,
        offset=record.source.offset,
        timestamp=record.source.timestamp,
        reason=Reason(reason) if reason in set(Reason) else Reason.UNKNOWN,
        detail=detail[:DETAIL_CHARS],
        value_sha256=digest,
    )
