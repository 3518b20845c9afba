"""`attestream archive doctor`: what the archive's bucket promises, and what it keeps."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from streams.objects.probe_returning import Receipt
    from streams.objects.probe_verdicts import Finding, Report

__all__ = ["doctor"]

RECEIPT = "archive-canary.json"
HEADING = "check verdict    what the bucket promises: what it keeps"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, nothing else.")
@click.option(
    "--scratch-bucket",
    metavar="NAME",
    help="A bucket with Object Lock on the same server, for the checks that change or lose one.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Remembers what was left for the next run; default: archive-canary.json in "
    "ATTESTREAM_HOME.",
)
@in_directory
@exit_on_failure
def doctor(*, as_json: bool, scratch_bucket: str | None, state: Path | None) -> None:
    """Try every promise of Object Lock on the archive's bucket, with canaries.

    Canaries are objects below canary/v1/, locked for seconds; the archive is not touched. What is
    broken and needed refuses the bucket, as it would a worker; what is broken and not needed is
    named. docs/reference/archive-doctor.md has each check.

    Exit status 0: the archive may rely on the bucket; 1: refused; 2: settings.

    Example: attestream archive doctor --scratch-bucket my-scratch
    """
    settings = load_settings(os.environ)
    report = asyncio.run(_probe(settings, scratch_bucket, state or settings.home / RECEIPT))
    if not as_json:
        click.echo(HEADING)
    for finding in report.findings:
        click.echo(json.dumps(finding.as_json()) if as_json else _row(finding))
    if not as_json:
        click.echo(_summary(report))
    sys.exit(1 if report.refused else 0)


async def _probe(settings: Settings, scratch_bucket: str | None, state: Path) -> "Report":
    from streams.app import open_probed_bucket  # noqa: PLC0415  # chooses the adapter
    from streams.objects.probe import Memory, everything  # noqa: PLC0415

    clock = SystemClock()
    bucket = open_probed_bucket(settings, clock)
    if bucket is None:
        raise SettingsError(
            [
                (
                    "the archive is a directory: it promises no lock, there is nothing to try; "
                    "set ATTESTREAM_ARCHIVE=s3://bucket/prefix"
                )
            ]
        )
    if scratch_bucket == bucket.name:
        raise SettingsError([f"--scratch-bucket: {scratch_bucket} is the archive's own bucket"])
    place = f"{settings.s3_endpoint or 's3'} {settings.archive}"
    memory = Memory(place=place, left=_remembered(state))
    scratch = bucket.on(scratch_bucket) if scratch_bucket else None
    try:
        report, left = await asyncio.to_thread(everything, bucket, clock, scratch, memory)
    finally:
        bucket.close()
    if left is not None:
        _remember(state, left)
    return report


def _remembered(state: Path) -> "Receipt | None":
    from streams.objects.probe_returning import Receipt  # noqa: PLC0415  # as doctor runs

    try:
        return Receipt.of_json(json.loads(state.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError([f"{state}: not what archive doctor wrote: {error}"]) from error


def _remember(state: Path, left: "Receipt") -> None:
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        unfinished = state.with_name(f"{state.name}.unfinished")
        unfinished.write_text(json.dumps(left.as_json()) + "\n", "utf-8")
        unfinished.replace(state)
    except OSError as error:
        click.echo(f"what was left is not remembered: {error}; set --state", err=True)


def _row(finding: "Finding") -> str:
    row = f"{finding.check:<5} {finding.verdict:<12}{finding.promise}: {finding.found}"
    if finding.verdict != "broken":
        return row
    why = "needed" if finding.needed else "not needed by the archive"
    return f"{row}\n{'':18}expected {finding.expected}; {why}"


def _summary(report: "Report") -> str:
    broken: Sequence[Finding] = report.refused
    if broken:
        return f"refused: {len(broken)} promises the archive relies on are broken"
    if report.lies:
        return f"usable; {len(report.lies)} promises the archive does not rely on are broken"
    return "usable"
