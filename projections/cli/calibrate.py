"""`attestream alerts calibrate`: which threshold keeps to an alert budget, by the logs."""

import asyncio
import json
import os
from typing import Any

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.settings import load_settings

__all__ = ["calibrate"]


@click.command()
@click.option(
    "--budget",
    required=True,
    type=click.IntRange(1, 10_000),
    help="Alerts wanted in 10,000 records of a tenant and log.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a tenant and log.")
@in_directory
@exit_on_failure
def calibrate(budget: int, *, as_json: bool) -> None:
    """Print the threshold that keeps to a budget.

    Every decision of the logs is scored exactly against those before it. The threshold is set by
    the older half and tried on the newer one. Nothing is written or changed.

    Example: attestream alerts calibrate --budget 20
    """
    for found in asyncio.run(_calibrated(budget)):
        click.echo(json.dumps(found) if as_json else _words(found))


async def _calibrated(budget: int) -> list[dict[str, Any]]:
    from projections.calibrating import calibrated  # noqa: PLC0415  # loads the index
    from streams.app import open_engine  # noqa: PLC0415

    settings = load_settings(os.environ)
    async with open_engine(settings) as engine:
        return await calibrated(engine, settings, budget)


def _words(found: dict[str, Any]) -> str:
    where = f"{found['origin']}, tenant {found['tenant']!r}: {found['records']} records"
    if found["threshold"] is None:
        return f"{where}, too few behind the warm-up to calibrate by"
    as_set = (
        f"at {found['configured']} (ATTESTREAM_RISK_THRESHOLD): "
        f"{found['configured_older']} alerts in the older half, {found['configured_newer']} in "
        "the newer"
    )
    fixed = (
        f"for {found['wanted']} in a half: ATTESTREAM_RISK_THRESHOLD={found['threshold']}, "
        f"{found['older']} in the older half, {found['newer']} in the newer"
    )
    followed = (
        f"or ATTESTREAM_ALERT_BUDGET={found['budget']}, which follows the log: "
        f"{found['followed']} in the newer half"
    )
    return f"{where}\n  {as_set}\n  {fixed}\n  {followed}"
