"""`attestream audit accept-gap`: an operator lets a log go on behind records that are lost."""

import asyncio
from pathlib import Path

import click

from streams.audit.operations import GapAccepted
from streams.audit.trust import TrustHistory
from streams.cli.failures import exit_on_failure
from streams.cli.opened_logs import Log, logs_of
from streams.cli.operating import Operating, confirmed, operating, operator_key_option, yes_option
from streams.cli.options import in_directory
from streams.errors import SettingsError, SourceGapError
from streams.verdicts import Verdict

__all__ = ["accept_gap"]


@click.command()
@click.argument("origin")
@operator_key_option
@yes_option
@in_directory
@exit_on_failure
def accept_gap(origin: str, operator_key: Path | None, *, yes: bool) -> None:
    """Order that the log ORIGIN goes on, though its source lost records nobody sealed.

    What is lost stays lost: the order says so for ever, signed and sealed. A worker that stopped
    at the gap goes on within seconds.

    Example: attestream audit accept-gap audit.example.com/authz.decisions/0
    """

    async def order() -> None:
        async with operating(operator_key) as at:
            async for log in logs_of(at.engine):
                if log.origin == origin:
                    await _accept(at, log, yes=yes)
                    return
            raise SettingsError(
                [f"no log is called {origin}: `attestream audit heads` lists them"]
            )

    asyncio.run(order())


async def _accept(at: Operating, log: Log, *, yes: bool) -> None:
    standing = await _standing_gap(at, log.origin, await at.history())
    source = at.engine.reader(log.source, log.partition)
    try:
        start = (await source.bounds()).start
    finally:
        await source.close()
    if start <= standing.offset:
        raise SettingsError(
            [
                (
                    f"{log.source}/{log.partition} begins at offset {start} now, and {log.origin} "
                    f"wants {standing.offset}: nothing is missing"
                )
            ]
        )
    operation = GapAccepted(
        origin=log.origin, size=standing.size, expected=standing.offset, left=start
    )
    click.echo(standing.sentence, err=True)
    click.echo(f"{start - standing.offset} offsets are lost, for ever:", err=True)
    if confirmed(operation, yes=yes):
        await at.send(operation)
        click.echo("sent; the log goes on once it is sealed", err=True)


async def _standing_gap(at: Operating, origin: str, history: TrustHistory) -> Verdict:
    """The gap that stopped a log and that nobody answered yet.

    Raises:
        SettingsError: none, or the log stopped for another reason.
    """
    from streams.app import kept_verdicts  # noqa: PLC0415  # chooses the adapter

    verdicts = await kept_verdicts(at.settings, origin)
    standing = [verdict for verdict in verdicts if not verdict.is_answered(origin, history)]
    if not standing:
        raise SettingsError([f"{origin} did not stop at a gap: nothing is to be accepted"])
    last = standing[-1]
    if last.reason != SourceGapError.reason:
        raise SettingsError([f"{origin} stopped, but not at a gap: {last.sentence}"])
    return last
