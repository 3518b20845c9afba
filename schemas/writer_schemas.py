"""Schemas that producers write with, found by how a frame names them.

`BUILT_IN` holds every schema this project released, so that nothing of ours ever needs a
registry; what a registry answers about an id or a GUID is added as a value, once it is known.
A schema other than the one of today is resolved to it (Avro 1.12, "Schema Resolution") by
fastavro, after our own rules on names and logical types (`schemas.compatibility`) and on bytes
(`schemas.strict_reader`), where fastavro is lax.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from fastavro import schemaless_reader, schemaless_writer

from schemas.catalogue import (
    Schema,
    canonical_form,
    current_text,
    fingerprint,
    parse_text,
    plain_schema,
    released_texts,
    schema_names,
)
from schemas.compatibility import reading_problems
from schemas.errors import DecodeError
from schemas.framing import ReferenceKind, SchemaReference
from schemas.record_types import RECORD_TYPES, RecordType
from schemas.strict_reader import compile_reader, read_whole

__all__ = ["BUILT_IN", "SchemaLookup", "SchemaTable", "WriterSchema", "writer_schema"]

SCHEMA_TEXT_CHARS_MAX = 262_144


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A schema some producer writes with, made by `writer_schema`.

    `name` is its full name, "" where it has none. `read` makes one of our values of the bytes
    from a position to the end, or raises DecodeError; None where the name is not one of ours.
    """

    name: str
    read: Callable[[bytes, int], Any] | None


class SchemaLookup(Protocol):
    """Which schema a frame means. Pure: the answers of a registry are put in beforehand."""

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        """The schema, or None where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class SchemaTable:
    """Schemas by how frames name them."""

    schemas: Mapping[SchemaReference, WriterSchema]

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        """The schema, or None where nothing is known of it."""
        return self.schemas.get(reference)

    def with_schema(self, reference: SchemaReference, schema: WriterSchema) -> "SchemaTable":
        """This table and one schema more: what a registry says an id or a GUID stands for."""
        return SchemaTable(MappingProxyType({**self.schemas, reference: schema}))


def writer_schema(text: str) -> WriterSchema:
    """What a schema text means to a decoder.

    Raises DecodeError UNKNOWN_SCHEMA for a text that is no Avro schema.
    """
    if len(text) > SCHEMA_TEXT_CHARS_MAX:
        raise DecodeError("UNKNOWN_SCHEMA", f"a schema text of {len(text)} characters")
    try:
        schema = parse_text(text)
    except ValueError as error:
        raise DecodeError("UNKNOWN_SCHEMA", str(error)) from None
    name = str(schema.get("name", "")) if isinstance(schema, dict) else ""
    ours = RECORD_TYPES.get(name)
    if ours is None:
        return WriterSchema(name, None)
    problems = reading_problems(schema, ours.schema)
    if canonical_form(schema) == ours.form and not problems:
        return WriterSchema(name, lambda value, start: read_whole(ours.read, value, start))
    return WriterSchema(name, _resolving_reader(text, problems, ours))


def _resolving_reader(
    text: str, problems: list[str], ours: RecordType
) -> Callable[[bytes, int], Any]:
    """A reader for bodies of another schema that has the name of one of ours.

    What fastavro makes of them goes through our own encoding: values are built in one way only.
    """
    try:
        writer = plain_schema(text)
        read_strictly = compile_reader(writer, {})
    except ValueError as error:
        problems = [*problems, str(error)]

    def read(value: bytes, start: int) -> Any:  # noqa: ANN401 - one of our values
        if problems:
            raise DecodeError("UNDECODABLE", f"the writer's schema: {'; '.join(problems)}")
        read_whole(read_strictly, value, start)
        body = io.BytesIO()
        try:
            datum = schemaless_reader(io.BytesIO(value[start:]), writer, ours.plain)
            schemaless_writer(body, ours.plain, datum)
        except Exception as error:  # noqa: BLE001 - fastavro raises many types of its own
            raise DecodeError("UNDECODABLE", f"{type(error).__name__}: {error}") from None
        return read_whole(ours.read, body.getvalue(), 0)

    return read


def _built_in() -> SchemaTable:
    found: dict[SchemaReference, WriterSchema] = {}
    for name in schema_names():
        for text in (*released_texts(name).values(), current_text(name)):
            schema: Schema = parse_text(text)
            reference = SchemaReference(ReferenceKind.FINGERPRINT, fingerprint(schema))
            found[reference] = writer_schema(text)
    return SchemaTable(MappingProxyType(found))


BUILT_IN = _built_in()
"""Every schema of every release by its fingerprint."""
