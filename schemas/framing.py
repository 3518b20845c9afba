"""The four framings of Avro values on Kafka (formats §1), told apart by header and first bytes.

A frame names the schema of its body in one of three ways: by fingerprint, by the id or by the
GUID of a registry. Which schema that is, a `SchemaLookup` says (`schemas.codec`).
"""

from enum import StrEnum
from typing import NamedTuple

from schemas.errors import DecodeError
from schemas.limits import EVENT_BYTES_MAX
from schemas.records import Record

__all__ = [
    "SCHEMA_ID_HEADER",
    "Frame",
    "ReferenceKind",
    "SchemaReference",
    "confluent_frame",
    "read_frame",
    "single_object_frame",
]

SCHEMA_ID_HEADER = b"__value_schema_id"
SINGLE_OBJECT = b"\xc3\x01"
GUID_BYTES = 16


class ReferenceKind(StrEnum):
    """How a frame names its schema."""

    FINGERPRINT = "fingerprint"
    ID = "id"
    GUID = "guid"


class SchemaReference(NamedTuple):
    """A schema as a frame names it: 8 bytes, 4 bytes big-endian, or 16 bytes."""

    kind: ReferenceKind
    value: bytes

    def __str__(self) -> str:
        shown = self.value.hex()
        if self.kind is ReferenceKind.ID:
            shown = str(int.from_bytes(self.value, "big"))
        return f"{self.kind} {shown}"


class Frame(NamedTuple):
    """Which schema wrote the value, and where in `value` its body begins."""

    reference: SchemaReference
    value: bytes
    start: int


def read_frame(record: Record) -> Frame:
    """The frame of a record's value.

    Raises DecodeError UNKNOWN_FRAMING, also for no value and an empty one, or TOO_LARGE.
    """
    value = record.value
    if not value:
        raise DecodeError("UNKNOWN_FRAMING", "no value" if value is None else "an empty value")
    if len(value) > EVENT_BYTES_MAX:
        raise DecodeError("TOO_LARGE", f"{len(value)} bytes, at most {EVENT_BYTES_MAX} are read")
    if record.headers:
        guid = _header_guid(record)
        if guid is not None:
            return Frame(SchemaReference(ReferenceKind.GUID, guid), value, 0)
    if value.startswith(SINGLE_OBJECT) and len(value) >= 10:
        return Frame(SchemaReference(ReferenceKind.FINGERPRINT, value[2:10]), value, 10)
    if value[0] == 0 and len(value) >= 5:
        return Frame(SchemaReference(ReferenceKind.ID, value[1:5]), value, 5)
    if value[0] == 1 and len(value) >= 17:
        return Frame(SchemaReference(ReferenceKind.GUID, value[1:17]), value, 17)
    raise DecodeError("UNKNOWN_FRAMING", f"the value begins with {value[:4].hex()}")


def single_object_frame(fingerprint: bytes, body: bytes) -> bytes:
    """The Avro single-object encoding of a body."""
    return SINGLE_OBJECT + fingerprint + body


def confluent_frame(schema_id: int, body: bytes) -> bytes:
    """The Confluent V0 framing of a body; `schema_id` is the registry's, 0 to 2^32-1."""
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def _header_guid(record: Record) -> bytes | None:
    """The GUID in the header of the record, if it has that header.

    Clients differ on which of several such headers counts, so several must agree.
    """
    found = {value for name, value in record.headers if name == SCHEMA_ID_HEADER}
    if not found:
        return None
    guid = found.pop()
    if found or guid is None or len(guid) != 1 + GUID_BYTES or guid[0] != 1:
        raise DecodeError(
            "UNKNOWN_FRAMING", f"header {SCHEMA_ID_HEADER.decode()} is not 01 and one GUID"
        )
    return guid[1:]
