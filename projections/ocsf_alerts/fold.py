"""What a sealed record of the alert topic becomes, if it is an alert: a finding, one line of JSON.

A pure function of the record, of its leaf, and of the schemas it may be written with.
"""

from collections.abc import Callable

from projections.ports import SealedRecord
from schemas.alerts import AnomalyAlert
from schemas.audit_values import decode_content
from schemas.errors import RejectedInput
from schemas.ocsf import encode_finding
from schemas.records import Plain, Record

__all__ = ["Decode", "finding_of"]

Decode = Callable[[Record], AnomalyAlert]
"""Raises RejectedInput for what is no alert."""


def finding_of(origin: str, sealed: SealedRecord, decode: Decode) -> bytes | None:
    """The finding of one leaf; None where it holds no alert: dead letters tell of those."""
    try:
        content = decode_content(sealed.content)
        if not isinstance(content, Plain):
            return None
        source = Record(sealed.source.offset, sealed.source.timestamp, *content)
        return encode_finding(decode(source), (origin, sealed.index))
    except RejectedInput:
        return None
