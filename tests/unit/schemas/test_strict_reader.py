"""Avro bodies that other readers take, each in its own way, and this one refuses."""

import io
import json
import struct
import time
import tracemalloc

import pytest
from fastavro import parse_schema, schemaless_writer

from schemas.catalogue import Schema
from schemas.errors import DecodeError
from schemas.record_types import DECISION, RECORD_TYPES
from schemas.sources.reading import Json
from schemas.strict_reader import Reader, compile_reader, read_whole


def reader(schema: Schema) -> Reader:
    return compile_reader(parse_schema(schema), {})


def long(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    out = b""
    while zigzag > 0x7F:
        out += bytes([zigzag & 0x7F | 0x80])
        zigzag >>= 7
    return out + bytes([zigzag])


UNION = ["null", "string"]
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
ARRAY = {"type": "array", "items": "string"}
MAP = {"type": "map", "values": "int"}
FIXED = {"type": "fixed", "name": "F", "size": 4}


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        pytest.param(UNION, long(-1) + b"\x02a", id="union-index-below-zero"),
        pytest.param(UNION, long(2), id="union-index-too-high"),
        pytest.param(ENUM, long(-1), id="enum-index-below-zero"),
        pytest.param(ENUM, long(2), id="enum-index-too-high"),
        pytest.param("boolean", b"\x02", id="boolean-of-two"),
        pytest.param("int", long(2**31), id="int-beyond-32-bits"),
        pytest.param("long", b"\x80" * 10 + b"\x00", id="varint-of-eleven-bytes"),
        pytest.param("long", b"\xff" * 9 + b"\x7f", id="varint-beyond-64-bits"),
        pytest.param("string", long(-1), id="length-below-zero"),
        pytest.param("string", long(5) + b"ab", id="length-beyond-the-end"),
        pytest.param("string", long(300) + b"ab", id="long-length-beyond-the-end"),
        pytest.param("bytes", long(2**40) + b"ab", id="length-of-a-terabyte"),
        pytest.param("string", b"\x02\xff", id="text-that-is-no-utf-8"),
        pytest.param(FIXED, b"abc", id="fixed-cut-short"),
        pytest.param("double", b"\0\0\0", id="double-cut-short"),
        pytest.param("float", b"\0", id="float-cut-short"),
        pytest.param("long", b"", id="nothing"),
        pytest.param("string", b"\x80", id="varint-cut-short"),
        pytest.param(ARRAY, long(2**62) + b"\0", id="block-of-2-to-the-62-items"),
        pytest.param(ARRAY, long(-(2**63)) + long(1) + b"\0\0", id="block-of-minus-2-to-the-63"),
        pytest.param(ARRAY, long(-1) + long(9) + b"\x02a\0", id="block-longer-than-the-data"),
        pytest.param(ARRAY, long(-1) + long(1) + b"\x02a\0", id="block-shorter-than-its-items"),
        pytest.param(ARRAY, long(1) + b"\x02a", id="array-without-end"),
        pytest.param(MAP, long(2) + b"\x02a\x02\x02a\x04\0", id="map-key-twice"),
        pytest.param(MAP, long(1) + b"\x02a\x02", id="map-without-end"),
    ],
)
def test_bytes_that_other_readers_may_take_are_undecodable(schema: Schema, data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        read_whole(reader(schema), data, 0)
    assert caught.value.reason == "UNDECODABLE"


@pytest.mark.parametrize(
    ("schema", "data", "value"),
    [
        (UNION, b"\x00", None),
        (UNION, b"\x02\x02a", "a"),
        (ENUM, b"\x02", "B"),
        ("boolean", b"\x01", True),
        ("int", long(-(2**31)), -(2**31)),
        ("long", long(-(2**63)), -(2**63)),
        ("long", long(2**63 - 1), 2**63 - 1),
        ("float", struct.pack("<f", 0.5), 0.5),
        ("double", struct.pack("<d", -0.1), -0.1),
        ("string", long(200) + "é".encode() * 100, "é" * 100),
        ("bytes", long(3) + b"abc", b"abc"),
        (FIXED, b"abcd", b"abcd"),
        (ARRAY, b"\0", ()),
        (ARRAY, long(1) + b"\x02a\0", ("a",)),
        (ARRAY, long(1) + b"\x02a" + long(2) + b"\x02b\x02c\0", ("a", "b", "c")),
        (ARRAY, long(-2) + long(4) + b"\x02a\x02b\0", ("a", "b")),
        (MAP, b"\0", {}),
        (MAP, long(-1) + long(3) + b"\x02a\x04" + long(1) + b"\x02b\x06\0", {"a": 2, "b": 3}),
    ],
)
def test_every_legal_form_is_read(schema: Schema, data: bytes, value: Json) -> None:
    assert read_whole(reader(schema), data, 0) == value


def test_a_block_of_more_items_than_bytes_is_refused_before_it_is_read() -> None:
    with pytest.raises(DecodeError, match="a block of 1001 items, 1000 bytes are left"):
        read_whole(reader(ARRAY), long(1001) + bytes(1000), 0)


def test_left_over_bytes_are_an_error_of_their_own() -> None:
    with pytest.raises(DecodeError) as caught:
        read_whole(reader("long"), b"\x02\x02", 0)
    assert caught.value.reason == "TRAILING_BYTES"


def record(*fields: tuple[str, Json], name: str = "R") -> dict[str, Json]:
    named = [{"name": field, "type": kind} for field, kind in fields]
    return {"type": "record", "name": name, "fields": named}


def wide(levels: int) -> Schema:
    """A schema whose types, written out, double at each level."""
    schema: Schema = "int"
    for level in range(levels):
        inner = schema if level == 0 else f"L{level - 1}"
        schema = record(("a", schema), ("b", inner), name=f"L{level}")
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "array", "items": "null"}, id="array-of-nothing"),
        pytest.param({"type": "map", "values": record(name="Empty")}, id="map-of-empty-records"),
        pytest.param(record(("a", "null")), id="field-of-nothing"),
        pytest.param({"type": "fixed", "name": "F", "size": 0}, id="fixed-of-no-bytes"),
        pytest.param(record(("next", ["null", "R"])), id="linked-list"),
        pytest.param(record(("kids", {"type": "array", "items": "R"})), id="tree"),
        pytest.param(wide(20), id="a-million-types-in-twenty-lines"),
    ],
)
def test_a_schema_that_could_take_unbounded_work_is_refused(schema: Schema) -> None:
    with pytest.raises(ValueError, match=r"takes no bytes|contains itself|no place|more than"):
        reader(schema)


