"""What commands of the operator share: the key, the deployment, and the sending of an order."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.audit.operations import Operation, open_operation, render_operation
from streams.audit.trust import TrustHistory
from streams.clock import SystemClock
from streams.engine import Engine
from streams.errors import SettingsError
from streams.keys.local import load_private_key
from streams.keys.operator import OperatorKey
from streams.ports import NewRecord
from streams.settings import Settings, load_settings

__all__ = ["Operating", "confirmed", "operating", "operator_key_option", "yes_option"]

SETTING = "ATTESTREAM_OPERATOR_PRIVATE_KEY"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """An operator at work on a deployment."""

    settings: Settings
    engine: Engine
    key: OperatorKey

    async def history(self, *, as_far_as_good: bool = False) -> TrustHistory:
        """What the orders sealed so far come to; `as_far_as_good`: before they fail to verify.

        Raises:
            TransientError: the operations log cannot be read, or fails: its checkpoints may be
                signed by keys that were neither added nor are held here.
        """
        from streams.app import own_vkeys, sealed_trust  # noqa: PLC0415  # loads a client library

        given = await own_vkeys(self.settings, self.engine.topology.base)
        async with sealed_trust(self.settings, self.engine, given) as trust:
            return trust.history if as_far_as_good else await trust.refresh()

    async def send(self, operation: Operation) -> None:
        """Sign an order and send it; it counts once it is sealed.

        Raises:
            TransientError: perhaps not sent; sending it again is harmless.
        """
        from streams.app import operator_keys  # noqa: PLC0415  # loads a client library

        topology, note = self.engine.topology, self.key.order(operation)
        operator = operator_keys(self.settings, topology.base)
        # What would be passed over by everybody is not sent.
        if operator is None or open_operation(note, topology.base, operator) != operation:
            raise SettingsError([f"an order that nobody would follow: {operation!r}"])
        kind = render_operation(operation).partition("\n")[0].split("/")[1]
        async with self.engine.sink(topology.operations) as sink:
            await sink.send(NewRecord(SystemClock().now_ms(), note, key=kind.encode()))


@asynccontextmanager
async def operating(key_file: Path | None) -> AsyncIterator[Operating]:
    """The deployment that is set, and the operator's key from a file or the environment.

    Raises:
        SettingsError: no such key, or not the one of ATTESTREAM_OPERATOR_KEY.
    """
    from streams.app import open_engine, operator_keys  # noqa: PLC0415  # loads a client library

    settings = load_settings(os.environ)
    private = load_private_key(_key_text(settings, key_file), SETTING)
    async with open_engine(settings) as engine:
        key = OperatorKey(private, engine.topology.base)
        if settings.operator_key is None:
            settings = settings.model_copy(update={"operator_key": key.vkey.render()})
        known = operator_keys(settings, engine.topology.base)
        if known is None or key.vkey not in known.vkeys:
            raise SettingsError(
                [f"{SETTING}: {key.vkey.render()} is not the key of ATTESTREAM_OPERATOR_KEY"]
            )
        yield Operating(settings=settings, engine=engine, key=key)


def operator_key_option(command: F) -> F:
    """Add `--operator-key`: the file of the private key."""
    return click.option(
        "--operator-key",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help=f"File of the operator's private key. Default: {SETTING}.",
    )(command)


def yes_option(command: F) -> F:
    """Add `--yes`: do not ask."""
    return click.option("--yes", is_flag=True, help="Do not ask before the order is signed.")(
        command
    )


def confirmed(operation: Operation, *, yes: bool) -> bool:
    """Show what would be signed, and ask unless `yes`."""
    click.echo(render_operation(operation), nl=False, err=True)
    return yes or click.confirm("sign and send this order?", err=True)


def _key_text(settings: Settings, key_file: Path | None) -> str:
    if key_file is not None:
        return str(key_file)
    if settings.operator_private_key is None:
        raise SettingsError([f"give --operator-key FILE, or set {SETTING}"])
    return settings.operator_private_key.get_secret_value()
