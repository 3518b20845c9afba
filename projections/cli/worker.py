"""`attestream worker`: one worker of the Kafka deployment."""

import asyncio
import os
import sys
from functools import partial

import click

from streams.cli.failures import exit_on_failure
from streams.errors import SettingsError
from streams.settings import load_settings

__all__ = ["worker"]


@click.command()
@click.option("--roles", help="Comma-separated; default: all. See docs/reference/cli.md.")
@exit_on_failure
def worker(roles: str | None) -> None:
    """Run one worker; start as many as you like, on as many machines.

    Serves /healthz, /readyz and /metrics on ATTESTREAM_HTTP_PORT.

    Example: attestream worker --roles sealer,archive
    """
    settings = load_settings(os.environ)
    if not settings.on_kafka:
        raise SettingsError(
            ["`worker` needs KAFKA_BOOTSTRAP_SERVERS; without a broker use `attestream run`"]
        )
    from projections.roles import ALL_ROLES, topics_of  # noqa: PLC0415  # no optional dependency

    chosen = ALL_ROLES if roles is None else tuple(r.strip() for r in roles.split(","))
    if unknown := sorted(set(chosen) - set(ALL_ROLES)):
        raise SettingsError(
            [f"--roles: {', '.join(unknown)} is unknown; roles are {', '.join(ALL_ROLES)}"]
        )
    from streams.app import check_settings, preflight  # noqa: PLC0415  # loads a client library
    from streams.telemetry.logs import configure_logs  # noqa: PLC0415

    check_settings(settings)
    asyncio.run(preflight(settings, partial(topics_of, chosen)))
    configure_logs()
    from projections.app import run_worker  # noqa: PLC0415  # optional dependency

    sys.exit(run_worker(settings, chosen))
