"""`attestream audit prove` and `audit consistency`: evidence that anyone can check.

From the published tiles where they reach, else from the log; standard error says where that is.
"""

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import click

from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.proofs import render_tlog_proof
from streams.cli.failures import exit_on_failure
from streams.cli.opened_logs import open_log
from streams.cli.options import in_directory
from streams.errors import BreakError, SettingsError, SourceUnreadableError, TransientError
from streams.history import read_tail
from streams.proving import Consistency, Inclusion, LoggedProofs, TiledProofs
from streams.segments import tiles_prefix
from streams.settings import load_settings
from streams.static_log import StaticLog
from streams.verifier import BREAK_STATUS, open_anchor

__all__ = ["consistency", "prove"]

AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, nothing else.")
CONSISTENT, FORK, SHORTER = "consistent", "fork", "shorter_than_anchor"


class Compared(NamedTuple):
    """What was found of two sizes. A log shorter than its anchor has no root at the anchor's size.

    `anchored` is the anchor's root, where one was given.
    """

    verdict: str
    sizes: tuple[int, int]
    roots: tuple[bytes | None, bytes]
    proof: tuple[bytes, ...]
    anchored: bytes | None = None


@click.command()
@click.argument("origin")
@click.argument("index", type=click.IntRange(0))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="New file."
)
@AS_JSON
@in_directory
@exit_on_failure
def prove(origin: str, index: int, out: Path, *, as_json: bool) -> None:
    """Write the proof that record INDEX of ORIGIN is in the log: a tlog-proof file.

    It holds the checkpoint it leads to, verbatim, and is checked offline by `attestream verify
    FILE --leaf HASH` with the leaf hash that is printed, or by any C2SP tool. It is made from the
    published tiles; where they do not reach the record yet, from the log, under the first
    checkpoint that covers it.

    Example: attestream audit prove audit.example.com/authz.decisions/0 17 -o 17.tlog-proof
    """
    if out.exists():
        raise SettingsError([f"{out} exists already: a proof never overwrites"])
    made = asyncio.run(_prove(origin, index))
    out.write_text(render_tlog_proof(made.proof), encoding="utf-8", newline="\n")
    leaf, (_, size, root) = made.leaf.hex(), made.text
    if as_json:
        told = {"origin": origin, "index": index, "leaf": leaf, "size": size, "root": root.hex()}
        click.echo(json.dumps(told))
    else:
        click.echo(f"record {index} of {origin}\n  leaf {leaf}")
        click.echo(f"  under the checkpoint of size {size}, written to {out}")


@click.command()
@click.argument("origin")
@click.argument("size1", type=click.IntRange(1), required=False)
@click.argument("size2", type=click.IntRange(1), required=False)
@click.option(
    "--anchor",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint note kept elsewhere, instead of SIZE1.",
)
@AS_JSON
@in_directory
@exit_on_failure
def consistency(
    origin: str, size1: int | None, size2: int | None, *, anchor: Path | None, as_json: bool
) -> None:
    """Prove that the log ORIGIN of SIZE2 records begins with the one of SIZE1.

    SIZE2 is the newest by default. The proof is printed as in C2SP, one hash a line, in base64.
    Against an anchor its root is compared too. From the published tiles, or, beyond them, from
    all of the log. `attestream verify` checks signatures, and every record.

    Exit status: 0 consistent, 24 the log is shorter than the anchor, 25 fork: the log differs.

    Example: attestream audit consistency audit.example.com/authz.decisions/0 --anchor anchor.note
    """
    sizes = [size for size in (size1, size2) if size is not None]
    known = None if anchor is None else _known(anchor, origin)
    if known is not None:
        sizes.insert(0, known.size)
    if not 1 <= len(sizes) <= 2 or sizes != sorted(sizes):
        raise SettingsError(["give SIZE1 and SIZE2, SIZE1 the smaller; or --anchor, and SIZE2"])
    compared = asyncio.run(_compare(origin, sizes, known))
    click.echo(_as_json(origin, compared) if as_json else _as_text(origin, compared))
    sys.exit(0 if compared.verdict == CONSISTENT else BREAK_STATUS[compared.verdict])


