"""Every schema is a promise: each .avsc has a golden vector and a place in the reference."""

import json
from pathlib import Path
from typing import Any

from tests.tidy.repository import Repository, expect_none

FORMATS = "docs/reference/formats.md"


def schemas(repository: Repository) -> dict[str, dict[str, Any]]:
    """File → schema. A file may hold a union: then its branches are found in other files."""
    found = {}
    for name, text in repository.texts(".avsc"):
        if name.startswith("schemas/avro/"):
            found[name] = json.loads(text)
    return found


def fullname(schema: dict[str, Any] | list[Any]) -> str:
    """The full name of a record, or of the last branch of a union that makes one file."""
    last = schema[-1] if isinstance(schema, list) else schema
    return f"{last['namespace']}.{last['name']}"


def without_vector(repository: Repository) -> list[str]:
    golden = "".join(t for n, t in repository.texts(".json") if n.startswith("tests/golden/"))
    return [
        f"{name}: {fullname(schema)} has no vector in tests/golden"
        for name, schema in schemas(repository).items()
        if fullname(schema) not in golden
    ]


def undocumented(repository: Repository) -> list[str]:
    page = repository.text(FORMATS)
    return [
        f"{name}: {FORMATS} does not say what {fullname(schema)} is for"
        for name, schema in schemas(repository).items()
        if f"`{fullname(schema)}`" not in page
    ]


def test_every_schema_has_a_golden_vector(repository: Repository) -> None:
    expect_none(without_vector(repository))


def test_every_schema_is_in_the_reference(repository: Repository) -> None:
    expect_none(undocumented(repository))


def test_a_schema_without_vector_or_section_is_seen(tmp_path: Path) -> None:
    schema = {
        "type": "record",
        "namespace": "n",
        "name": "Thing",
        "fields": [{"name": "colour", "type": "string"}],
    }
    files = {"schemas/avro/thing.avsc": json.dumps(schema), FORMATS: "# Formats\n"}
    planted = Repository.planted(tmp_path, files)
    assert len(without_vector(planted)) == 1
    assert len(undocumented(planted)) == 1
    files |= {"tests/golden/thing.json": '{"schema": "n.Thing"}', FORMATS: "`n.Thing`\n"}
    planted = Repository.planted(tmp_path, files)
    assert without_vector(planted) == undocumented(planted) == []