def test_a_value_read_again_is_the_same_and_never_a_neighbour() -> None:
    """Readers remember what they read last: what differs in one byte must not be taken for it."""
    schema = parse_schema(record(("who", record(("id", "string"), ("n", "long"), name="Who"))))
    read = compile_reader(schema, {"R": dict, "Who": lambda **fields: tuple(fields.values())})

    def body(who: str, number: int) -> bytes:
        out = io.BytesIO()
        schemaless_writer(out, schema, {"who": {"id": who, "n": number}})
        return out.getvalue()

    for who, number in [("a", 1), ("a", 1), ("a", 64), ("ab", 1), ("", 0), ("a", 1), ("b", 1)]:
        assert read_whole(read, body(who, number), 0) == {"who": (who, number)}


def nested(levels: int) -> Schema:
    schema: Schema = "int"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_nested_arrays_of_two_blocks_are_read_once() -> None:
    levels = 40
    data = (long(1) * levels) + b"\x02" + (long(0) * levels)
    double = long(1) * levels + b"\x02" + (long(1) + b"\x02" + long(0)) + long(0) * (levels - 1)
    started = time.process_time()
    read_whole(reader(nested(levels)), data, 0)
    assert json.dumps(read_whole(reader(nested(levels)), double, 0)).count("1") == 2
    assert time.process_time() - started < 1


def decision_body(evaluations: Json) -> bytes:
    out = io.BytesIO()
    datum = {"event_id": "a", "evaluations": evaluations}
    schemaless_writer(out, RECORD_TYPES[DECISION].plain, datum)
    return out.getvalue()


HOSTILE: dict[str, list[Json]] = {
    "blank evaluations": [{}],
    "alike evaluations": [{"decision": "ALLOW"}],
    "alternating evaluations": [{"decision": "ALLOW"}, {"decision": "DENY"}],
    "busy evaluations": [
        {"id": x, "subject": {"id": x}, "action": {"name": x}, "agents": [{"id": x}] * 2}
        for x in "ab"
    ],
    "many roles": [{"subject": {"roles": ["a"] * 40_000}}],
}


def repeated(name: str, size: int) -> bytes:
    return decision_body(HOSTILE[name] * max(1, size // len(decision_body(HOSTILE[name]))))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_megabyte_takes_bounded_time_and_memory(name: str) -> None:
    started = time.process_time()
    read_whole(RECORD_TYPES[DECISION].read, repeated(name, 1_040_000), 0)
    assert time.process_time() - started < 3
    data = repeated(name, 100_000)
    tracemalloc.start()
    read_whole(RECORD_TYPES[DECISION].read, data, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * len(data)
