"""`attestream archive`: what stands in the object store."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import click

from streams.cli.archive_doctor import doctor
from streams.cli.archive_holds import hold, release
from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.ports import ObjectStore
from streams.settings import load_settings

__all__ = ["archive"]


@click.group()
def archive() -> None:
    """Look into the object store, hold what is in it, and try what its bucket keeps."""


archive.add_command(doctor)
archive.add_command(hold)
archive.add_command(release)


@archive.command(name="list")
@click.argument("prefix", default="")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, nothing else.")
@in_directory
@exit_on_failure
def list_(prefix: str, *, as_json: bool) -> None:
    """List every version of every object whose name begins with PREFIX, oldest version first.

    `verify` checks what is listed here. The store is that of ATTESTREAM_ARCHIVE.

    Example: attestream archive list archive/v1/audit.example.com
    """
    asyncio.run(_print(prefix, as_json=as_json))


async def _print(prefix: str, *, as_json: bool) -> None:
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    store = open_objects(load_settings(os.environ))
    try:
        async for listed in _versions(store, prefix):
            click.echo(json.dumps(listed) if as_json else _line(listed))
    finally:
        await store.close()


async def _versions(store: ObjectStore, prefix: str) -> AsyncIterator[dict[str, Any]]:
    for version in await store.versions(prefix):
        info = None
        if not version.is_delete_marker:
            info = await store.head(version.key, version.version_id)
        until = info.retain_until if info else None
        yield {
            "name": version.key,
            "version": version.version_id,
            "bytes": version.size,
            "deleted": version.is_delete_marker,
            "lock": info.lock_mode if info else None,
            "legal_hold": info.legal_hold if info else False,
            "retain_until": until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else None,
        }


def _line(listed: dict[str, Any]) -> str:
    if listed["deleted"]:
        return f"{listed['name']}  delete marker {listed['version']}"
    lock = "not locked"
    if listed["retain_until"]:
        lock = f"{listed['lock'] or 'not locked, retained'} until {listed['retain_until']}"
    held = "held  " if listed["legal_hold"] else ""
    return (
        f"{listed['name']}  {listed['bytes']:,} bytes  {lock}  {held}version {listed['version']}"
    )
