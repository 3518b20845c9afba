"""Snapshots of one running projection of one log: restored at its start, taken while it runs.

Nothing here can hold the projection up or stop it. Between two batches a state is copied; all else
happens beside. What fails is said, counted and tried again later; a start waits for a store only
so long, and goes on from leaf 0 without it.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from projections.ports import Position
from projections.snapshots.cleanup import Cleaner
from projections.snapshots.gauges import SnapshotGauges
from projections.snapshots.manifest import Manifest, SavedAt
from projections.snapshots.parts import TakenParts
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.restoring import (
    BESIDE,
    RestoredState,
    SnapshotReader,
    restore_into,
)
from projections.snapshots.store import SnapshotStore
from projections.snapshots.world import (
    OpenedPlace,
    Restored,
    Saveable,
    SnapshotSubject,
    SnapshotWorld,
)
from projections.snapshots.writing import Saved, SnapshotPlan, SnapshotWriter
from streams.errors import AttestreamError, TransientError
from streams.tasks import any_of, cancelled
from streams.telemetry import metrics
from streams.telemetry.logs import get_log

__all__ = ["SnapshotKeeper"]

RESTORE_S = 30.0
TRIED_MAX = 3  # snapshots that fit, newest first
TOLD_MAX = 3  # of those that do not, one by one
RETRY_S = 60.0
START = Position(0, None, None)
log = get_log("snapshots")


class _Taken(NamedTuple):
    parts: TakenParts
    saved_at: SavedAt


class SnapshotKeeper:
    """The snapshots of one projection of one log, from its start to its end."""

    def __init__(self, world: SnapshotWorld, subject: SnapshotSubject, target: Saveable) -> None:
        self._world = world
        self._subject = subject
        self._target = target
        self._previous: Saved | None = None
        self._place: SavedAt | None = None
        self._is_whole = True
        self._waiting: tuple[SnapshotWriter, SnapshotPlan, asyncio.Future[_Taken]] | None = None
        self._requests: list[asyncio.Future[Manifest]] = []
        self._wanted = asyncio.Event()
        self._tried_at = world.clock.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._gauges = SnapshotGauges(world.clock, subject.origin, subject.projection)

    @property
    def projection(self) -> str:
        """Its name in manifests."""
        return self._subject.projection

    async def resume(self) -> Position:
        """Restore the newest snapshot that fits the log, and go on taking them.

        Never fails: without a snapshot the projection begins at leaf 0, and it is said why.
        """
        restored, began = None, self._world.clock.monotonic()
        try:
            async with asyncio.timeout(RESTORE_S):
                restored = await self._restored()
        except TimeoutError:
            self._say("no snapshot", f"the store gave none within {RESTORE_S:.0f} s")
        except AttestreamError as error:
            self._say("no snapshot", str(error))
        if restored is None:
            self._target.forget()
        else:
            self._note_restored(restored, began)
        self._task = asyncio.create_task(self._run(), name=f"snapshots of {self._subject.origin}")
        self._world.local.add(self)
        return restored.position if restored else START

    def breaks_up(self) -> None:
        """A batch is being applied: the state is not whole until `stands`."""
        self._is_whole = False

    def stands(self, saved_at: SavedAt) -> None:
        """The state is whole, at this place; if a snapshot is due it is copied now."""
        self._is_whole, self._place = True, saved_at
        self._gauges.applied(saved_at.size)
        if self._leaves() >= self._world.schedule.leaves and self._may_try():
            self._wanted.set()
        if self._waiting is not None:
            writer, plan, future = self._waiting
            self._waiting = None
            if not future.done():
                self._hand_over(writer, plan, future)

    async def create(self) -> Manifest:
        """Take a snapshot now.

        Raises:
            AttestreamError: why there is none.
        """
        done: asyncio.Future[Manifest] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            raise self._closed()
        self._requests.append(done)
        self._wanted.set()
        return await done

    async def close(self) -> None:
        """End what is under way; a snapshot half written is none. Idempotent."""
        self._world.local.remove(self)
        await cancelled(self._task)
        self._task = None
        self._gauges.clear()

    def _closed(self) -> TransientError:
        return TransientError(f"{self._subject.origin}: its index was closed")

    def _store(self, place: OpenedPlace) -> SnapshotStore:
        subject = self._subject
        return SnapshotStore(
            objects=place.objects, origin=subject.origin, projection=subject.projection
        )

    async def _restored(self) -> RestoredState | None:
        async with self._world.open() as place:
            store = self._store(place)
            reader = SnapshotReader(store=store, keys=place.keys)
            tried = passed = 0
            there = await store.snapshots()
            for place_of_it, snapshot in enumerate(there):
                try:
                    fitting = await reader.fitting(snapshot, self._subject)
                    await _check_key(reader, fitting.manifest, there[place_of_it + 1 :])
                except SnapshotRefusedError as error:
                    # Whoever may write there can plant these: they push no honest one out.
                    passed += 1
                    if passed <= TOLD_MAX:
                        self._say("snapshot refused", f"{snapshot}: {error}")
                    continue
                try:
                    return await restore_into(self._target, reader, fitting, self._subject)
                except SnapshotRefusedError as error:
                    self._target.forget()
                    self._say("snapshot refused", f"{snapshot}: {error}")
                tried += 1
                if tried == TRIED_MAX:
                    break
            if passed > TOLD_MAX:
                self._say("no snapshot", f"{passed} cannot be read or do not fit the log")
        return None

    def _note_restored(self, restored: RestoredState, began: float) -> None:
        self._previous, manifest = restored.saved, restored.saved.manifest
        self._place = manifest.saved_at
        seconds = self._world.clock.monotonic() - began
        self._gauges.saved(manifest)
        self._gauges.applied(manifest.saved_at.size)
        log.info(
            "snapshot restored",
            origin=self._subject.origin,
            projection=self._subject.projection,
            snapshot=manifest.snapshot,
            leaves=manifest.saved_at.size,
            seconds=round(seconds, 3),
        )
        self._subject.restored(Restored(manifest, seconds))

    async def _run(self) -> None:
        try:
            await self._take_as_due()
        finally:
            self._settle(self._closed())

    async def _take_as_due(self) -> NoReturn:
        while True:
            await any_of(self._wanted, set(), self._wait_s())
            if not (self._requests or self._is_due()):
                self._wanted.clear()
                continue
            self._wanted.clear()
            self._tried_at = self._world.clock.monotonic()
            try:
                manifest = await self._save()
            except AttestreamError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001  # a stream does not end for want of a copy
                self._failed(TransientError(f"a defect: {type(error).__name__}: {error}"))
            else:
                self._settle(manifest)

    def _failed(self, error: AttestreamError) -> None:
        metrics.SNAPSHOT_FAILURES.labels(self._subject.projection).inc()
        self._say("snapshot failed", str(error))
        self._settle(error)

    async def _save(self) -> Manifest:
        world, began = self._world, self._world.clock.monotonic()
        if self._place is None:
            raise SnapshotRefusedError(f"{self._subject.origin}: nothing to save, no leaf applied")
        async with world.open() as place:
            store = self._store(place)
            with world.exclusive(store.root):
                writer = SnapshotWriter(
                    store=store,
                    keys=place.keys,
                    parameters=self._subject.parameters,
                    clock=world.clock,
                )
                plan = await writer.plan(self._previous)
                taken, saved_at = await self._taken(writer, plan)
                self._previous = saved = await writer.write(plan, taken, saved_at)
            self._gauges.saved(saved.manifest)
            seconds = world.clock.monotonic() - began
            metrics.SNAPSHOT_DURATION.labels(self._subject.projection).observe(seconds)
            self._note_saved(saved.manifest, len(plan.reused), seconds)
            await self._clean_up(store, place)
        return saved.manifest

    async def _taken(self, writer: SnapshotWriter, plan: SnapshotPlan) -> _Taken:
        future: asyncio.Future[_Taken] = asyncio.get_running_loop().create_future()
        if self._is_whole:
            self._hand_over(writer, plan, future)
        else:
            self._waiting = writer, plan, future
        return await future

    def _hand_over(
        self, writer: SnapshotWriter, plan: SnapshotPlan, future: asyncio.Future[_Taken]
    ) -> None:
        try:
            future.set_result(self._copied(writer, plan))
        except Exception as error:  # noqa: BLE001  # told by who waits for the copy
            future.set_exception(error)

    def _copied(self, writer: SnapshotWriter, plan: SnapshotPlan) -> _Taken:
        assert self._place is not None, "a whole state without place"
        state = self._target.export()
        beside = {f"{BESIDE}/{name}": one.export() for name, one in self._subject.beside.items()}
        parts = state._replace(changing={**state.changing, **beside})
        return _Taken(writer.taken(plan, parts), self._place)

    async def _clean_up(self, store: SnapshotStore, place: OpenedPlace) -> None:
        cleaner = Cleaner(
            store=store,
            objects=place.objects,
            keys=place.keys,
            clock=self._world.clock,
            kept=self._world.kept,
        )
        try:
            await cleaner.run()
        except AttestreamError as error:
            # The snapshot stands; what is superfluous goes another time.
            self._say("clean-up failed", str(error))

    def _wait_s(self) -> float:
        if self._requests:
            return 0.0
        since = self._world.clock.monotonic() - self._tried_at
        return max(self._world.schedule.period_s - since, 0.05)

    def _is_due(self) -> bool:
        elapsed = self._world.clock.monotonic() - self._tried_at
        by_time = elapsed >= self._world.schedule.period_s
        by_leaves = self._leaves() >= self._world.schedule.leaves and self._may_try()
        if by_time and not self._leaves():
            # Nothing new: the next look is a period from now.
            self._tried_at = self._world.clock.monotonic()
        return self._leaves() > 0 and (by_time or by_leaves)

    def _may_try(self) -> bool:
        pause = min(RETRY_S, self._world.schedule.period_s)
        return self._world.clock.monotonic() - self._tried_at >= pause or self._task is None

    def _leaves(self) -> int:
        saved = self._previous.manifest.saved_at.size if self._previous else 0
        return self._place.size - saved if self._place else 0

    def _settle(self, outcome: Manifest | AttestreamError) -> None:
        asked, self._requests = self._requests, []
        for future in asked:
            if future.done():
                continue
            if isinstance(outcome, Manifest):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

    def _note_saved(self, manifest: Manifest, reused: int, seconds: float) -> None:
        log.info(
            "snapshot taken",
            origin=self._subject.origin,
            projection=self._subject.projection,
            snapshot=manifest.snapshot,
            leaves=manifest.saved_at.size,
            bytes=manifest.size_bytes,
            chunks=len(manifest.chunks),
            reused=reused,
            seconds=round(seconds, 3),
        )

    def _say(self, what: str, why: str) -> None:
        log.warning(
            what, origin=self._subject.origin, projection=self._subject.projection, why=why
        )


async def _check_key(reader: SnapshotReader, manifest: Manifest, older: Sequence[str]) -> None:
    """Nothing is written under a key before once the first key has written something.

    Raises:
        SnapshotRefusedError: whoever wrote this has a key that is not used any more.
    """
    first = reader.keys.first.key_id
    if manifest.key == first:
        return
    for snapshot in older:
        try:
            earlier = await reader.manifest(snapshot)
        except SnapshotRefusedError:
            continue
        if earlier.key == first:
            raise SnapshotRefusedError(
                f"it was written under {manifest.key}, when {first} had taken its place already"
            )
