"""`attestream alerts`: read the published alerts and have one explained, on either engine."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import click

from projections.cli.alert_words import explained, lines_of, status_of, words_of
from projections.cli.calibrate import calibrate
from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from schemas.errors import RejectedInput
from schemas.ocsf import encode_finding
from schemas.readable import as_json
from schemas.records import Record
from streams.audit.note import TrustedKeys
from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.clock import SystemClock
from streams.errors import SettingsError, SourceUnreadableError
from streams.history import last_records, read_range
from streams.ports import PartitionReader
from streams.settings import load_settings

__all__ = ["alerts"]

WAIT_MS = 500
PAGE_OFFSETS = 2000  # looked through at a time for one alert

FORMS: dict[str, Callable[[AnomalyAlert], str]] = {
    "text": lines_of,
    "json": lambda alert: json.dumps(as_json(alert)),
    "ocsf": lambda alert: encode_finding(alert).decode(),
}


class _Alerts(NamedTuple):
    """The alert partitions, and what is known of the schemas their records are framed with."""

    readers: list[PartitionReader]
    answers: SchemaAnswers


@click.group()
def alerts() -> None:
    """Read the alerts: findings about sealed decisions, each with its evidence."""


alerts.add_command(calibrate)


@alerts.command()
@click.option("-n", "--count", default=20, show_default=True, help="Alerts a partition, to begin.")
@click.option("-f", "--follow", is_flag=True, help="Go on as alerts are published.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMS)),
    default="text",
    show_default=True,
    help="For people; one JSON object a line; one OCSF Detection Finding a line.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@in_directory
@exit_on_failure
def tail(count: int, *, follow: bool, form: str) -> None:
    """Print the newest alerts.

    Example: attestream alerts tail -f --format ocsf
    """
    asyncio.run(_tail(count, follow=follow, form=FORMS[form]))


@alerts.command()
@click.argument("alert_id")
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Trusted vkeys, one a line. Without it no signature is checked.",
)
@click.option("--json", "as_object", is_flag=True, help="One JSON object, nothing else.")
@in_directory
@exit_on_failure
def explain(alert_id: str, keys_file: Path | None, *, as_object: bool) -> None:
    """Say why ALERT_ID was raised, and whether its evidence holds.

    Ends with 0, or with the status `attestream verify` gives such a break.

    Example: attestream alerts explain kjz4w6yxnw5nq3xv5d4hkq2c7e --keys keys.txt
    """
    keys = None if keys_file is None else _keys(keys_file)
    told = explained(asyncio.run(_find(alert_id)), keys)
    click.echo(json.dumps(told) if as_object else words_of(told))
    sys.exit(status_of(told))


async def _tail(count: int, *, follow: bool, form: Callable[[AnomalyAlert], str]) -> None:
    async with _opened() as opened:
        offsets = []
        for reader in opened.readers:
            end = (await reader.bounds()).end
            rows = await last_records(reader, count)
            await _print(rows, opened, form)
            offsets.append(max(end, rows[-1].offset + 1) if rows else end)
        while follow:
            for number, reader in enumerate(opened.readers):
                fetched = await reader.fetch(offsets[number], max_records=100, max_wait_ms=WAIT_MS)
                offsets[number] = fetched.next_offset
                await _print(fetched.records, opened, form)


async def _print(
    records: list[Record], opened: _Alerts, form: Callable[[AnomalyAlert], str]
) -> None:
    await opened.answers.learn(records)
    for record in records:
        try:
            click.echo(form(decode_alert(record, opened.answers)))
        except RejectedInput as error:
            click.echo(f"no alert at offset {record.offset}: {error}", err=True)


async def _find(alert_id: str) -> AnomalyAlert:
    """The alert of this id, looked for from the newest on. Raises SourceUnreadableError."""
    async with _opened() as opened:
        for reader in opened.readers:
            start, end, _ = await reader.bounds()
            while start < end:
                first = max(start, end - PAGE_OFFSETS)
                rows = await read_range(reader, first, end)
                await opened.answers.learn(rows)
                for record in reversed(rows):
                    alert = _alert(record, opened)
                    if alert is not None and alert.alert_id == alert_id:
                        return alert
                end = first
    raise SourceUnreadableError(f"no alert has the id {alert_id}: `attestream alerts tail`")


def _alert(record: Record, opened: _Alerts) -> AnomalyAlert | None:
    try:
        return decode_alert(record, opened.answers)
    except RejectedInput:
        return None


@asynccontextmanager
async def _opened() -> AsyncIterator[_Alerts]:
    from streams.app import open_engine  # noqa: PLC0415  # loads a client library

    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine(load_settings(os.environ)))
        topic = engine.topology.alerts
        readers = [engine.reader(topic, p) for p in range(await engine.partitions(topic))]
        for reader in readers:
            stack.push_async_callback(reader.close)
        # What is shown is a hint; whoever relies on an alert checks its evidence.
        answers = SchemaAnswers(AnswersWorld(engine=engine, keys=None, clock=SystemClock()))
        yield _Alerts(readers, answers)


def _keys(path: Path) -> TrustedKeys:
    try:
        return TrustedKeys.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: no file of vkeys: {error}"]) from error
