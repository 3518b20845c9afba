"""`attestream keys retire`: end the trust in a key, at what the logs are now."""

import asyncio
from pathlib import Path

import click

from streams.audit.checkpoint import CheckpointText, parse_checkpoint
from streams.audit.note import MalformedError, Note, Vkey
from streams.audit.operations import EpochForked, KeyRetired
from streams.audit.trust import TrustHistory
from streams.cli.failures import exit_on_failure
from streams.cli.opened_logs import logs_of
from streams.cli.operating import confirmed, operating, operator_key_option, yes_option
from streams.cli.options import in_directory
from streams.engine import Engine
from streams.errors import BreakError, SettingsError
from streams.heads import newest_checkpoint

__all__ = ["retire"]


@click.command()
@click.argument("vkey")
@operator_key_option
@yes_option
@in_directory
@exit_on_failure
def retire(vkey: str, operator_key: Path | None, *, yes: bool) -> None:
    """Order that the key VKEY counts no more, beyond the newest checkpoint of each log.

    Refused until the newest checkpoint of every log bears a line of VKEY and a line of another
    key that counts: before, nobody could tell a log's next checkpoint from a forgery.

    Example: attestream keys retire "$(cat old.vkey)" --operator-key operator.pem
    """

    async def order() -> None:
        async with operating(operator_key) as at:
            retired = _parsed(vkey)
            history = await at.history()
            operation = await _retirement(at.engine, history, retired)
            if confirmed(operation, yes=yes):
                await at.send(operation)
                click.echo(f"retired in {len(operation.heads)} logs; sent", err=True)

    asyncio.run(order())


async def _retirement(engine: Engine, history: TrustHistory, retired: Vkey) -> KeyRetired:
    """The order, or every log that is not ready for it.

    Raises:
        SettingsError: the key is retired already, or a log's newest checkpoint lacks a line.
    """
    _require_retirable(history, retired)
    # No checkpoint of a log that ended will bear another line; its topic may even be gone.
    forks = [order for order in history.operations if isinstance(order, EpochForked)]
    heads = [CheckpointText(fork.origin, fork.size, fork.root) for fork in forks]
    problems: list[str] = []
    async for log in logs_of(engine):
        if history.fork(log.origin) is not None:
            continue
        newest = await newest_checkpoint(log.reader)
        if newest is None:
            continue
        try:
            text, note = parse_checkpoint(newest.note)
            problem = _unready(text, note, history, retired)
        except BreakError as error:
            text, problem = CheckpointText(log.origin, 0, b""), error.detail
        if text.origin != log.origin:
            problem = f"its newest checkpoint is one of {text.origin}"
        if problem:
            problems.append(f"{log.origin}: {problem}")
        heads.append(text)
    if problems:
        raise SettingsError([*problems, "a key is retired when every log bears both lines"])
    return KeyRetired(vkey=retired, heads=tuple(sorted(heads)))


def _require_retirable(history: TrustHistory, retired: Vkey) -> None:
    if history.is_retired(retired):
        raise SettingsError(["this key was retired before: what was recorded then stands"])
    if not history.is_added(retired):
        raise SettingsError(
            [
                (
                    "this key was never added: add it first, or nobody who has the operator's "
                    "vkey alone can verify what it signed"
                )
            ]
        )


def _unready(text: CheckpointText, note: Note, history: TrustHistory, retired: Vkey) -> str:
    """What the checkpoint lacks, empty where nothing."""
    message, good = note.text.encode(), set[tuple[int, bytes]]()
    counting = history.keys.for_checkpoint(text.origin, text.size)
    mine = retired.for_origin(text.origin)
    for line in note.lines:
        for vkey in (mine, *counting.get(line.key_id, ())):
            is_its = line.name == text.origin and vkey.key_id == line.key_id
            if is_its and vkey.is_signature(line.signature, message):
                good.add(vkey.public)
    if retired.public not in good:
        return f"the checkpoint of size {text.size} has no line of this key"
    others = [
        vkey
        for vkeys in counting.values()
        for vkey in vkeys
        if history.is_current(vkey, text.origin)
    ]
    if not any(vkey.public in good for vkey in others if vkey.public != retired.public):
        return f"the checkpoint of size {text.size} has no line of another key that counts"
    return ""


def _parsed(text: str) -> Vkey:
    try:
        return Vkey.parse(text.strip())
    except MalformedError as error:
        raise SettingsError([str(error)]) from error
