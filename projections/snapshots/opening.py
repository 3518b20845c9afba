"""Snapshots as the settings describe them: where, under which keys, how often."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from projections.snapshots.local import LocalSnapshots
from projections.snapshots.world import OpenedPlace, Schedule, SnapshotWorld
from streams.archive_root import open_snapshot_objects, snapshots_url
from streams.errors import SettingsError, TransientError
from streams.keys.index_keys import NO_INDEX_KEY, has_index_key, open_index_keys
from streams.ports import Clock
from streams.settings import Settings

__all__ = ["open_place", "snapshot_world", "why_no_snapshots"]

LOCK_DIGITS = 16


def why_no_snapshots(settings: Settings) -> str:
    """What keeps this deployment from having snapshots, in one sentence; empty if nothing does."""
    if snapshots_url(settings) is None:
        return "no place for snapshots: set ATTESTREAM_SNAPSHOTS to s3://bucket/prefix"
    return "" if has_index_key(settings) else NO_INDEX_KEY


def snapshot_world(
    settings: Settings, clock: Clock, local: LocalSnapshots
) -> SnapshotWorld | None:
    """The snapshots of this deployment; None where `why_no_snapshots` says why. Opens nothing."""
    if why_no_snapshots(settings):
        return None
    return SnapshotWorld(
        open=lambda: open_place(settings),
        exclusive=_exclusive(settings),
        clock=clock,
        schedule=Schedule(settings.snapshot_s, settings.snapshot_leaves),
        local=local,
    )


@asynccontextmanager
async def open_place(settings: Settings) -> AsyncIterator[OpenedPlace]:
    """The store and the keys.

    Raises:
        SettingsError: none is set, or one that cannot be used.
        MissingExtraError: a client library is not installed.
        TransientError: no answer.
    """
    if why := why_no_snapshots(settings):
        raise SettingsError([why])
    async with open_index_keys(settings) as keys:
        # Making a client of S3 takes 0.1 s.
        objects = await asyncio.to_thread(open_snapshot_objects, settings)
        try:
            yield OpenedPlace(objects, keys)
        finally:
            await objects.close()


def _exclusive(settings: Settings) -> Callable[[str], AbstractContextManager[None]]:
    """One writer at a time on this machine, where there is a directory to agree in.

    Two on two machines do no harm: objects are created once, under names of their own, and what
    one names again the other cannot remove.
    """
    url = snapshots_url(settings)
    if url is not None and "://" not in url:
        folder = Path(url)
    elif not settings.on_kafka:
        folder = settings.home
    else:
        return lambda _root: nullcontext()

    @contextmanager
    def alone(root: str) -> Iterator[None]:
        lock = FileLock(folder / f".writing-{sha256(root.encode()).hexdigest()[:LOCK_DIGITS]}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise TransientError(
                f"another process writes snapshots of {root} into {folder}: try again when it "
                "has ended"
            ) from error
        except OSError as error:
            raise SettingsError([f"{folder} cannot be locked: {error.strerror}"]) from error
        try:
            yield
        finally:
            lock.release()

    return alone
