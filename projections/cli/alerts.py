"""`attestream alerts`: read the published alerts, on either engine."""

import asyncio
import json
import os

import click

from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from schemas.readable import as_json
from schemas.records import Record
from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.history import last_records
from streams.settings import load_settings

__all__ = ["alerts", "lines_of"]

WAIT_MS = 500


@click.group()
def alerts() -> None:
    """Read the alerts: findings about sealed decisions, each with its evidence."""


@alerts.command()
@click.option("-n", "--count", default=20, show_default=True, help="Alerts a partition, to begin.")
@click.option("-f", "--follow", is_flag=True, help="Go on as alerts are published.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line, nothing else.")
@in_directory
@exit_on_failure
def tail(count: int, *, follow: bool, as_lines: bool) -> None:
    """Print the newest alerts.

    Example: attestream alerts tail -f
    """
    asyncio.run(_tail(count, follow=follow, as_lines=as_lines))


def lines_of(alert: AnomalyAlert) -> str:
    """One alert in words: what, how odd, why, and where its evidence is."""
    where = alert.evidence[0] if alert.evidence else None
    proof = f"{where.origin} leaf {where.index}" if where else "no evidence"
    return (
        f"{alert.severity:<13} risk {alert.risk:.2f}  {alert.title}\n"
        f"    {alert.description}\n"
        f"    {alert.alert_id}  {proof}{'  (replayed)' if alert.replayed else ''}"
    )


async def _tail(count: int, *, follow: bool, as_lines: bool) -> None:
    from streams.app import open_engine  # noqa: PLC0415  # loads a client library

    async with open_engine(load_settings(os.environ)) as engine:
        topic = engine.topology.alerts
        readers = [engine.reader(topic, p) for p in range(await engine.partitions(topic))]
        try:
            offsets = []
            for reader in readers:
                offsets.append((await reader.bounds()).end)
                _print(await last_records(reader, count), as_lines=as_lines)
            while follow:
                for number, reader in enumerate(readers):
                    fetched = await reader.fetch(
                        offsets[number], max_records=100, max_wait_ms=WAIT_MS
                    )
                    offsets[number] = fetched.next_offset
                    _print(fetched.records, as_lines=as_lines)
        finally:
            for reader in readers:
                await reader.close()


def _print(records: list[Record], *, as_lines: bool) -> None:
    for record in records:
        alert = decode_alert(record)
        click.echo(json.dumps(as_json(alert)) if as_lines else lines_of(alert))
