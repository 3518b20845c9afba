"""The Avro schemas of this project: their texts, parsed forms and fingerprints.

`schemas/avro/<name>.avsc` is what is written today, `schemas/released/<name>/<version>.avsc` every
text that ever was, append-only: events written by any release stay readable without a registry.
Logical types are taken off before use, so that a time is its integer and never overflows a
`datetime`; that changes neither layout nor fingerprint.
"""

import json
from importlib.resources import files
from typing import Any

from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import parse_schema, to_parsing_canonical_form

__all__ = [
    "Schema",
    "canonical_form",
    "current_text",
    "fingerprint",
    "parse_text",
    "plain_schema",
    "released_texts",
    "schema_names",
]

Schema = Any
"""A schema as JSON has it: a string, a list (union) or an object."""

SCHEMA_DEPTH_MAX = 64
"""Levels of JSON in a schema text; ours have 12."""


def schema_names() -> tuple[str, ...]:
    """Names of the current schemas: file names without `.avsc`, sorted."""
    entries = (files("schemas") / "avro").iterdir()
    return tuple(
        sorted(entry.name.removesuffix(".avsc") for entry in entries if entry.name[-5:] == ".avsc")
    )


def current_text(name: str) -> str:
    """The schema text of `schemas/avro/<name>.avsc`."""
    return (files("schemas") / "avro" / f"{name}.avsc").read_text(encoding="utf-8")


def released_texts(name: str) -> dict[int, str]:
    """Every released text of a schema by its version, in order; empty where there is none."""
    directory = files("schemas") / "released" / name
    if not directory.is_dir():
        return {}
    entries = {int(entry.name.removesuffix(".avsc")): entry for entry in directory.iterdir()}
    return {version: entries[version].read_text(encoding="utf-8") for version in sorted(entries)}


def parse_text(text: str) -> Schema:
    """A schema text as parsed by fastavro: full names everywhere, logical types kept.

    Raises ValueError for anything that is no Avro schema.
    """
    try:
        schema = json.loads(text)
        _check_depth(schema, SCHEMA_DEPTH_MAX)
        return parse_schema(schema, _write_hint=False)
    except RecursionError:
        raise ValueError("the schema is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - fastavro raises KeyError, TypeError and its own
        raise ValueError(f"not an Avro schema: {type(error).__name__}: {error}") from None


def canonical_form(schema: Schema) -> str:
    """The Parsing Canonical Form (Avro 1.12): equal forms have equal layout and names."""
    return str(to_parsing_canonical_form(schema))


def fingerprint(schema: Schema) -> bytes:
    """The 8 bytes of CRC-64-AVRO as they stand in a single-object frame."""
    return bytes.fromhex(avro_fingerprint(canonical_form(schema), "CRC-64-AVRO"))


def plain_schema(text: str) -> Schema:
    """A schema text parsed for reading and writing, with integers for its times.

    Raises ValueError as `parse_text` does.
    """
    parse_text(text)
    return parse_schema(_without_logical_types(json.loads(text)))


def _check_depth(value: object, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"nested more than {SCHEMA_DEPTH_MAX} levels deep")
    children: object = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:  # type: ignore[attr-defined]
        _check_depth(child, depth - 1)


def _without_logical_types(schema: Schema) -> Schema:
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if isinstance(schema, dict):
        return {
            key: value if key == "default" else _without_logical_types(value)
            for key, value in schema.items()
            if key not in {"logicalType", "doc"}
        }
    return schema
