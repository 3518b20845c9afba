"""Which schema may replace which, and that the rule sees what Avro libraries let pass."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
from schemas.compatibility import check_released, check_replaces, reading_problems
from schemas.errors import IncompatibleSchemaError

ROOT = Path(__file__).parents[3]


def record(*fields: Schema, name: str = "example.v1.Thing") -> Schema:
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, kind: Schema, **more: Schema) -> Schema:
    return {"name": name, "type": kind, **more}


def enum(*symbols: str, **more: Schema) -> Schema:
    return {"type": "enum", "name": "example.v1.Colour", "symbols": list(symbols), **more}


def parsed(schema: Schema) -> Schema:
    return parse_text(json.dumps(schema))


THING = record(field("id", "string"), field("size", "long", default=0))
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
LIST = {"type": "array", "items": "long"}
MAP = {"type": "map", "values": "long"}
INNER = record(field("x", "int", default=0), name="example.v1.Inner")
INNER_LONG = record(field("x", "long", default=0), name="example.v1.Inner")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(THING, THING, id="the-same"),
        pytest.param(THING, record(field("id", "string")), id="field-with-default-removed"),
        pytest.param(
            THING, record(*THING["fields"], field("note", "string", default="")), id="field-added"
        ),
        pytest.param(THING, record(*THING["fields"][::-1]), id="fields-in-another-order"),
        pytest.param(
            enum("A", "B", default="A"), enum("A", "B", "C", default="A"), id="symbol-added"
        ),
        pytest.param(["null", "string"], ["string", "null"], id="branches-in-another-order"),
        pytest.param(
            record(field("a", INNER), field("b", "example.v1.Inner", default={})),
            record(field("b", INNER, default={}), field("a", "example.v1.Inner")),
            id="definition-in-another-place",
        ),
        pytest.param(
            record(field("next", ["null", "example.v1.Thing"], default=None)),
            record(field("next", ["null", "example.v1.Thing"], default=None)),
            id="recursive",
        ),
    ],
)
def test_may_replace(old: Schema, new: Schema) -> None:
    check_replaces(parsed(new), parsed(old))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        pytest.param(
            THING,
            record(*THING["fields"], name="example.v2.Thing"),
            "example.v1.Thing was renamed example.v2.Thing",
            id="namespace-changed",
        ),
        pytest.param(
            THING, record(*THING["fields"], field("n", "int")), ".n|^n|no default", id="no-default"
        ),
        pytest.param(THING, record(field("size", "long", default=0)), "id: the field has no def"),
        pytest.param(
            THING, record(field("id", "string"), field("size", "double", default=0)), "double"
        ),
        pytest.param(THING, record(field("id", "bytes"), THING["fields"][1]), None),
        pytest.param(record(field("t", MICROS)), record(field("t", MILLIS)), "timestamp-millis"),
        pytest.param(record(field("t", MICROS)), record(field("t", "long")), "logical type"),
        pytest.param(enum("A", "B"), enum("A", "B", "C"), "no default for the symbols C"),
        pytest.param(enum("A", "B", default="A"), enum("A"), "no default for the symbols B"),
        pytest.param(["null", "string"], ["null", "long"], "no branch of the union reads string"),
        pytest.param(["null", "string"], "string", "no branch of the union reads null"),
        pytest.param(LIST, {"type": "array", "items": "string"}, r"\[\]: long cannot be read"),
        pytest.param(MAP, {"type": "map", "values": "string"}, r"\{\}: long cannot be read"),
        pytest.param(LIST, MAP, "array cannot be read as map"),
        pytest.param(
            {"type": "fixed", "name": "a.F", "size": 32},
            {"type": "fixed", "name": "a.F", "size": 16},
            "32 bytes became 16",
        ),
        pytest.param(
            record(field("a", INNER), field("b", "example.v1.Inner")),
            record(field("a", INNER_LONG), field("b", "example.v1.Inner")),
            "a.x: long cannot be read as int",
            id="inside-a-record",
        ),
        pytest.param(
            record(field("a", INNER)),
            record(field("a", record(*INNER["fields"], name="other.Inner"))),
            "was renamed other.Inner",
            id="inner-namespace-changed",
        ),
    ],
)
def test_may_not_replace(old: Schema, new: Schema, sentence: str | None) -> None:
    if sentence is None:  # text and bytes read each other
        check_replaces(parsed(new), parsed(old))
        return
    with pytest.raises(IncompatibleSchemaError, match=sentence):
        check_replaces(parsed(new), parsed(old))


def test_reading_goes_one_way_where_only_one_way_is_asked() -> None:
    assert reading_problems(parsed("int"), parsed("long")) == []
    assert reading_problems(parsed("long"), parsed("int")) == [
        "the schema: long cannot be read as int"
    ]


def test_no_current_schema_breaks_a_released_one() -> None:
    assert check_released() == []
    done = subprocess.run(
        [sys.executable, "-m", "schemas.compatibility"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", schema_names())
def test_version_1_of_every_schema_is_released(name: str) -> None:
    assert 1 in released_texts(name)


def events_and_alerts() -> list[str]:
    return ["anomaly_alert", "authorization_decision", "dead_letter", "memory_mutation"]


@pytest.mark.parametrize("name", events_and_alerts())
def test_every_part_of_a_schema_can_evolve(name: str) -> None:
    """Every field is documented, every enum has a default, every namespace a major version."""

    def walk(part: Schema) -> None:
        for branch in part if isinstance(part, list) else ():
            walk(branch)
        if isinstance(part, dict):
            if part["type"] in {"record", "enum", "fixed"}:
                assert part["doc"], part["name"]
            assert part["type"] != "enum" or part["default"] == part["symbols"][0] == "UNKNOWN"
            for each in part.get("fields", ()):
                assert each["doc"].endswith("."), each["name"]
                walk(each["type"])
            for inside in ("items", "values", "type"):
                if isinstance(part.get(inside), dict | list):
                    walk(part[inside])

    schema = json.loads(current_text(name))
    assert schema["namespace"].startswith("attestream.")
    assert schema["namespace"].endswith(".v1")
    walk(schema)


@pytest.mark.parametrize("name", events_and_alerts())
def test_plain_schemas_have_the_layout_and_fingerprint_of_their_schema(name: str) -> None:
    text = current_text(name)
    assert canonical_form(plain_schema(text)) == canonical_form(parse_text(text))


def test_fingerprints_stand_as_the_specification_has_them_little_endian() -> None:
    # Avro 1.12: the CRC-64-AVRO of "null" is 63dd24e7cc258f8a.
    assert fingerprint(parse_text('"null"')).hex() == "8a8f25cce724dd63"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "null",
        "1",
        '"colour"',
        "[" * 100_000,
        '{"type":"array","items":' * 80 + '"int"' + "}" * 80,
        '{"type":"record","name":"R","fields":1}',
        '{"type":"record","name":"R","fields":[{"name":"x","type":"y"}]}',
        '{"type":"enum","name":"E","symbols":["A","A"]}',
    ],
)
def test_a_text_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an Avro schema|nested"):
        parse_text(text)
