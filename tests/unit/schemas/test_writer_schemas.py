"""Events written with other schemas: older, newer, foreign, hostile."""

import io
import json

import pytest
from fastavro import schemaless_writer

from schemas.catalogue import (
    Schema,
    canonical_form,
    current_text,
    fingerprint,
    parse_text,
    plain_schema,
)
from schemas.codec import BUILT_IN, decode_event, encode_event, writer_schema
from schemas.errors import DecodeError, RejectedInput
from schemas.events import Correlation, MemoryMutation, Operation
from schemas.framing import ReferenceKind, SchemaReference, confluent_frame
from schemas.sources.reading import Json
from tests.support.events import full_decision, full_mutation, record

ID = SchemaReference(ReferenceKind.ID, b"\0\0\0\x05")


def memory_schema() -> Schema:
    return json.loads(current_text("memory_mutation"))


def decode(schema: Schema, datum: Json) -> object:
    """What a producer's datum, written with its own schema, is read as."""
    text = json.dumps(schema)
    body = io.BytesIO()
    schemaless_writer(body, plain_schema(text), datum)
    table = BUILT_IN.with_schema(ID, writer_schema(text))
    return decode_event(record(confluent_frame(5, body.getvalue())), table)


DATUM = {
    "event_id": "e",
    "namespace": "n",
    "node_id": "k",
    "operation": "DELETE",
    "version": 4,
}
DELETED = MemoryMutation(
    event_id="e", namespace="n", node_id="k", operation=Operation.DELETE, version=4
)


def test_an_older_schema_is_read_with_defaults_for_what_it_lacks() -> None:
    schema = memory_schema()
    schema["fields"] = [
        f for f in schema["fields"] if "default" not in f or f["name"] == "version"
    ]
    assert decode(schema, DATUM) == DELETED


def test_a_newer_schema_is_read_without_what_it_added() -> None:
    schema = memory_schema()
    schema["fields"].insert(0, {"name": "colour", "type": "string", "default": ""})
    schema["fields"].append({"name": "tags", "type": {"type": "map", "values": "long"}})
    assert decode(schema, DATUM | {"colour": "red", "tags": {"a": 1}}) == DELETED


def test_a_symbol_not_known_yet_reads_as_the_default_and_is_then_invalid() -> None:
    schema = memory_schema()
    operation = next(f for f in schema["fields"] if f["name"] == "operation")
    operation["type"]["symbols"].append("ARCHIVE")
    with pytest.raises(RejectedInput, match="INVALID_EVENT: operation: UNKNOWN"):
        decode(schema, DATUM | {"operation": "ARCHIVE"})


def test_fields_in_another_order_are_found_by_name() -> None:
    schema = memory_schema()
    nested = [f for f in schema["fields"] if f["name"] == "correlation"]
    rest = [f for f in schema["fields"] if f["name"] != "correlation"]
    schema["fields"] = [*nested, *rest[::-1]]
    event = decode(schema, DATUM | {"correlation": {"trace_id": "t"}})
    assert isinstance(event, MemoryMutation)
    assert event.correlation == Correlation(trace_id="t")


def test_docs_and_defaults_do_not_make_another_schema() -> None:
    """Registries and code generators drop documentation; such a schema is read as ours."""
    schema = memory_schema()
    for part in schema["fields"]:
        part.pop("doc")
    text = json.dumps(schema)
    assert fingerprint(parse_text(text)) == fingerprint(
        parse_text(current_text("memory_mutation"))
    )
    table = BUILT_IN.with_schema(ID, writer_schema(text))
    assert decode_event(record(encode_event(full_mutation(), 5)), table) == full_mutation()


def test_a_schema_in_canonical_form_without_its_logical_types_is_read_as_ours() -> None:
    text = canonical_form(parse_text(current_text("memory_mutation")))
    table = BUILT_IN.with_schema(ID, writer_schema(text))
    assert decode_event(record(encode_event(full_mutation(), 5)), table) == full_mutation()


def change_inner_namespace(schema: Schema) -> None:
    source = next(f for f in schema["fields"] if f["name"] == "source")
    source["type"]["namespace"] = "attestream.memory.v2"


