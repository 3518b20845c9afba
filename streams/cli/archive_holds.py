"""`attestream archive hold` and `release`: legal holds on what is archived.

A hold keeps a version beyond its lock, until it is released. Who writes the archive may put one
and not release it; who may release it (`S3_RELEASE_*`) runs no worker.
"""

import asyncio
import json
import os
from collections.abc import Sequence

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import SettingsError
from streams.ports import ObjectVersion
from streams.settings import load_settings

__all__ = ["hold", "release"]

AT_ONCE = 8


@click.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, nothing else.")
@in_directory
@exit_on_failure
def hold(prefixes: tuple[str, ...], *, as_json: bool) -> None:
    """Put a legal hold on every version of every object whose name begins with a PREFIX.

    Nobody deletes such a version, not even when its lock has ended, until the hold is released.
    What is archived later is not held: set ATTESTREAM_LEGAL_HOLD=1 for that. Each hold is read
    back; doing it again changes nothing.

    Example: attestream archive hold archive/v1/audit.example.com anchors/v1/audit.example.com
    """
    asyncio.run(_set(prefixes, on=True, as_json=as_json))


@click.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, nothing else.")
@in_directory
@exit_on_failure
def release(prefixes: tuple[str, ...], *, as_json: bool) -> None:
    """Release the legal holds of every object whose name begins with a PREFIX; locks stay.

    Uses the credentials of S3_RELEASE_PROFILE, or S3_RELEASE_ACCESS_KEY and S3_RELEASE_SECRET,
    and never the workers'.

    Example: attestream archive release archive/v1/audit.example.com
    """
    asyncio.run(_set(prefixes, on=False, as_json=as_json))


async def _set(prefixes: Sequence[str], *, on: bool, as_json: bool) -> None:
    from streams.app import open_holding  # noqa: PLC0415  # chooses the adapter

    store = open_holding(load_settings(os.environ), releasing=not on)

    async def one(version: ObjectVersion) -> None:
        await store.set_hold(version.key, version.version_id, on=on)

    count = 0
    try:
        for prefix in dict.fromkeys(prefixes):
            found = [v for v in await store.versions(prefix) if not v.is_delete_marker]
            if not found:
                raise SettingsError([f"no object's name begins with {prefix!r}"])
            for start in range(0, len(found), AT_ONCE):
                some = found[start : start + AT_ONCE]
                await asyncio.gather(*map(one, some))
                for version in some:
                    click.echo(_line(version, on=on, as_json=as_json))
            count += len(found)
    finally:
        await store.close()
    if not as_json:
        click.echo(f"{count:,} versions {_said(on=on)}")


def _line(version: ObjectVersion, *, on: bool, as_json: bool) -> str:
    if as_json:
        listed = {"name": version.key, "version": version.version_id, "legal_hold": on}
        return json.dumps(listed)
    return f"{_said(on=on)}  {version.key}  version {version.version_id}"


def _said(*, on: bool) -> str:
    return "held" if on else "released"
