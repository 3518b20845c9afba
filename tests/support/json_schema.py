"""As much of JSON Schema 2020-12 as a finding's schema uses; other keywords are refused."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["violations"]

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
KNOWN = {
    *("$schema", "$comment", "$defs", "$ref", "type", "const", "enum", "anyOf"),
    *("required", "properties", "additionalProperties", "items", "minItems"),
}


def violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Where a value breaks a schema, and how; empty where it is valid."""
    return list(_violations(value, schema, schema, "$"))


def _violations(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if "$ref" in schema:
        yield from _violations(value, root["$defs"][schema["$ref"].split("/")[-1]], root, at)
    kind = schema.get("type")
    if kind and not _is(value, kind):
        yield f"{at}: expected {kind}, got {value!r}"
        return
    allowed = [schema["const"]] if "const" in schema else schema.get("enum", [value])
    if value not in allowed:
        yield f"{at}: {value!r} is not one of {allowed}"
    if isinstance(value, dict):
        yield from _of_object(value, schema, root, at)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{at}: is too short"
        for number, item in enumerate(value):
            yield from _violations(item, schema.get("items", {}), root, f"{at}[{number}]")


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == "boolean")


def _of_object(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    properties = schema.get("properties", {})
    yield from (
        f"{at}.{name}: is missing" for name in schema.get("required", ()) if name not in value
    )
    if schema.get("additionalProperties", True) is False:
        yield from (f"{at}.{name}: is unknown" for name in value if name not in properties)
    choices = schema.get("anyOf")
    if choices and not any(not list(_violations(value, one, root, at)) for one in choices):
        yield f"{at}: none of the alternatives holds"
    for name in properties.keys() & value.keys():
        yield from _violations(value[name], properties[name], root, f"{at}.{name}")
