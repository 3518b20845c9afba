"""May this writer schema replace that one? FULL_TRANSITIVE, names included.

Audit logs are read again years later and by consumers of any age, so every schema must read what
every other version of it wrote, in both directions. Beyond the resolution rules of Avro 1.12 the
full names of records, enums and fixed types must stay, and so must logical types: fastavro reads
across a renamed namespace, and microseconds as milliseconds, without complaint.

`python -m schemas.compatibility` compares each `schemas/avro/*.avsc` with every text under
`schemas/released/<name>/`, which is append-only, and exits 1 where one may not replace another.
"""

import sys

from schemas.catalogue import Schema, current_text, parse_text, released_texts, schema_names
from schemas.errors import IncompatibleSchemaError

__all__ = ["check_released", "check_replaces", "reading_problems"]

# What a writer's primitive may be read as (Avro 1.12, "Schema Resolution").
_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def check_replaces(new: Schema, old: Schema) -> None:
    """Raise IncompatibleSchemaError unless each of two parsed schemas reads the other's values."""
    problems = [f"old values: {each}" for each in _Comparison(old, new, strict=True).problems]
    problems += [f"old readers: {each}" for each in _Comparison(new, old, strict=True).problems]
    if problems:
        raise IncompatibleSchemaError("; ".join(problems))


def reading_problems(writer: Schema, reader: Schema) -> list[str]:
    """Why values of parsed schema `writer` could not be read as `reader`; empty if they can.

    A writer may lack a logical type that the reader has: schemas in canonical form do.
    """
    return _Comparison(writer, reader, strict=False).problems


def check_released() -> list[str]:
    """Every reason why a current schema may not replace a released one, as printable lines."""
    problems = []
    for name in schema_names():
        released = released_texts(name)
        for version, text in released.items():
            try:
                check_replaces(parse_text(current_text(name)), parse_text(text))
            except (IncompatibleSchemaError, ValueError) as error:
                problems.append(f"{name}.avsc may not replace version {version}: {error}")
        if not released:
            problems.append(f"{name}.avsc: no version under schemas/released/{name}/")
    return problems


class _Comparison:
    """Walks two schemas side by side and collects what does not fit."""

    def __init__(self, writer: Schema, reader: Schema, *, strict: bool) -> None:
        self._strict = strict
        self.problems: list[str] = []
        self._writer_types = _definitions(writer)
        self._reader_types = _definitions(reader)
        self._compared: set[tuple[str, str]] = set()
        self._compare(writer, reader, "")

    def _compare(self, writer: Schema, reader: Schema, path: str) -> None:
        writer = _resolved(writer, self._writer_types)
        reader = _resolved(reader, self._reader_types)
        if isinstance(writer, list) or isinstance(reader, list):
            self._compare_unions(_branches(writer), _branches(reader), path)
            return
        kind, reader_kind = _kind(writer), _kind(reader)
        logical, reader_logical = _logical(writer), _logical(reader)
        if logical != reader_logical and (self._strict or logical):
            self._report(path, f"logical type {logical} became {reader_logical}")
        elif kind != reader_kind:
            if reader_kind not in _PROMOTIONS.get(kind, set()):
                self._report(path, f"{kind} cannot be read as {reader_kind}")
        elif kind == "array":
            self._compare(writer["items"], reader["items"], f"{path}[]")
        elif kind == "map":
            self._compare(writer["values"], reader["values"], f"{path}{{}}")
        elif kind in {"record", "enum", "fixed"}:
            self._compare_named(writer, reader, path)

    def _compare_named(self, writer: Schema, reader: Schema, path: str) -> None:
        names = (writer["name"], reader["name"])
        if names[0] != names[1]:
            self._report(path, f"{names[0]} was renamed {names[1]}")
        elif names not in self._compared:
            self._compared.add(names)
            {"record": self._records, "enum": self._enums, "fixed": self._fixed}[_kind(writer)](
                writer, reader, path
            )

    def _records(self, writer: Schema, reader: Schema, path: str) -> None:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}"
            if field["name"] in written:
                self._compare(written[field["name"]]["type"], field["type"], where)
            elif "default" not in field:
                self._report(where, "the field has no default and is not written")

    def _enums(self, writer: Schema, reader: Schema, path: str) -> None:
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        if unknown and "default" not in reader:
            self._report(path, f"no default for the symbols {', '.join(unknown)}")

    def _fixed(self, writer: Schema, reader: Schema, path: str) -> None:
        if writer["size"] != reader["size"]:
            self._report(path, f"{writer['size']} bytes became {reader['size']}")

    def _compare_unions(self, writers: list[Schema], readers: list[Schema], path: str) -> None:
        for branch in writers:
            written = _resolved(branch, self._writer_types)
            targets = [_resolved(target, self._reader_types) for target in readers]
            same = [target for target in targets if _same_type(written, target)]
            promoted = [t for t in targets if _kind(t) in _PROMOTIONS.get(_kind(written), set())]
            if same or promoted:
                self._compare(written, (same or promoted)[0], path)
            else:
                self._report(path, f"no branch of the union reads {_label(written)}")

    def _report(self, path: str, problem: str) -> None:
        self.problems.append(f"{path.lstrip('.') or 'the schema'}: {problem}")


def _definitions(schema: Schema) -> dict[str, Schema]:
    """Every named type defined anywhere in a schema, by full name."""
    found: dict[str, Schema] = {}
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += [part[key] for key in ("type", "items", "values") if key in part]
            waiting += [field["type"] for field in part.get("fields", ())]
            if "name" in part:
                found[part["name"]] = part
    return found


def _resolved(schema: Schema, types: dict[str, Schema]) -> Schema:
    """The definition behind a name."""
    while isinstance(schema, dict) and isinstance(schema["type"], dict | list):
        schema = schema["type"]
    return types.get(schema, schema) if isinstance(schema, str) else schema


def _branches(schema: Schema) -> list[Schema]:
    return schema if isinstance(schema, list) else [schema]


def _kind(schema: Schema) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _logical(schema: Schema) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def _label(schema: Schema) -> str:
    return str(schema.get("name", _kind(schema))) if isinstance(schema, dict) else str(schema)


def _same_type(one: Schema, other: Schema) -> bool:
    return _label(one) == _label(other)


if __name__ == "__main__":
    found = check_released()
    sys.stdout.write("".join(f"{line}\n" for line in found))
    raise SystemExit(1 if found else 0)
