"""`attestream audit`: read a log record by record, on either engine."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from schemas.audit_values import decode_audit_value, decode_content
from schemas.records import AuditRecord, Checkpoint, Plain, Record
from streams.audit.checkpoint import open_note
from streams.audit.note import TrustedKeys
from streams.cli.failures import exit_on_failure
from streams.cli.forking import fork
from streams.cli.opened_logs import Log, engine_as_set, logs_of, open_log
from streams.cli.operations import accept_gap
from streams.cli.options import in_directory
from streams.cli.proofs import consistency, prove
from streams.engine import Engine
from streams.errors import BreakError, SettingsError, SourceUnreadableError
from streams.heads import newest_checkpoint
from streams.history import find_record, last_records, pages, read_tail
from streams.ports import Bounds
from streams.segments import encode_block, encode_head
from streams.settings import Settings, load_settings

__all__ = ["audit"]

AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, nothing else.")
FOLLOW_WAIT_MS = 1000
EXPORT_ROWS = 500


@click.group()
def audit() -> None:
    """Read audit logs: their heads, checkpoints and records; prove what is in them."""


@audit.command()
@AS_JSON
@in_directory
@exit_on_failure
def heads(*, as_json: bool) -> None:
    """The newest checkpoint of every log, its tail, and how far it is anchored.

    Example: attestream audit heads --json
    """
    for head in asyncio.run(_heads()):
        if as_json:
            click.echo(json.dumps(head))
        else:
            anchored = "nowhere" if head["anchored"] is None else head["anchored"]
            if (second := head.get("anchored_second", "")) != "":
                anchored = f"{anchored}, second place {'nowhere' if second is None else second}"
            if "broken" in head:
                click.echo(f"{head['origin']}\n  BREAK {head['broken']}\n  anchored {anchored}")
                continue
            click.echo(f"{head['origin']}\n  size {head['size']}  root {head['root']}")
            click.echo(f"  tail {head['tail']}  anchored {anchored}")


@audit.command()
@click.argument("origin")
@in_directory
@exit_on_failure
def checkpoint(origin: str) -> None:
    """Print the newest checkpoint of ORIGIN: the signed note, verbatim.

    Example: attestream audit checkpoint audit.example.com/authz.decisions/0 > anchor.note
    """
    click.echo(asyncio.run(_checkpoint(origin)), nl=False)


@audit.command()
@click.argument("origin")
@click.option("-n", "--count", default=10, show_default=True, help="Records to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on as records are appended.")
@AS_JSON
@in_directory
@exit_on_failure
def tail(origin: str, count: int, *, follow: bool, as_json: bool) -> None:
    """Print the last records of ORIGIN, checkpoints among them.

    Example: attestream audit tail audit.example.com/authz.decisions/0 -f
    """
    asyncio.run(_tail(origin, count, follow=follow, as_json=as_json))


@audit.command()
@click.argument("origin")
@click.argument("index", type=click.IntRange(0))
@AS_JSON
@in_directory
@exit_on_failure
def show(origin: str, index: int, *, as_json: bool) -> None:
    """Print one record of ORIGIN by its leaf index.

    Example: attestream audit show audit.example.com/authz.decisions/0 17
    """
    shown = asyncio.run(_show(origin, index))
    click.echo(json.dumps(shown) if as_json else _lines(shown))


@audit.command()
@click.argument("origin")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="New file."
)
@in_directory
@exit_on_failure
def export(origin: str, out: Path) -> None:
    """Write the sealed part of ORIGIN to a file that `attestream verify` reads offline.

    Example: attestream audit export audit.example.com/authz.decisions/0 -o decisions-0.avro
    """
    if out.exists():
        raise SettingsError([f"{out} exists already: an export never overwrites"])
    size = asyncio.run(_export(origin, out))
    click.echo(f"{size} records of {origin} written to {out}")


audit.add_command(prove)
audit.add_command(consistency)
audit.add_command(accept_gap, "accept-gap")
audit.add_command(fork)


async def _heads() -> list[dict[str, Any]]:
    from streams.app import newest_anchors  # noqa: PLC0415  # loads a client library

    settings = load_settings(os.environ)
    found = []
    async with engine_as_set() as engine:
        keys = await _keys_at_hand(settings, engine)
        async for log in logs_of(engine):
            anchored = await newest_anchors(settings, log.origin, keys)
            try:
                end = await read_tail(log.reader, await log.reader.bounds(), log.origin, None)
            except BreakError as error:
                # One log that fails is told, and hides no other.
                found.append({"origin": log.origin, "broken": str(error), **anchored})
                continue
            if end is None:
                continue
            found.append(
                {
                    "origin": log.origin,
                    "size": end.signed.size,
                    "root": end.signed.root().hex(),
                    "tail": end.committed.size - end.signed.size,
                    **anchored,
                }
            )
    return found


async def _keys_at_hand(settings: Settings, engine: Engine) -> TrustedKeys | None:
    """The deployment's own keys; an auditor's machine has none, and checks with `verify`."""
    from streams.app import deployment_keys  # noqa: PLC0415  # loads a client library

    try:
        return await deployment_keys(settings, engine)
    except SettingsError:
        return None


async def _checkpoint(origin: str) -> str:
    async with open_log(origin) as (_, log):
        newest = await newest_checkpoint(log.reader)
        if newest is None:
            raise SourceUnreadableError(f"{origin} has no checkpoint yet")
        return newest.note


async def _tail(origin: str, count: int, *, follow: bool, as_json: bool) -> None:
    async with open_log(origin) as (_, log):
        rows = await last_records(log.reader, count)
        offset = (await log.reader.bounds()).end
        while True:
            for row in rows:
                shown = _shown(row, origin)
                click.echo(json.dumps(shown) if as_json else _line(shown))
            if not follow:
                return
            fetched = await log.reader.fetch(offset, max_records=500, max_wait_ms=FOLLOW_WAIT_MS)
            rows, offset = fetched.records, fetched.next_offset


async def _show(origin: str, index: int) -> dict[str, Any]:
    async with open_log(origin) as (_, log):
        found = await find_record(log.reader, index)
        if found is None:
            raise SourceUnreadableError(f"{origin} has no record {index}")
        return _shown(found[0], origin)


async def _export(origin: str, out: Path) -> int:
    async with open_log(origin) as (_, log):
        bounds = await log.reader.bounds()
        end = await read_tail(log.reader, bounds, origin, None)
        if end is None:
            raise SourceUnreadableError(f"{origin} holds no record yet")
        # A crash leaves an unfinished file of another name; nothing that looks like an export.
        unfinished = out.with_name(f"{out.name}.unfinished")
        with unfinished.open("wb") as file:
            file.write(encode_head(origin, 0, None))
            async for rows in _sealed_rows(log, bounds, end.signed.size):
                file.write(encode_block(origin, 0, rows))
        unfinished.rename(out)
        return end.signed.size


async def _sealed_rows(log: Log, bounds: Bounds, size: int) -> AsyncIterator[list[Record]]:
    """Everything up to the checkpoint of `size`, without the records it does not cover."""
    async for page in pages(log.reader, bounds.start, bounds.end, most=EXPORT_ROWS):
        rows = []
        for row in page:
            value = decode_audit_value(row.value or b"")
            if isinstance(value, AuditRecord) and value.index >= size:
                continue
            rows.append(row)
            if size and isinstance(value, Checkpoint) and _size_of(value, log.origin) == size:
                yield rows
                return
        if rows:
            yield rows


def _size_of(checkpoint: Checkpoint, origin: str) -> int:
    return open_note(checkpoint.note, origin, None).size


def _shown(row: Record, origin: str) -> dict[str, Any]:
    value = decode_audit_value(row.value or b"")
    if isinstance(value, Checkpoint):
        text = open_note(value.note, origin, None)
        return {"checkpoint": text.size, "root": text.root.hex(), "offset": row.offset}
    content = decode_content(value.content)
    shown: dict[str, Any] = {
        "index": value.index,
        "leaf": value.leaf.hex(),
        "source": value.source._asdict(),
        "offset": row.offset,
    }
    if isinstance(content, Plain):
        shown["key"] = _text(content.key)
        shown["value"] = _event(content, value)
        shown["headers"] = [[_text(name), _text(data)] for name, data in content.headers]
    else:
        shown["content"] = type(content).__name__
    return shown


def _event(content: Plain, record: AuditRecord) -> Any:  # noqa: ANN401  # any JSON
    from schemas.readable import record_as_json  # noqa: PLC0415  # compiles the event schemas

    source = record.source
    row = Record(source.offset, source.timestamp, content.key, content.value, content.headers)
    return record_as_json(row)


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(data).decode()


def _line(shown: dict[str, Any]) -> str:
    if "checkpoint" in shown:
        return f"── checkpoint {shown['checkpoint']}  root {shown['root'][:16]}…"
    source = shown["source"]
    where = f"{source['topic']}/{source['partition']}@{source['offset']}"
    return f"{shown['index']:>9}  {where}  leaf {shown['leaf'][:16]}…  {shown.get('key') or ''}"


def _lines(shown: dict[str, Any]) -> str:
    return "\n".join(
        f"{name:>8}  {json.dumps(value) if isinstance(value, dict | list) else value}"
        for name, value in shown.items()
    )
