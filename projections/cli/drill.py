"""`attestream drill`: restore from the archive, to know that it can be done."""

import asyncio
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import SettingsError
from streams.settings import load_settings

__all__ = ["drill"]

SECONDS_A_DAY = 86_400


@click.command()
@click.option("--segments", default=3, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--seed", help="Choose as an earlier drill did.  [default: a random one]")
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("drills"),
    show_default=True,
    help="Where the report goes, as Markdown and as JSON.",
)
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Trusted vkeys, instead of this deployment's own and its operator's.",
)
@click.option(
    "--since", type=click.Choice(["last"]), help="Drill nothing: tell when the last drill was."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, nothing else.")
@in_directory
@exit_on_failure
def drill(*, as_json: bool, since: str | None, **options: Any) -> None:  # noqa: ANN401  # click's
    """Restore random archived segments into a scratch directory, and hold them to what they are.

    SHA-256, manifests, signatures, every leaf, inclusion proofs of sampled records, and the log
    itself where it can be reached. The report says how long it took and how old the newest
    archived record is; that the drill took place is published to the operations, and sealed.

    With --since last: when the last drill was, by the sealed operations.

    Exit status: 0 everything held, or the last good drill is younger than ATTESTREAM_DRILL_DAYS;
    1 not.

    Example: attestream drill --segments 5
    """
    work = _promise(as_json=as_json) if since else _drill(options, as_json=as_json)
    sys.exit(asyncio.run(work))


async def _drill(options: dict[str, Any], *, as_json: bool) -> int:
    from projections.drill.running import (  # noqa: PLC0415  # optional dependencies
        DrillRequest,
        publish_drill,
        run_drill,
        write_report,
    )
    from projections.replay.opening import ReplayRequest, open_replay  # noqa: PLC0415
    from streams.audit.note import TrustedKeys  # noqa: PLC0415
    from streams.clock import SystemClock  # noqa: PLC0415

    keys_file: Path | None = options["keys_file"]
    keys = None if keys_file is None else TrustedKeys.parse(_text(keys_file))
    clock, seed = SystemClock(), options["seed"] or secrets.token_hex(8)
    request = DrillRequest(
        segments=options["segments"], seed=seed, told=lambda what: click.echo(what, err=True)
    )
    replay = ReplayRequest(source="archive", keys=keys, with_deployment=True)
    async with open_replay(load_settings(os.environ), replay) as opened:
        report = await run_drill(opened, request, clock)
        page, data = write_report(report, options["folder"])
        # A crash here leaves a report of a drill nobody was told of: run another.
        unpublished = await publish_drill(opened, report, clock)
    told = report.as_json() | {"report": [str(page), str(data)], "published": not unpublished}
    click.echo(json.dumps(told) if as_json else report.as_markdown())
    click.echo(f"report: {page}, {data}", err=True)
    if unpublished:
        click.echo(f"not published, so that nobody will see it sealed: {unpublished}", err=True)
    else:
        click.echo("published to the operations; it counts once it is sealed", err=True)
    return 0 if report.passed and not unpublished else 1


async def _promise(*, as_json: bool) -> int:
    from projections.drill.promise import last_drills  # noqa: PLC0415  # optional dependencies
    from streams.app import deployment_history, open_engine  # noqa: PLC0415
    from streams.clock import SystemClock  # noqa: PLC0415

    settings, now_ms = load_settings(os.environ), SystemClock().now_ms()
    async with open_engine(settings) as engine:
        history = await deployment_history(settings, engine)
        found = await last_drills(engine, history, now_ms)
    age = found.age_s(now_ms)
    is_kept = age <= settings.drill_days * SECONDS_A_DAY
    told = {
        "kept": is_kept,
        "days": settings.drill_days,
        "age_seconds": None if found.passed is None else round(age),
        "newest_passed": None if found.newest is None else found.newest.passed,
        "seed": None if found.passed is None else found.passed.seed,
        "failures": [] if found.newest is None else list(found.newest.failures),
    }
    click.echo(json.dumps(told) if as_json else _promise_lines(told))
    return 0 if is_kept else 1


def _promise_lines(told: dict[str, Any]) -> str:
    if told["age_seconds"] is None:
        lines = ["no drill that passed is sealed"]
    else:
        days = told["age_seconds"] / SECONDS_A_DAY
        lines = [f"the last drill that passed was {days:.1f} days ago, seed {told['seed']}"]
    if told["newest_passed"] is False:
        lines += ["the newest drill FAILED:", *(f"  {one}" for one in told["failures"])]
    kept = "kept" if told["kept"] else "NOT kept"
    return "\n".join([*lines, f"promised: one every {told['days']} days: {kept}"])


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: no file of vkeys: {error}"]) from error
