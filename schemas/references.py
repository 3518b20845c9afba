"""Which schema a sealed record's value needs a registry for, if any.

Asked of every leaf before it is read, so the usual case is decided by a few bytes: an event framed
as an Avro single object names a schema that is built in or unknown for ever.
"""

from schemas.audit_values import decode_content
from schemas.errors import RejectedInput
from schemas.framing import SCHEMA_ID_HEADER, ReferenceKind, SchemaReference, read_frame
from schemas.limits import EVENT_BYTES_MAX
from schemas.records import Plain, Record

__all__ = ["REGISTRY_ID_MAX", "reference_of", "registry_reference"]

REGISTRY_ID_MAX = 2**31 - 1
"""No registry gives a higher id: they are signed 32-bit numbers that begin with 1."""

SINGLE_OBJECT = b"\xc3\x01"
BYTES = 2  # the branch of a union of null and bytes


def registry_reference(content: bytes) -> SchemaReference | None:
    """The id or GUID that the frame in a leaf's content names.

    None for any other frame, for an id that no registry gives, and for what has no frame at all.
    """
    at = _value_at(content)
    # Where the header's name is nowhere in the bytes, there is no such header.
    if at and SCHEMA_ID_HEADER not in content:
        if content[at : at + 2] == SINGLE_OBJECT:
            return None
        if content[at] == 0 and len(content) <= EVENT_BYTES_MAX:
            return _given(SchemaReference(ReferenceKind.ID, content[at + 1 : at + 5]))
    try:
        plain = decode_content(content)
    except RejectedInput:
        return None
    return reference_of(Record(0, 0, *plain)) if isinstance(plain, Plain) else None


def reference_of(record: Record) -> SchemaReference | None:
    """As `registry_reference`, of a record that is not sealed."""
    try:
        return _given(read_frame(record).reference)
    except RejectedInput:
        return None


def _value_at(content: bytes) -> int:
    """Where the value of a `Plain` begins, 0 where that takes a closer look.

    A value found here has 5 bytes or more.
    """
    try:
        at = 2
        if content[1]:
            at = (content[2] >> 1) + 3
        if content[0] or content[at] != BYTES or (content[1] and content[2] > 0x7F):
            return 0
        at += 1
        if content[at] < 2 * 5:
            return 0
        while content[at] > 0x7F:
            at += 1
        return at + 1 if len(content) > at + 5 else 0
    except IndexError:
        return 0


def _given(reference: SchemaReference) -> SchemaReference | None:
    if reference.kind is ReferenceKind.FINGERPRINT:
        return None
    if reference.kind is ReferenceKind.ID:
        known = 0 < int.from_bytes(reference.value, "big") <= REGISTRY_ID_MAX
        return reference if known else None
    return reference