@asynccontextmanager
async def _tiled(origin: str) -> AsyncIterator[TiledProofs | None]:
    """The static log of an origin; None where no object store is set."""
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    settings = load_settings(os.environ)
    try:
        prefix = tiles_prefix(origin)
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    if settings.on_kafka and settings.archive is None:
        yield None
        return
    objects = open_objects(settings)
    try:
        yield TiledProofs(StaticLog(objects, prefix), origin)
    finally:
        await objects.close()


async def _prove(origin: str, index: int) -> Inclusion:
    async with _tiled(origin) as tiles:
        try:
            made = await tiles.inclusion(index) if tiles else None
        except (BreakError, TransientError) as error:
            click.echo(f"the tiles cannot be used: {error}", err=True)
            made = None
    if made is not None:
        return made
    click.echo(f"no published tiles reach record {index}: it is proved from the log", err=True)
    async with open_log(origin) as (_, log):
        return await LoggedProofs(log.reader, origin).inclusion(index)


async def _compare(origin: str, sizes: list[int], anchor: CheckpointText | None) -> Compared:
    found = await _tiled_consistency(origin, sizes)
    if found is not None:
        return _judged(found, anchor)
    click.echo("no published tiles reach that far: the log is read", err=True)
    async with open_log(origin) as (_, log):
        tail = await read_tail(log.reader, await log.reader.bounds(), origin, None)
        size, root = (0, EMPTY_ROOT) if tail is None else (tail.signed.size, tail.signed.root())
        if anchor is not None and anchor.size > size:
            return Compared(SHORTER, (anchor.size, size), (None, root), (), anchor.root)
        new = sizes[1] if len(sizes) == 2 else size
        if max(sizes) > size:
            raise SourceUnreadableError(f"{origin} has {size} sealed records, not {max(sizes)}")
        return _judged(await LoggedProofs(log.reader, origin).consistency(sizes[0], new), anchor)


def _judged(found: Consistency, anchor: CheckpointText | None) -> Compared:
    if anchor is None:
        return Compared(CONSISTENT, *found)
    verdict = CONSISTENT if found.roots[0] == anchor.root else FORK
    return Compared(verdict, *found, anchor.root)


async def _tiled_consistency(origin: str, sizes: list[int]) -> Consistency | None:
    async with _tiled(origin) as tiles:
        if tiles is None:
            return None
        try:
            published = await tiles.size()
            new = sizes[1] if len(sizes) == 2 else published
            if new is None or new < sizes[0]:
                return None
            return await tiles.consistency(sizes[0], new)
        except (BreakError, TransientError) as error:
            click.echo(f"the tiles cannot be used: {error}", err=True)
            return None


def _known(path: Path, origin: str) -> CheckpointText:
    anchor = open_anchor(path.read_bytes(), None, str(path))
    if anchor.origin != origin:
        raise SettingsError([f"{path} is a checkpoint of {anchor.origin}"])
    if anchor.size == 0:
        raise SettingsError([f"{path} is of size 0: every log begins with it"])
    return anchor


def _as_json(origin: str, compared: Compared) -> str:
    roots = [None if root is None else root.hex() for root in compared.roots]
    return json.dumps(
        {
            "origin": origin,
            "verdict": compared.verdict,
            "sizes": compared.sizes,
            "roots": roots,
            "anchor": None if compared.anchored is None else compared.anchored.hex(),
            "proof": [b64encode(node).decode() for node in compared.proof],
        }
    )


def _as_text(origin: str, compared: Compared) -> str:
    (old, new), anchored = compared.sizes, compared.anchored
    lines = [origin]
    for size, root in zip(compared.sizes, compared.roots, strict=True):
        lines.append(f"  size {size}, root {'none' if root is None else root.hex()}")
    if anchored is not None:
        lines.append(f"  the anchor of size {old} has the root {anchored.hex()}")
    lines += [b64encode(node).decode() for node in compared.proof]
    verdicts = {
        CONSISTENT: f"consistent: the log of {new} records begins with the one of {old}",
        FORK: f"FORK: the log of {old} records is not the one that was anchored",
        SHORTER: f"SHORTER: the log has {new} records, and an anchor has {old}",
    }
    return "\n".join([*lines, verdicts[compared.verdict]])
