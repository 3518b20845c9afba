"""Tile writers that crash, lose answers and compete: what is published always verifies."""

import asyncio
import random
from pathlib import Path

import pytest

from projections.tiles.projection import PublishRules, TilesProjection, TilesWorld
from projections.tiles.store import TileStore
from streams.clock import SystemClock
from streams.errors import BreakError, RollbackError
from streams.objects import DirectoryObjectStore
from tests.support.faulty_objects import FATES, Fate, FaultyObjects
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog, batches_of
from tests.support.static_logs import (
    PREFIX,
    RowsReader,
    check_tiles,
    entries,
    run_tiler,
    static_files,
    tiler,
)

OFTEN = PublishRules(records_max=1, held_max=1)
LENGTHS = (3, 250, 10, 249, 1, 90, 20)


class WatchedObjects(MemoryObjectStore):
    """Checks the whole directory whenever a checkpoint appears: as a reader finds it."""

    def __init__(self, log: SealedLog) -> None:
        super().__init__()
        self.known = entries(log)
        self.sizes = [0]

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        tag = await super().replace(key, body, over=over)
        if key == f"{PREFIX}checkpoint":
            self.sizes.append(await check_tiles(self, self.known))
        return tag

    async def settled(self) -> None:
        # All of the log is published, no checkpoint was lower than one before it, and no file but
        # the checkpoint was written twice.
        assert await check_tiles(self, self.known) == len(self.known)
        assert self.sizes == sorted(self.sizes)
        names = [v.key for v in await self.versions(PREFIX) if not v.key.endswith("checkpoint")]
        assert len(names) == len(set(names))


def grown(lengths: tuple[int, ...] = LENGTHS) -> SealedLog:
    log = SealedLog()
    for length in lengths:
        log.append(length)
        log.checkpoint()
    return log


async def apply_all(projection: TilesProjection, log: SealedLog) -> None:
    for batch in batches_of(log):
        await projection.apply(batch)


async def calls_of_a_quiet_run(log: SealedLog) -> int:
    objects = FaultyObjects(WatchedObjects(log), lambda _name, _number: "")
    await run_tiler(objects, log, OFTEN)
    return len(objects.calls)


@pytest.mark.parametrize("fate", FATES)
async def test_any_one_call_may_fail(fate: Fate) -> None:
    log = grown()
    calls = await calls_of_a_quiet_run(log)
    assert calls > 25
    for at in range(calls):
        objects = WatchedObjects(log)
        faulty = FaultyObjects(
            objects,
            lambda _name, number, at=at: fate if number == at else "",  # type: ignore[misc]
        )
        await run_tiler(faulty, log, OFTEN)
        await objects.settled()


@pytest.mark.parametrize("fate", FATES)
async def test_every_file_may_fail_once(fate: Fate) -> None:
    log = grown()
    failed: set[str] = set()

    def first_time(call: str, _number: int) -> Fate:
        if not call.startswith("replace") or call in failed:
            return ""
        failed.add(call)
        return fate

    objects = WatchedObjects(log)
    await run_tiler(FaultyObjects(objects, first_time), log, OFTEN)
    assert len(failed) > 10
    await objects.settled()


@pytest.mark.parametrize("seed", range(20))
async def test_competing_writers_that_crash_leave_a_log_that_verifies(seed: int) -> None:
    chance = random.Random(seed)
    log = grown(tuple(chance.randint(1, 120) for _ in range(8)))

    def fate(_name: str, _number: int) -> Fate:
        return chance.choice(FATES) if chance.random() < 0.1 else ""

    objects = WatchedObjects(log)
    faulty = FaultyObjects(objects, fate)
    rules = [
        PublishRules(records_max=chance.randint(1, 300), held_max=chance.randint(1, 4))
        for _ in range(5)
    ]
    await asyncio.gather(*(run_tiler(faulty, log, rule, starts=500) for rule in rules))
    await objects.settled()


async def test_competing_writers_share_a_directory(tmp_path: Path) -> None:
    chance = random.Random(7)
    log = grown()
    stores = [
        FaultyObjects(
            DirectoryObjectStore(tmp_path),
            lambda _name, _number: chance.choice(FATES) if chance.random() < 0.1 else "",
        )
        for _ in range(3)
    ]
    await asyncio.gather(
        *(
            run_tiler(store, log, PublishRules(records_max=size, held_max=2), starts=500)
            for store, size in zip(stores, (1, 100, 300), strict=True)
        )
    )
    assert await check_tiles(DirectoryObjectStore(tmp_path), entries(log)) == log.size


async def test_a_writer_that_slept_does_not_bring_back_an_old_checkpoint() -> None:
    objects, log = MemoryObjectStore(), grown()
    sleeper = tiler(objects, log)
    position = await sleeper.resume()
    batches = list(batches_of(log, position))
    for batch in batches[:4]:
        await sleeper.apply(batch)
    await run_tiler(objects, log, OFTEN)
    before = await static_files(objects)
    await sleeper.idle()
    after = await static_files(objects)
    assert after["checkpoint"] == before["checkpoint"]
    assert await check_tiles(objects, entries(log)) == log.size
    for batch in batches[4:]:
        await sleeper.apply(batch)
    await sleeper.idle()
    assert (await static_files(objects))["checkpoint"] == before["checkpoint"]


