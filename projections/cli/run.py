"""`attestream run`: the embedded pipeline as a service."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import SettingsError
from streams.settings import Settings, load_settings

__all__ = ["run", "run_until_signalled"]


@click.command()
@click.option("--once", is_flag=True, help="Work off what is there, then end.")
@in_directory
@exit_on_failure
def run(*, once: bool) -> None:
    """Run the embedded pipeline: seal, index, archive and alert, in this process.

    Serves /healthz, /readyz and /metrics on ATTESTREAM_HTTP_PORT, unless --once.

    Example: attestream run --once
    """
    settings = load_settings(os.environ)
    if settings.on_kafka:
        raise SettingsError(
            ["`run` is the embedded engine; KAFKA_BOOTSTRAP_SERVERS is set: use `worker`"]
        )
    run_until_signalled(settings, once=once)


def run_until_signalled(settings: Settings, *, once: bool = False) -> None:
    """Run the pipeline until it is done, or SIGTERM or SIGINT asks it to end."""
    from projections.embedded import run_embedded  # noqa: PLC0415  # optional dependencies
    from streams.garbage import collect_rarely  # noqa: PLC0415
    from streams.telemetry.logs import configure_logs  # noqa: PLC0415

    configure_logs()
    collect_rarely()
    asyncio.run(_until_signalled(run_embedded(settings, once=once)))


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        # A signal asked for it: partitions are given up in order, nothing is half written.
        return
