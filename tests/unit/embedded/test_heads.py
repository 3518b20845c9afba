"""The roster as it is written: what changed, verbatim, and nothing for its own sake."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from schemas.codec import decode_head
from schemas.errors import DecodeError
from schemas.heads import LogHead
from streams.clock import SystemClock
from streams.heads import HeadsWriter, newest_checkpoint
from streams.history import read_range
from streams.ports import NewRecord
from streams.segments import manifest_name
from tests.support.faulty_objects import FaultyObjects
from tests.support.sealing_world import SealingWorld, sealing_world


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[SealingWorld]:
    async with sealing_world(tmp_path) as world:
        yield world


def writer(at: SealingWorld, period_s: float = 60) -> HeadsWriter:
    return HeadsWriter(at.engine, at.objects, period_s, SystemClock())


async def sent(at: SealingWorld) -> list[LogHead]:
    reader = at.engine.reader(at.engine.topology.heads, 0)
    rows = await read_range(reader, 0, (await reader.bounds()).end)
    assert all(row.key == decode_head(row).origin.encode() for row in rows)
    return [decode_head(row) for row in rows]


async def test_newest_checkpoint_is_written_verbatim(at: SealingWorld) -> None:
    await at.produce(b"a", b"b")
    await at.seal(2)
    (head,) = await writer(at).write()
    newest = await newest_checkpoint(at.engine.reader(at.engine.topology.audit(at.topic), 0))
    assert newest is not None
    assert (head.origin, head.note) == (at.origin, newest.note)
    assert head.note.split("\n")[1] == "2"
    assert await sent(at) == [head]


async def test_what_did_not_change_is_not_written_again(at: SealingWorld) -> None:
    heads = writer(at)
    assert await heads.write() == []
    await at.produce(b"a")
    await at.seal(1)
    assert len(await heads.write()) == 1
    assert await heads.write() == []
    await at.produce(b"b")
    await at.seal(2)
    assert len(await heads.write()) == 1
    assert len(await sent(at)) == 2


async def test_a_log_nobody_can_read_keeps_no_other_off_the_roster(at: SealingWorld) -> None:
    await at.produce(b"a")
    await at.seal(1)
    topology = at.engine.topology
    planting = at.engine.writer(topology.audit(topology.memory), 0)
    await planting.start()
    await planting.append([NewRecord(0, b"no value of an audit partition")])
    with pytest.raises(DecodeError):
        await writer(at).write()
    assert [head.origin for head in await sent(at)] == [at.origin]


async def test_newest_manifest_is_named_by_its_digest(at: SealingWorld) -> None:
    await at.produce(b"a")
    await at.seal(1)
    heads = writer(at)
    assert (await heads.write())[0].manifest_sha256 is None
    for first, body in ((0, b"first"), (10, b"second"), (9, b"between")):
        await at.objects.create(manifest_name(at.origin, first), body, retain_days=1)
    planted = manifest_name(at.origin, 99).replace(".json", ".json.bak")
    await at.objects.create(planted, b"no manifest", retain_days=1)
    assert (await heads.write())[0].manifest_sha256 == sha256(b"second").digest()


async def test_it_is_written_while_its_partition_is_sealed_and_no_longer(at: SealingWorld) -> None:
    await at.produce(b"a")
    await at.seal(1)
    done = asyncio.Event()

    async def sealing() -> None:
        await done.wait()

    beside = asyncio.create_task(writer(at, 0.01).run_beside(sealing()))
    async with asyncio.timeout(5):
        while not await sent(at):  # noqa: ASYNC110  # a topic has no events
            await asyncio.sleep(0.01)
        done.set()
        await beside
    assert len(await sent(at)) == 1


async def test_what_stops_the_sealer_is_not_swallowed(at: SealingWorld) -> None:
    async def sealing() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        await writer(at, 0.01).run_beside(sealing())


async def test_failing_store_is_asked_again(at: SealingWorld) -> None:
    await at.produce(b"a")
    await at.seal(1)
    objects = FaultyObjects(at.objects, lambda _call, number: "lost" if number < 3 else "")
    heads = HeadsWriter(at.engine, objects, 0.01, SystemClock())

    async def sealing() -> None:
        await asyncio.Event().wait()

    beside = asyncio.create_task(heads.run_beside(sealing()))
    async with asyncio.timeout(5):
        while not await sent(at):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert len(objects.calls) > 3
    beside.cancel()
    await asyncio.wait({beside})