async def test_a_writer_goes_on_where_the_published_checkpoint_ends() -> None:
    objects, log = MemoryObjectStore(), grown()
    await run_tiler(objects, log, OFTEN)
    known = set(await static_files(objects))
    log.append(5)
    log.checkpoint()
    position = await tiler(objects, log).resume()
    assert position.index == log.size - 5
    assert position.opening is not None
    assert position.offset is not None
    last_published, first_missing = log.rows[-8].offset, log.rows[-6].offset
    assert last_published < position.offset <= first_missing
    await run_tiler(objects, log, OFTEN)
    assert await check_tiles(objects, entries(log)) == log.size
    assert known < set(await static_files(objects))


async def test_what_is_not_sealed_is_not_published() -> None:
    objects, log = MemoryObjectStore(), grown()
    sealed = log.size
    log.append(5)
    await run_tiler(objects, log, OFTEN)
    assert await check_tiles(objects, entries(log)) == sealed


async def test_an_empty_log_publishes_nothing() -> None:
    objects, log = MemoryObjectStore(), SealedLog()
    await run_tiler(objects, log)
    assert await static_files(objects) == {}


async def test_published_tiles_of_another_history_stop_the_writer() -> None:
    other = SealedLog(b"other ")
    for length in LENGTHS:
        other.append(length)
        other.checkpoint()
    objects, log = MemoryObjectStore(), grown()
    late = tiler(objects, log, OFTEN)
    await late.resume()
    await run_tiler(objects, other, OFTEN)
    with pytest.raises(BreakError) as found:
        await apply_all(late, log)
    assert (found.value.kind, found.value.index) == ("archive", 0)
    assert await check_tiles(objects, entries(other)) == other.size


async def test_another_root_of_the_published_size_is_a_fork() -> None:
    # The tiles of the other history were cleaned up: only its checkpoint is left.
    other = SealedLog(b"other ")
    other.append(12)
    note = other.checkpoint().note
    for lengths in ((12,), (7, 20)):
        objects, log = MemoryObjectStore(), grown(lengths)
        late = tiler(objects, log, PublishRules(records_max=1))
        await late.resume()
        await objects.replace(f"{PREFIX}checkpoint", note.encode())
        with pytest.raises(BreakError) as found:
            await apply_all(late, log)
        assert found.value.kind == "fork"
        assert (await static_files(objects))["checkpoint"] == note.encode()


async def test_a_log_that_lost_what_is_published_stops_its_writer() -> None:
    objects, log = MemoryObjectStore(), grown()
    await run_tiler(objects, log, OFTEN)
    shorter = grown(LENGTHS[:-1])
    with pytest.raises(RollbackError, match="ends before record 622"):
        await tiler(objects, shorter).resume()


async def test_what_was_published_behind_a_fork_does_not_hold_up_its_writer() -> None:
    """The log lost it, and the operator accepted what is left: the writer has all of that."""
    objects, log = MemoryObjectStore(), grown()
    await run_tiler(objects, log, OFTEN)
    shorter = grown(LENGTHS[:-1])
    world = TilesWorld(
        objects=objects,
        keys=KEYS,
        clock=SystemClock(),
        open_reader=lambda: RowsReader(shorter.rows),
        ended_at=lambda: shorter.size,
    )
    position = await TilesProjection(world, ORIGIN).resume()
    assert (position.index, position.offset) == (log.size, None)


@pytest.mark.parametrize(
    ("path", "index"),
    [("tile/0/002.p/111", 0), ("tile/1/000.p/2", 0), ("tile/entries/002.p/111", 622)],
)
async def test_an_altered_file_at_the_edge_stops_the_writer(path: str, index: int) -> None:
    objects, log = MemoryObjectStore(), grown()
    await run_tiler(objects, log, OFTEN)
    body = bytearray((await static_files(objects))[path])
    body[-3] ^= 1
    objects.overlay(PREFIX + path, bytes(body))
    with pytest.raises(BreakError) as found:
        await tiler(objects, log).resume()
    assert (found.value.kind, found.value.index) == ("archive", index)


@pytest.mark.parametrize("body", [b"\xff", b"no note", b""])
async def test_a_checkpoint_that_is_none_stops_the_writer(body: bytes) -> None:
    objects, log = MemoryObjectStore(), grown()
    objects.overlay(f"{PREFIX}checkpoint", body)
    with pytest.raises(BreakError) as found:
        await tiler(objects, log).resume()
    assert found.value.kind == "altered"


async def test_partial_tiles_that_were_cleaned_up_are_cut_from_full_ones() -> None:
    objects, log = MemoryObjectStore(), grown()
    await run_tiler(objects, log, OFTEN)
    behind = grown(LENGTHS)
    behind.append(300)
    behind.checkpoint()
    written = tiler(objects, behind, PublishRules(held_max=1, records_max=10_000))
    for batch in batches_of(behind, await written.resume()):
        await written.apply(batch)
    # Now full tiles stand behind the published checkpoint, and the process is killed.
    for path in await static_files(objects):
        if ".p/" in path and "tile/1/" not in path:
            objects.mark_deleted(PREFIX + path)
    await run_tiler(objects, behind, OFTEN)
    assert await check_tiles(objects, entries(behind)) == behind.size


async def test_a_second_signature_of_the_published_size_is_published_and_stays() -> None:
    objects, log = MemoryObjectStore(), grown()
    live = tiler(objects, log, OFTEN)
    await live.resume()
    await apply_all(live, log)
    first = (await static_files(objects))["checkpoint"].decode()
    rotated = log.checkpoint(rotated=True).note
    await live.apply(list(batches_of(log))[-1])
    await live.idle()
    assert (await static_files(objects))["checkpoint"] == rotated.encode()
    store = TileStore(objects=objects, origin=ORIGIN, keys=KEYS)
    published = await store.published()
    assert published is not None
    assert await store.publish(published.text, first) == published
    assert (await static_files(objects))["checkpoint"] == rotated.encode()