def change_unit(schema: Schema) -> None:
    moment = next(f for f in schema["fields"] if f["name"] == "occurred_at")
    moment["type"] = ["null", {"type": "long", "logicalType": "timestamp-millis"}]


def change_type(schema: Schema) -> None:
    version = next(f for f in schema["fields"] if f["name"] == "version")
    version["type"] = "double"


@pytest.mark.parametrize("change", [change_inner_namespace, change_unit, change_type])
def test_a_schema_ours_cannot_read_makes_its_events_undecodable(change: object) -> None:
    schema = memory_schema()
    assert callable(change)
    change(schema)
    with pytest.raises(DecodeError, match="UNDECODABLE: the writer's schema"):
        decode(schema, DATUM)


def test_an_event_of_another_name_or_major_version_has_the_wrong_type() -> None:
    schema = memory_schema() | {"namespace": "attestream.memory.v2"}
    with pytest.raises(DecodeError, match=r"WRONG_TYPE: .*attestream.memory.v2.MemoryMutation"):
        decode(schema, DATUM)


def test_bytes_of_another_schema_are_read_as_strictly() -> None:
    schema = memory_schema()
    schema["fields"].append({"name": "odd", "type": "boolean", "default": False})
    text = json.dumps(schema)
    body = io.BytesIO()
    schemaless_writer(body, plain_schema(text), DATUM | {"odd": True})
    table = BUILT_IN.with_schema(ID, writer_schema(text))
    for wrong, reason in (
        (body.getvalue()[:-1] + b"\x02", "UNDECODABLE"),
        (body.getvalue() + b"\0", "TRAILING_BYTES"),
        (body.getvalue()[:-1], "UNDECODABLE"),
    ):
        with pytest.raises(DecodeError) as caught:
            decode_event(record(confluent_frame(5, wrong)), table)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "text", ["", "{", '"no-such-type"', "[" * 5_000, " " * 300_000 + '"int"', '{"type":"record"}']
)
def test_an_answer_of_a_registry_that_is_no_schema_is_unknown(text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        writer_schema(text)
    assert caught.value.reason == "UNKNOWN_SCHEMA"


@pytest.mark.parametrize("text", ['"int"', '["null", "int"]', '{"type": "array", "items": "int"}'])
def test_a_schema_without_name_is_of_the_wrong_type(text: str) -> None:
    table = BUILT_IN.with_schema(ID, writer_schema(text))
    with pytest.raises(DecodeError) as caught:
        decode_event(record(confluent_frame(5, b"\x02")), table)
    assert caught.value.reason == "WRONG_TYPE"


def test_a_schema_whose_values_take_unbounded_work_is_not_used() -> None:
    schema = memory_schema()
    schema["fields"].append({"name": "bomb", "type": {"type": "array", "items": "null"}})
    table = BUILT_IN.with_schema(ID, writer_schema(json.dumps(schema)))
    with pytest.raises(DecodeError, match="UNDECODABLE"):
        decode_event(record(confluent_frame(5, b"\x02")), table)


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "record", "name": "attestream.memory.v1.MemoryMutation"}',
        '{"type": "record", "name": "attestream.memory.v1.MemoryMutation", "fields": []}',
        '{"type": "enum", "name": "attestream.memory.v1.MemoryMutation", "symbols": ["A"]}',
        '{"type": "fixed", "name": "attestream.memory.v1.MemoryMutation", "size": 0}',
        '{"type": "error", "name": "attestream.memory.v1.MemoryMutation", "fields": []}',
    ],
)
def test_a_schema_that_only_borrows_a_name_is_not_used(text: str) -> None:
    with pytest.raises(DecodeError, match=r"UNDECODABLE|UNKNOWN_SCHEMA"):
        decode_event(
            record(confluent_frame(5, b"\x02")), BUILT_IN.with_schema(ID, writer_schema(text))
        )


def test_a_table_is_not_changed_by_what_is_added_to_it() -> None:
    writer = writer_schema(current_text("authorization_decision"))
    assert BUILT_IN.with_schema(ID, writer).find(ID) is writer
    assert BUILT_IN.find(ID) is None
    assert decode_event(record(encode_event(full_decision()))) == full_decision()
