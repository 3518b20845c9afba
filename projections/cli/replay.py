"""`attestream replay`: logs copied, verified on the way, into a staging place, and compared."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import BreakError, SettingsError, SourceUnreadableError
from streams.settings import load_settings

__all__ = ["replay"]

F = TypeVar("F", bound=Callable[..., Any])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a log.")


def _source_options(command: F) -> F:
    for option in (
        click.option(
            "--from",
            "source",
            type=click.Choice(["log", "archive"]),
            default="log",
            show_default=True,
            help="Read the audit topics themselves, or the archive.",
        ),
        click.option(
            "--log",
            "logs",
            metavar="ORIGIN",
            multiple=True,
            help="Only this log. May be repeated.",
        ),
        click.option("--index", type=click.IntRange(0), help="Begin at a leaf index."),
        click.option("--offset", type=click.IntRange(0), help="Begin at an audit offset."),
        click.option("--time", "since", metavar="RFC3339", help="Begin at a record time."),
        click.option(
            "--keys",
            "keys_file",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="Trusted vkeys, instead of this deployment's own and its operator's.",
        ),
    ):
        command = option(command)
    return command


def _place_options(command: F) -> F:
    for option in (
        click.option("--prefix", default="", help="Into topics of the cluster under this prefix."),
        click.option(
            "--into",
            "directory",
            type=click.Path(path_type=Path, file_okay=False),
            help="Into an embedded home in this directory.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def replay() -> None:
    """Copy logs into a staging place, verified on the way; nothing there is ever doubled.

    A copy holds the audit records and checkpoints byte for byte; only audit offsets differ. One
    that begins behind index 0 begins with the checkpoint at or below it: `replay check` verifies
    such a copy, `verify` calls it what it is, a log without its beginning.
    """


@replay.command()
@_source_options
@AS_JSON
@in_directory
@exit_on_failure
def plan(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click's options
    """Say what `replay run` would read, and what of it is missing. Exit status 1: something is.

    Example: attestream replay plan --from archive
    """
    plans = asyncio.run(_plan(options))
    for one in plans:
        click.echo(json.dumps(one) if as_json else _plan_lines(one))
    sys.exit(1 if any(one["missing"] for one in plans) else 0)


@replay.command()
@_source_options
@_place_options
@click.option(
    "--restore",
    "is_restore",
    is_flag=True,
    help="Into the deployment's own audit topics, which were lost: see recover-from-disaster.",
)
@AS_JSON
@in_directory
@exit_on_failure
def run(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click's options
    """Copy logs to a place. Interrupted, run it again: it goes on where the copy ends.

    Exit status: 0 copied; as `verify` of the first break; what is broken is not copied, nor
    anything behind it.

    Example: attestream replay run --from archive --into ./staging
    """
    sys.exit(asyncio.run(_run(options, as_json=as_json)))


@replay.command()
@_source_options
@_place_options
@click.option("--no-index", is_flag=True, help="Do not build the decision index to compare it.")
@AS_JSON
@in_directory
@exit_on_failure
def check(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click's options
    """Verify the copies in a place, and compare each with what it was copied from.

    Size and root, and of whole copies of decisions what follows from them: the same rows in the
    index, the same alerts as were published. Nothing is published by it.

    Exit status: 0 the same, 1 something differs, else as `verify`.

    Example: attestream replay check --into ./staging
    """
    sys.exit(asyncio.run(_check(options, as_json=as_json)))


async def _check(options: dict[str, Any], *, as_json: bool) -> int:
    from projections.replay.checking import check_log  # noqa: PLC0415  # optional dependencies
    from projections.replay.opening import open_replay  # noqa: PLC0415
    from streams.verifier import BREAK_STATUS  # noqa: PLC0415

    settings, status = load_settings(os.environ), 0
    with_index = not options["no_index"]
    async with open_replay(settings, _request(options)) as opened:
        for origin in opened.origins:
            try:
                found = await check_log(opened, origin, settings, with_index=with_index)
                told, problems = _checked(found), list(found.problems)
            except SourceUnreadableError:
                # What was never copied is missed only where it is asked for.
                if not options["logs"]:
                    continue
                raise
            except BreakError as error:
                told, problems = {"origin": origin}, [str(error)]
                status = status or BREAK_STATUS.get(error.kind, 1)
            status = status or int(bool(problems))
            told["problems"] = problems
            click.echo(json.dumps(told) if as_json else _checked_lines(told))
    return status


def _checked(found: Any) -> dict[str, Any]:  # noqa: ANN401  # loaded late
    verdict, rebuilt = found.verdict, found.rebuilt
    return {
        "origin": verdict.origin,
        "first": verdict.first,
        "size": verdict.size,
        "root": verdict.root.hex(),
        "records": verdict.records,
        "checkpoints": verdict.checkpoints,
        "index": rebuilt and rebuilt._asdict(),
        "index_not_built": found.why or None,
    }


async def _plan(options: dict[str, Any]) -> list[dict[str, Any]]:
    from projections.replay.opening import open_replay  # noqa: PLC0415  # optional dependencies

    settings = load_settings(os.environ)
    async with open_replay(settings, _request(options)) as opened:
        plans = [await opened.plan(origin) for origin in opened.origins]
    return [
        {
            "origin": one.origin,
            "begin": one.begin,
            "first": one.first,
            "size": one.size,
            "records": one.records,
            "segments": one.segments,
            "bytes": one.segment_bytes,
            "seconds": round(one.seconds, 1),
            "missing": list(one.missing),
        }
        for one in plans
    ]


async def _run(options: dict[str, Any], *, as_json: bool) -> int:
    from projections.replay.opening import open_replay  # noqa: PLC0415  # optional dependencies
    from streams.cli.progress import shown_progress  # noqa: PLC0415
    from streams.garbage import collect_rarely  # noqa: PLC0415
    from streams.verifier import BREAK_STATUS  # noqa: PLC0415

    settings = load_settings(os.environ)
    status = 0
    async with open_replay(settings, _request(options)) as opened:
        await opened.prepare()
        collect_rarely()
        for origin in opened.origins:
            done: dict[str, Any] = {"origin": origin, "size": None, "rows": None, "break": None}
            try:
                with shown_progress() as progress:
                    copied = await opened.copy(origin, progress)
                done |= {"size": copied.size, "rows": copied.rows, "resumed": copied.resumed}
            except BreakError as error:
                # The other logs are no worse for it.
                status = status or BREAK_STATUS.get(error.kind, 1)
                done["break"] = {"kind": error.kind, "index": error.index, "detail": error.detail}
            click.echo(json.dumps(done) if as_json else _done_line(done))
    return status


def _request(options: dict[str, Any]) -> Any:  # noqa: ANN401  # loaded late
    from projections.replay.opening import (  # noqa: PLC0415  # optional dependencies
        Begin,
        ReplayRequest,
        Target,
    )
    from streams.audit.note import TrustedKeys  # noqa: PLC0415

    given = [name for name in ("index", "offset", "since") if options[name] is not None]
    if len(given) > 1:
        raise SettingsError(["give one of --index, --offset and --time"])
    keys_file: Path | None = options["keys_file"]
    target = None
    if "prefix" in options:
        target = Target(
            prefix=options["prefix"],
            directory=options["directory"],
            is_restore=options.get("is_restore", False),
        )
    return ReplayRequest(
        source=options["source"],
        target=target,
        logs=options["logs"],
        begin=Begin(
            index=options["index"] or 0,
            offset=options["offset"],
            time_ms=_time(options["since"]),
        ),
        keys=None if keys_file is None else TrustedKeys.parse(_text(keys_file)),
    )


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return int(time.timestamp() * 1000)
    raise SettingsError([f"--time: expected 2026-11-21T09:00:00Z, got {text!r}"])


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: no file of vkeys: {error}"]) from error


def _plan_lines(one: dict[str, Any]) -> str:
    lines = [f"{one['origin']}\n  records {one['first']:,} to {one['size']:,}"]
    if one["segments"]:
        lines.append(f"  {one['segments']:,} segments, {one['bytes']:,} bytes")
    lines.append(f"  about {one['seconds']:,} s")
    lines += [f"  missing: {missing}" for missing in one["missing"]]
    return "\n".join(lines)


def _done_line(done: dict[str, Any]) -> str:
    if done["break"]:
        broken = done["break"]
        sentence = f"{broken['kind']} at index {broken['index']}: {broken['detail']}"
        return f"{done['origin']}\n  stopped, and nothing of it or behind it is copied: {sentence}"
    how = "went on with a copy, " if done["resumed"] else ""
    return f"{done['origin']}\n  size {done['size']:,}, {how}{done['rows']:,} rows written"


def _checked_lines(told: dict[str, Any]) -> str:
    lines = [told["origin"]]
    if "size" in told:
        lines.append(f"  records {told['first']:,} to {told['size']:,}, root {told['root']}")
        if index := told["index"]:
            about = f"{index['rows']:,} rows, {index['alerts']:,} alerts"
            lines.append(f"  decision index: {about}, content {index['digest']}")
    lines += [f"  differs: {problem}" for problem in told["problems"]]
    return "\n".join(lines) if told["problems"] else "\n".join([*lines, "  as its source"])
