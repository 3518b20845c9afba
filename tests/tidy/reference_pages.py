"""Reference pages rendered from what they describe (`make docs`): commands and schemas."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import click

from tests.tidy.repository import ROOT

CLI_PAGE = ROOT / "docs/reference/cli.md"
SCHEMAS_PAGE = ROOT / "docs/reference/schemas.md"
CLI_HEAD = """# Command line

One command, `attestream`. With `KAFKA_BOOTSTRAP_SERVERS` set it speaks to the Kafka deployment;
without, to the embedded engine in `ATTESTREAM_HOME` (`--dir` overrides). What a command prints
for people goes to standard output, log lines to standard error; with `--json` standard output
holds JSON only. `--help` of each has an example. This page is rendered by `make docs`.

## Exit status

| status | means |
|---|---|
| 0 | done; `verify`: intact |
| 1 | unexpected failure |
| 2 | usage or settings: every problem is listed |
| 3 | what was to be read cannot be read at all |
| 20 | a record was altered |
| 21 | a record is missing, doubled or out of order |
| 22 | bad signature |
| 23 | unknown or retired key |
| 24 | the log is shorter than its anchor |
| 25 | fork: two histories |
| 26 | the tail is over its bounds, or a segment file does not end sealed |
| 27 | a retention lock is missing or short |
| 28 | a segment or manifest is altered, missing or shadowed |

Of several breaks the first of the first log, in origin order, decides the status.
"""


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full path, groups before what they hold."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(child, f"{path} {name}")


def section(path: str, command: click.Command) -> str:
    """One command as Markdown: usage, what it does, its options."""
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    about = inspect.cleandoc(command.help or "").replace("\b\n", "")
    words, found, example = about.partition("Example:")
    if found:
        about = f"{words.strip()}\n\n```sh\n{inspect.cleandoc(example).strip()}\n```"
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record and "--help" not in parameter.opts:
            rows.append(f"| `{record[0].replace('|', chr(92) + '|')}` | {record[1]} |")
    table = "\n".join(["| option | does |", "|---|---|", *rows]) if rows else ""
    parts = [f"## {path}", f"`{path} {usage}`", about, table]
    return "\n\n".join(part for part in parts if part)


def render_commands(main: click.Command) -> str:
    """The page of the command line."""
    sections = [
        section(path, command)
        for path, command in commands(main, "attestream")
        if not isinstance(command, click.Group)
    ]
    return CLI_HEAD + "\n" + "\n\n".join(sections) + "\n"


SCHEMAS_HEAD = """# Schemas

The Avro records of this project, field by field, in the order of `schemas/avro/`; the bytes around
them are in [formats.md](formats.md). A field with a default may be left out by an older writer.
Every released text is kept in `schemas/released/`, and `make schemas` holds today's against all of
them, in both directions (FULL_TRANSITIVE). This page is rendered by `make docs`.
"""


def type_name(schema: Any) -> str:
    """A type in one line; a named type by its name."""
    match schema:
        case list():
            return " or ".join(map(type_name, schema))
        case {"type": "array" | "map" as kind, **rest}:
            return f"{kind} of {type_name(rest.get('items', rest.get('values')))}"
        case {"logicalType": logical, "type": inner}:
            return f"{inner} ({logical})"
        case {"name": name, **rest}:
            return f"{name}, {rest['size']} bytes" if "size" in rest else str(name)
        case _:
            return str(schema)


def named_types(schema: Any) -> Iterator[dict[str, Any]]:
    """Records and enums, outer before inner, in the order they are defined."""
    match schema:
        case list():
            for branch in schema:
                yield from named_types(branch)
        case {"type": "record", "fields": fields}:
            yield schema
            for field in fields:
                yield from named_types(field["type"])
        case {"type": "enum"}:
            yield schema
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            yield from named_types(inner)
        case _:
            pass


def type_table(schema: dict[str, Any]) -> str:
    """One record or enum as Markdown."""
    about = f"{schema['doc']}\n\n" if schema.get("doc") else ""
    if schema["type"] == "enum":
        return about + "Symbols: " + ", ".join(f"`{symbol}`" for symbol in schema["symbols"])
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in schema["fields"]:
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        default = "its own defaults" if len(default) > 20 else default
        cells = (f"`{field['name']}`", type_name(field["type"]), default, field.get("doc", ""))
        rows.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return about + "\n".join(rows)


def render_schemas(texts: dict[str, str]) -> str:
    """The page of the schemas; `texts` by file name."""
    parts = [SCHEMAS_HEAD.rstrip()]
    for name, text in sorted(texts.items()):
        schema = json.loads(text)
        first = schema[0] if isinstance(schema, list) else schema
        title = "Content" if isinstance(schema, list) else first["name"]
        parts.append(f"## {title}\n\n`{name}`, namespace `{first['namespace']}`.")
        for i, inner in enumerate(named_types(schema)):
            head = (
                "" if i == 0 and title == inner["name"] else f"### {inner['name']} of {title}\n\n"
            )
            parts.append(head + type_table(inner))
    return "\n\n".join(parts) + "\n"


def schema_texts() -> dict[str, str]:
    """Every schema in force, by its path."""
    folder = ROOT / "schemas/avro"
    return {f"schemas/avro/{p.name}": p.read_text(encoding="utf-8") for p in folder.glob("*.avsc")}


if __name__ == "__main__":
    from projections.cli.main import main

    for page, text in (
        (CLI_PAGE, render_commands(main)),
        (SCHEMAS_PAGE, render_schemas(schema_texts())),
    ):
        page.write_text(text, encoding="utf-8")
        click.echo(f"{page.relative_to(ROOT)} written")
