"""`SchemaAnswer`: what a registry said of an id or a GUID, recorded so that it is said once.

A registry may be gone in a year, or give an id to another schema. So its first answer is sealed in
the operations log, and every reader of events, then and later, goes by what is sealed.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import InvalidEventError
from schemas.framing import ReferenceKind, SchemaReference

__all__ = ["TEXT_BYTES_MAX", "Naming", "SchemaAnswer", "check_schema_answer", "naming_of"]

TEXT_BYTES_MAX = 262_144
"""UTF-8 bytes of a schema text: with it an answer fits into a record of any topic."""

DETAIL_CHARS_MAX = 1_000
URL_CHARS_MAX = 2_048


class Naming(StrEnum):
    """How events name the schema."""

    UNKNOWN = "UNKNOWN"
    ID = "ID"
    GUID = "GUID"


_KINDS = {Naming.ID: (ReferenceKind.ID, 4), Naming.GUID: (ReferenceKind.GUID, 16)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaAnswer:
    """`text` is None where the registry does not know the reference, or no reader can use it.

    `registry` is the URL that was asked, without credentials; `detail` says why there is no text.
    """

    kind: Naming
    reference: bytes
    text: str | None = None
    detail: str = ""
    registry: str = ""

    @property
    def about(self) -> SchemaReference:
        """The reference as frames have it."""
        return SchemaReference(_KINDS[self.kind][0], self.reference)


def naming_of(reference: SchemaReference) -> Naming:
    """The kind of an answer about a reference that only a registry can resolve."""
    return next(naming for naming, (kind, _) in _KINDS.items() if kind is reference.kind)


def check_schema_answer(answer: SchemaAnswer) -> None:
    """Raise InvalidEventError where an answer is about nothing, or too long."""
    if answer.kind not in _KINDS:
        raise InvalidEventError(f"schema answer: about {answer.kind}, expected ID or GUID")
    length = _KINDS[answer.kind][1]
    if len(answer.reference) != length:
        raise InvalidEventError(
            f"schema answer: {len(answer.reference)} bytes name an {answer.kind}, not {length}"
        )
    if answer.text is not None and len(answer.text.encode()) > TEXT_BYTES_MAX:
        raise InvalidEventError(f"schema answer: a text of more than {TEXT_BYTES_MAX} bytes")
    if len(answer.detail) > DETAIL_CHARS_MAX or len(answer.registry) > URL_CHARS_MAX:
        raise InvalidEventError("schema answer: detail or registry is too long")
