"""Archivers that crash, lose answers and compete: no leaf is missing from the archive or twice."""

import asyncio
import random
from pathlib import Path

import pytest

from projections.archive.fold import CutRules
from projections.archive.store import Head
from streams.errors import BreakError
from streams.objects import DirectoryObjectStore
from streams.segments import parse_object_name
from tests.support.archives import (
    archived,
    archiver,
    check_archive,
    run_archiver,
    stand_still,
)
from tests.support.faulty_objects import FATES, Fate, FaultyObjects
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import SealedLog, batches_of

RULES = CutRules(records_max=8)


def grown(seed: int = 0, batches: int = 20) -> SealedLog:
    """Batches of 1 to 9 records; some checkpoints lag; all is sealed in the end."""
    chance = random.Random(seed)
    log = SealedLog()
    for _ in range(batches):
        before = log.size
        log.append(chance.randint(1, 9))
        if chance.random() < 0.8:
            log.checkpoint(chance.randint(before + 1, log.size))
    log.append(1)
    log.checkpoint()
    return log


async def calls_of_a_quiet_run(log: SealedLog) -> int:
    objects = FaultyObjects(MemoryObjectStore(), lambda _name, _number: "")
    await run_archiver(objects, log, RULES)
    return len(objects.calls)


async def test_a_segment_is_written_before_its_manifest_and_that_before_its_anchor() -> None:
    log, objects = grown(), FaultyObjects(MemoryObjectStore(), lambda _name, _number: "")
    await run_archiver(objects, log, RULES)
    created = [call.removeprefix("create ") for call in objects.calls if call.startswith("create")]
    found = [parse_object_name(name) for name in created]
    kinds = [name.kind for name in found if name is not None]
    assert kinds == ["segment", "manifest", "anchor"] * (len(created) // 3)


@pytest.mark.parametrize("fate", FATES)
async def test_any_one_call_may_fail(fate: Fate) -> None:
    log = grown()
    calls = await calls_of_a_quiet_run(log)
    assert calls > 40
    for at in range(calls):
        objects = MemoryObjectStore()
        faulty = FaultyObjects(
            objects,
            lambda _name, number, at=at: fate if number == at else "",  # type: ignore[misc]
        )
        await run_archiver(faulty, log, RULES)
        await check_archive(objects, log, size=log.size)


@pytest.mark.parametrize("fate", FATES)
async def test_every_write_may_fail_once(fate: Fate) -> None:
    log = grown()
    objects = MemoryObjectStore()
    failed: set[str] = set()

    def first_time(call: str, _number: int) -> Fate:
        if not call.startswith("create") or call in failed:
            return ""
        failed.add(call)
        return fate

    faulty = FaultyObjects(objects, first_time)
    await run_archiver(faulty, log, RULES)
    await check_archive(objects, log, size=log.size)
    assert len(failed) == len(await objects.versions(""))


@pytest.mark.parametrize("seed", range(40))
async def test_competing_archivers_of_different_cuts_store_every_leaf_once(seed: int) -> None:
    chance = random.Random(seed)
    log = grown(seed, batches=12)

    def fate(_name: str, _number: int) -> Fate:
        return chance.choice(FATES) if chance.random() < 0.1 else ""

    objects = MemoryObjectStore()
    faulty = FaultyObjects(objects, fate)
    rules = [
        CutRules(records_max=chance.randint(1, 40), bytes_max=chance.randint(500, 9000))
        for _ in range(5)
    ]
    await asyncio.gather(*(run_archiver(faulty, log, rule, starts=500) for rule in rules))
    await check_archive(objects, log, size=log.size)


async def test_competing_archivers_share_a_directory(tmp_path: Path) -> None:
    chance = random.Random(7)
    log = grown(7, batches=12)
    stores = [
        FaultyObjects(
            DirectoryObjectStore(tmp_path),
            lambda _name, _number: chance.choice(FATES) if chance.random() < 0.1 else "",
        )
        for _ in range(3)
    ]
    await asyncio.gather(
        *(
            run_archiver(store, log, CutRules(records_max=size), starts=500)
            for store, size in zip(stores, (3, 10, 25), strict=True)
        )
    )
    await check_archive(DirectoryObjectStore(tmp_path), log, size=log.size)


async def test_a_zombie_that_wakes_late_changes_nothing() -> None:
    objects, log = MemoryObjectStore(), grown()
    zombie = archiver(objects, CutRules(records_max=3))
    await zombie.resume()
    await run_archiver(objects, log, RULES)
    before = await objects.versions("")
    await stand_still(zombie, log)
    assert await objects.versions("") == before


async def test_an_archiver_goes_on_where_the_store_says() -> None:
    objects, log = MemoryObjectStore(), grown()
    await run_archiver(objects, log, RULES)
    stored = await archived(objects)
    log.append(5)
    log.checkpoint()
    position = await archiver(objects).resume()
    assert position.index == log.size - 5
    assert position.opening is not None
    assert position.offset is not None
    last_stored, first_missing = log.rows[-8].offset, log.rows[-6].offset
    assert last_stored < position.offset <= first_missing
    await run_archiver(objects, log, RULES)
    assert (await archived(objects))[:-1] == stored
    await check_archive(objects, log, size=log.size)


async def test_what_is_not_sealed_is_not_archived() -> None:
    objects, log = MemoryObjectStore(), grown()
    sealed = log.size
    log.append(5)
    await run_archiver(objects, log, RULES)
    await check_archive(objects, log, size=sealed)


async def test_a_log_with_another_history_is_a_fork() -> None:
    objects = MemoryObjectStore()
    await run_archiver(objects, grown(), RULES)
    other = SealedLog(b"other ")
    other.append(20)
    other.checkpoint()
    began_before = archiver(objects, RULES)
    began_before._head = Head(0, None, "0" * 64, None)
    genesis, batch = batches_of(other)
    await began_before.apply(genesis)
    await began_before.apply(batch)
    with pytest.raises(BreakError) as found:
        await began_before.idle()
    assert (found.value.kind, found.value.index) == ("fork", 0)
