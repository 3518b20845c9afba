"""`attestream snapshot`: an index's state, saved and restored, and who can read it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import SettingsError, TransientError
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from projections.snapshots.inspection import SnapshotFacts
    from projections.snapshots.store import SnapshotStore
    from projections.snapshots.world import OpenedPlace

__all__ = ["snapshot"]

DAMAGED = 28
F = TypeVar("F", bound=Callable[..., Any])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def snapshot() -> None:
    """Snapshots of the decision index, so that a start need not read its log from leaf 0.

    They are in ATTESTREAM_SNAPSHOTS, encrypted under VECTOR_INDEX_KEY or a KMS key.
    """


@snapshot.command()
@AS_JSON
@in_directory
@exit_on_failure
def create(*, as_json: bool) -> None:
    """Take a snapshot of every decision log now.

    With ATTESTREAM_URL the worker there takes them, of the logs that are its own, while it goes
    on; without, each log is read here, from its newest snapshot on.

    Example: ATTESTREAM_URL=http://127.0.0.1:6066 attestream snapshot create
    """
    settings = load_settings(os.environ)
    made = asyncio.run(_asked(settings.url) if settings.url else _made_here(settings))
    for one in made:
        click.echo(json.dumps(one) if as_json else _line_made(one))


@snapshot.command(name="list")
@AS_JSON
@in_directory
@exit_on_failure
def list_(*, as_json: bool) -> None:
    """List all snapshots, newest first, each manifest authenticated.

    Example: attestream snapshot list --json
    """
    for facts in asyncio.run(_listed(load_settings(os.environ))):
        click.echo(json.dumps(_told(facts)) if as_json else _line(facts))


@snapshot.command()
@click.argument("snapshots", nargs=-1, metavar="[SNAPSHOT]...")
@AS_JSON
@in_directory
@exit_on_failure
def verify(snapshots: tuple[str, ...], *, as_json: bool) -> None:
    """Read every chunk of these snapshots, or of all, and check it; nothing is restored.

    Exit status 28: a snapshot is damaged, incomplete, or not for the keys at hand.

    Example: attestream snapshot verify
    """
    problems = asyncio.run(_verified(load_settings(os.environ), snapshots, as_json=as_json))
    sys.exit(DAMAGED if problems else 0)


@snapshot.command()
@click.argument("wanted", required=False, metavar="[SNAPSHOT]")
@click.option("--compare", is_flag=True, help="Rebuild from leaf 0 too: both must be the same.")
@AS_JSON
@in_directory
@exit_on_failure
def restore(wanted: str | None, *, compare: bool, as_json: bool) -> None:
    """Rehearse a restore: the newest snapshot of each log, or this one, in memory.

    It is checked against the log, searched in, and carried on to the log's end. A worker does the
    same at its start. Nothing is written.

    Exit status 28: it was refused, or is not what a rebuild gives.

    Example: attestream snapshot restore --compare
    """
    from projections.saved_logs import rehearse  # noqa: PLC0415  # optional dependencies

    settings, failed = load_settings(os.environ), False
    for one in asyncio.run(rehearse(settings, wanted, compare=compare)):
        failed |= bool(one.problem)
        click.echo(json.dumps(one._asdict()) if as_json else str(one))
    sys.exit(DAMAGED if failed else 0)


@snapshot.command()
@click.option("--dry-run", is_flag=True, help="Say what would become of each; remove nothing.")
@click.option("--daily", default=7, show_default=True, type=click.IntRange(0, 10_000))
@click.option("--weekly", default=4, show_default=True, type=click.IntRange(0, 10_000))
@click.option("--monthly", default=6, show_default=True, type=click.IntRange(0, 10_000))
@AS_JSON
@in_directory
@exit_on_failure
def cleanup(*, dry_run: bool, daily: int, weekly: int, monthly: int, as_json: bool) -> None:
    """Remove what no rule keeps and no lock holds, and the chunks nobody names any more.

    Days, ISO weeks and months are those of UTC. The newest that can be restored always stays.

    Example: attestream snapshot cleanup --dry-run
    """
    if not any((daily, weekly, monthly)):
        raise SettingsError(["--daily, --weekly, --monthly: expected to keep at least one"])
    rules = (daily, weekly, monthly)
    for one in asyncio.run(_cleaned(load_settings(os.environ), rules, dry_run=dry_run)):
        click.echo(json.dumps(one) if as_json else _line_judged(one))


@snapshot.command()
@AS_JSON
@in_directory
@exit_on_failure
def rekey(*, as_json: bool) -> None:
    """Wrap every data key by the key that is set first; nothing else is written anew.

    The newest snapshot of each log is then restored with that key alone and searched in; what was
    done is published in the operations, and sealed.

    Example: VECTOR_INDEX_KEY_PREVIOUS=$OLD VECTOR_INDEX_KEY=$NEW attestream snapshot rekey
    """
    from projections.saved_logs import rotate  # noqa: PLC0415  # optional dependencies

    done = asyncio.run(rotate(load_settings(os.environ)))
    if as_json:
        click.echo(json.dumps(done._asdict()))
    else:
        click.echo(str(done))
    sys.exit(DAMAGED if done.refused else 0)


async def _asked(url: str) -> list[dict[str, Any]]:
    import aiohttp  # noqa: PLC0415  # optional dependency

    address = f"{url.rstrip('/')}/v1/snapshots/decisions"
    try:
        async with aiohttp.ClientSession() as session, session.post(address) as answer:
            body: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise TransientError(f"{address} gave no answer: {error}") from error
    if answer.status != 200:
        raise TransientError(str(body.get("error", answer.status)))
    made: list[dict[str, Any]] = body["snapshots"]
    return made


async def _made_here(settings: Settings) -> list[dict[str, Any]]:
    from projections.saved_logs import save_logs  # noqa: PLC0415  # optional dependencies

    return await save_logs(settings)


@asynccontextmanager
async def _stores(settings: Settings) -> "AsyncIterator[tuple[OpenedPlace, list[SnapshotStore]]]":
    from projections.snapshots.inspection import stores_in  # noqa: PLC0415
    from projections.snapshots.opening import open_place  # noqa: PLC0415

    async with open_place(settings) as place:
        yield place, await stores_in(place)


async def _listed(settings: Settings) -> "list[SnapshotFacts]":
    from projections.snapshots.inspection import facts_of  # noqa: PLC0415

    async with _stores(settings) as (place, stores):
        return [facts for store in stores for facts in await facts_of(store, place)]


async def _verified(settings: Settings, wanted: tuple[str, ...], *, as_json: bool) -> int:
    from projections.snapshots.inspection import verify_snapshot  # noqa: PLC0415
    from projections.snapshots.refusal import SnapshotRefusedError  # noqa: PLC0415

    problems, seen = 0, set[str]()
    async with _stores(settings) as (place, stores):
        for store in stores:
            for one in await store.snapshots():
                if wanted and one not in wanted:
                    continue
                seen.add(one)
                problem, parts = "", dict[str, int]()
                try:
                    parts = dict(await verify_snapshot(store, place, one))
                except SnapshotRefusedError as error:
                    problem = str(error)
                problems += bool(problem)
                told = {
                    "snapshot": one,
                    "origin": store.origin,
                    "bytes": sum(parts.values()),
                    "problem": problem,
                }
                said = problem or f"whole, {sum(parts.values()):,} bytes of state"
                click.echo(json.dumps(told) if as_json else f"{one}  {store.origin}  {said}")
    if missing := sorted(set(wanted) - seen):
        raise SettingsError([f"no such snapshot: {', '.join(missing)}"])
    return problems


async def _cleaned(
    settings: Settings, rules: tuple[int, int, int], *, dry_run: bool
) -> list[dict[str, Any]]:
    from projections.snapshots.cleanup import Cleaner  # noqa: PLC0415
    from projections.snapshots.retention import Kept  # noqa: PLC0415
    from streams.clock import SystemClock  # noqa: PLC0415

    told: list[dict[str, Any]] = []
    async with _stores(settings) as (place, stores):
        for store in stores:
            cleaner = Cleaner(
                store=store,
                objects=place.objects,
                keys=place.keys,
                clock=SystemClock(),
                kept=Kept(*rules),
            )
            report = await cleaner.run(dry_run=dry_run)
            told += [
                {"origin": store.origin, "projection": store.projection, **verdict._asdict()}
                for verdict in report.verdicts
            ]
            told.append(
                {
                    "origin": store.origin,
                    "projection": store.projection,
                    "dry_run": dry_run,
                    "removed_objects": report.objects,
                    "removed_bytes": report.bytes,
                    "locked_objects": report.waiting,
                }
            )
    return told


def _told(facts: "SnapshotFacts") -> dict[str, Any]:
    manifest = facts.manifest
    return {
        "snapshot": facts.snapshot,
        "projection": facts.projection,
        "origin": facts.origin,
        "created": _time(facts.created_ms),
        "keys": list(facts.keys),
        "size": manifest.saved_at.size if manifest else None,
        "root": manifest.saved_at.root.hex() if manifest else None,
        "bytes": manifest.size_bytes if manifest else None,
        "chunks": len(manifest.chunks) if manifest else None,
        "locked_until": _time(manifest.retained_until) if manifest else None,
        "problem": facts.problem,
    }


def _line(facts: "SnapshotFacts") -> str:
    told = _told(facts)
    if facts.manifest is None:
        return f"{facts.snapshot}  {told['created']}  {facts.origin}  {facts.problem}"
    return (
        f"{facts.snapshot}  {told['created']}  {facts.origin}  {told['size']:,} leaves  "
        f"{told['bytes']:,} bytes  locked until {told['locked_until']}  {', '.join(facts.keys)}"
    )


def _line_made(one: dict[str, Any]) -> str:
    return f"{one['snapshot']}  {one['origin']}  {one['size']:,} leaves  {one['bytes']:,} bytes"


def _line_judged(one: dict[str, Any]) -> str:
    if "snapshot" not in one:
        did = "would remove" if one["dry_run"] else "removed"
        return (
            f"{one['origin']}: {did} {one['removed_objects']} objects nobody names, "
            f"{one['removed_bytes']:,} bytes; {one['locked_objects']} are locked"
        )
    return f"{one['snapshot']}  {'keep' if one['is_kept'] else 'remove'}  {one['reason']}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
