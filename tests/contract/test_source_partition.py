"""The laws of `SourcePartition`: a reader that is owned, and a position that is never lost."""

import asyncio

import pytest

from schemas.records import Record
from streams.errors import NotOwnerError
from streams.ports import Posted, SourcePartition
from tests.contract.engines import EngineUnderTest

RECORDS = [Record(0, 1_700_000_000_000 + n, b"k", b"%d" % n) for n in range(10)]
FIRST = Posted(3, 3, bytes(range(32)))
SECOND = Posted(2**40, 2**40 - 1, b"\xff" * 32)
OF_AN_EPOCH = Posted(0, 0, bytes(32), epoch=3)


async def values(source: SourcePartition, offset: int = 0) -> list[bytes | None]:
    fetched = await source.fetch(offset, max_records=100, max_wait_ms=500)
    return [record.value for record in fetched.records]


async def test_an_owned_partition_reads_like_any_other(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    await engine.feed(topic, 0, RECORDS)
    source = await engine.own(topic)
    assert (source.topic, source.partition) == (topic, 0)
    assert await values(source) == [r.value for r in RECORDS]
    assert await values(source, 7) == [r.value for r in RECORDS[7:]]
    assert (await source.bounds()).end == 10
    assert (await source.facts()).cleanup_policy == "delete"


async def test_nothing_is_posted_at_first(engine: EngineUnderTest) -> None:
    assert await (await engine.own(await engine.topic())).posted() is None


async def test_what_was_posted_last_is_what_is_posted(engine: EngineUnderTest) -> None:
    source = await engine.own(await engine.topic())
    for posted in (FIRST, FIRST, SECOND, OF_AN_EPOCH):
        await source.post(posted)
        assert await source.posted() == posted


async def test_the_next_owner_finds_what_was_posted(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    await (await engine.own(topic)).post(SECOND)
    assert await (await engine.take_over(topic)).posted() == SECOND


async def test_partitions_have_positions_of_their_own(engine: EngineUnderTest) -> None:
    topic = await engine.topic(2)
    left, right = await engine.own(topic, 0), await engine.own(topic, 1)
    await asyncio.gather(left.post(FIRST), right.post(SECOND))
    assert (await left.posted(), await right.posted()) == (FIRST, SECOND)


async def test_a_lost_partition_can_neither_be_read_nor_posted(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    await engine.feed(topic, 0, RECORDS)
    old = await engine.own(topic)
    await old.post(FIRST)
    new = await engine.take_over(topic)
    await new.post(SECOND)
    with pytest.raises(NotOwnerError, match=topic):
        await old.fetch(0, max_records=10, max_wait_ms=10)
    with pytest.raises(NotOwnerError, match=topic):
        await old.post(FIRST)
    assert await new.posted() == SECOND
    assert await values(new) == [r.value for r in RECORDS]


async def test_records_of_a_partition_lost_while_fetching_are_not_handed_out(
    engine: EngineUnderTest,
) -> None:
    topic = await engine.topic()
    old = await engine.own(topic)
    await old.bounds()
    waiting = asyncio.create_task(old.fetch(0, max_records=10, max_wait_ms=5000))
    await asyncio.sleep(0.1)
    await engine.take_over(topic)
    await engine.feed(topic, 0, RECORDS)
    with pytest.raises(NotOwnerError):
        await waiting


async def test_the_leader_epoch_of_now_ends_where_the_partition_does(
    engine: EngineUnderTest,
) -> None:
    topic = await engine.topic()
    await engine.feed(topic, 0, RECORDS)
    source = await engine.own(topic)
    epoch = (await source.fetch(0, max_records=100, max_wait_ms=500)).epoch
    now = max(epoch, 0)  # -1 where there are none
    assert await source.epoch_end(now, seen=now) == (await source.bounds()).high_watermark


async def test_closing_twice_is_closing_once(engine: EngineUnderTest) -> None:
    source = await engine.own(await engine.topic())
    await source.close()
    await source.close()
