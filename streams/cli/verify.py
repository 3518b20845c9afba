"""`attestream verify`: check logs offline, wherever they are."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, Unpack

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from streams.audit.note import TrustedKeys
from streams.cli.failures import exit_on_failure
from streams.cli.histories import Inquiry, verify_histories
from streams.errors import SettingsError
from streams.verifier import LEVELS, OnRows, Trust, open_anchor

__all__ = ["verify"]

LEAF_BYTES = 32
ROWS_A_LINE = 1_000_000


class _Options(TypedDict):
    keys_file: Path | None
    anchor_files: tuple[Path, ...]
    leaf: str | None
    level: str
    as_json: bool


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path),
    help="Trusted vkeys, one a line. Without it no signature is checked.",
)
@click.option(
    "--anchor",
    "anchor_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A checkpoint note kept outside the source. May be repeated.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="record",
    show_default=True,
    help="How deep an archive is read: names and locks, file digests, every record.",
)
@click.option("--leaf", help="For a tlog-proof: the leaf hash of the record it is to prove, hex.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@exit_on_failure
def verify(sources: tuple[str, ...], **options: Unpack[_Options]) -> None:
    """Verify the logs at each SOURCE: every record, every checkpoint, offline.

    SOURCE is kafka://host:port/topic, s3://bucket/prefix, the directory of an embedded engine, of
    an archive or of a static log (tiles/v1/ORIGIN), a file written by `audit export`, or a
    tlog-proof. Segment files of one log are joined.

    Exit status: 0 intact, 3 unreadable; of the first break: 20 altered, 21 missing, doubled or
    out of order, 22 bad signature, 23 unknown key, 24 shorter than its anchor, 25 fork, 26
    unsealed tail, 27 lock, 28 archive object.

    Example: attestream verify decisions-0.avro --keys keys.txt --anchor anchor.note
    """
    keys = _keys(options["keys_file"])
    anchors = tuple(open_anchor(_read(path), keys, str(path)) for path in options["anchor_files"])
    with _progress() as on_rows:
        inquiry = Inquiry(
            trust=Trust(keys=keys, anchors=anchors),
            level=options["level"],
            leaf=_leaf(options["leaf"]),
            environ=os.environ,
            on_rows=on_rows,
        )
        verdict = verify_histories(sources, inquiry)
    if options["as_json"]:
        click.echo(json.dumps(verdict.to_json()))
        for sentence in verdict.unreadable:
            click.echo(sentence, err=True)
    else:
        click.echo(verdict.to_text())
    sys.exit(verdict.status)


def _keys(path: Path | None) -> TrustedKeys | None:
    if path is None:
        return None
    try:
        return TrustedKeys.parse(_read(path).decode())
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: no file of vkeys: {error}"]) from error
    except SettingsError as error:
        raise SettingsError([f"{path}: {problem}" for problem in error.problems]) from error


def _leaf(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        leaf = bytes.fromhex(text)
    except ValueError:
        leaf = b""
    if len(leaf) != LEAF_BYTES:
        raise SettingsError([f"--leaf: expected 64 hex digits, got {text!r}"])
    return leaf


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error


@contextmanager
def _progress() -> Iterator[OnRows]:
    """A bar on a terminal, a line now and then elsewhere; on stderr either way."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} rows verified"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("verify", total=None)
        yield lambda rows: progress.advance(task, rows)


class _Lines:
    def __init__(self) -> None:
        self._rows = 0

    def __call__(self, rows: int) -> None:
        before, self._rows = self._rows, self._rows + rows
        if before // ROWS_A_LINE != self._rows // ROWS_A_LINE:
            click.echo(f"{self._rows:,} rows verified", err=True)
