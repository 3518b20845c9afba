"""`attestream verify`: check logs offline, wherever they are."""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TypedDict, Unpack

import click

from streams.audit.note import TrustedKeys
from streams.cli.anchor_places import anchors_at
from streams.cli.archive_source import ArchiveOptions, prepared
from streams.cli.failures import exit_on_failure
from streams.cli.histories import Inquiry, verify_histories
from streams.cli.progress import shown_progress
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.garbage import collect_rarely
from streams.verifier import LEVELS, SeenNotes, Trust, Verdict, anchor_keys, cores

__all__ = ["verify"]

LEAF_BYTES = 32


class _Options(TypedDict):
    keys_file: Path | None
    anchor_addresses: tuple[str, ...]
    state_file: Path | None
    with_source: bool
    leaf: str | None
    level: str
    replica: str | None
    locked_for: int | None
    resume_file: Path | None
    whole: bool
    percent: float | None
    seed: str | None
    jobs: int | None
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
    "anchor_addresses",
    metavar="ADDRESS",
    multiple=True,
    help="A checkpoint note kept elsewhere, or a directory or bucket of them. May be repeated.",
)
@click.option(
    "--state",
    "state_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Remember what was seen, and demand that no log ever contradicts it. Needs --keys.",
)
@click.option(
    "--source",
    "with_source",
    is_flag=True,
    help="Compare each log with its source topic, in the same cluster or directory.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="record",
    show_default=True,
    help="How deep an archive is read: names and locks, file digests, every record.",
)
@click.option(
    "--replica", metavar="ADDRESS", help="A bucket or directory that must hold the same archive."
)
@click.option(
    "--locked-for",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Demand that every lock of an archive holds so many days more.",
)
@click.option(
    "--resume",
    "resume_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Remember what of an archive was verified, and go on there. Needs --keys.",
)
@click.option("--whole", is_flag=True, help="Read everything again, whatever --resume remembers.")
@click.option(
    "--percent",
    type=float,
    metavar="N",
    help="Read a random N % of an archive's segments; the rest is checked by name and manifest.",
)
@click.option("--seed", metavar="TEXT", help="Read the same sample as the verdict with this seed.")
@click.option("--leaf", help="For a tlog-proof: the leaf hash of the record it is to prove, hex.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Processes that read a file.  [default: one a core]"
)
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
    collect_rarely()
    verdict = _verified(sources, options)
    if options["as_json"]:
        click.echo(json.dumps(verdict.to_json()))
        for sentence in verdict.unreadable:
            click.echo(sentence, err=True)
    else:
        click.echo(verdict.to_text())
    sys.exit(verdict.status)


def _verified(sources: tuple[str, ...], options: _Options) -> Verdict:
    keys, state_file = _keys(options["keys_file"]), options["state_file"]
    anchors = [
        a
        for at in options["anchor_addresses"]
        for a in anchors_at(at, os.environ, anchor_keys(keys))
    ]
    with ExitStack() as stack:
        seen = None
        if state_file is not None:
            seen = stack.enter_context(SeenNotes.open(state_file, keys))
            anchors += seen.anchors
        inquiry = Inquiry(
            trust=Trust(keys=keys, anchors=tuple(anchors)),
            archive=stack.enter_context(
                prepared(_archive_options(options), options["level"], keys, SystemClock())
            ),
            leaf=_leaf(options["leaf"]),
            environ=os.environ,
            progress=stack.enter_context(shown_progress()),
            jobs=options["jobs"] or cores(),
            with_source=options["with_source"],
        )
        verdict = verify_histories(sources, inquiry)
        if seen is not None:
            seen.advance(verdict)
    return verdict


def _archive_options(options: _Options) -> ArchiveOptions:
    return ArchiveOptions(
        replica=options["replica"],
        locked_for=options["locked_for"],
        resume=options["resume_file"],
        whole=options["whole"],
        percent=options["percent"],
        seed=options["seed"],
    )


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
