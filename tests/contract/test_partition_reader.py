"""The laws of `PartitionReader`: every record as it was produced, and nothing skipped silently."""

import asyncio
import time

import pytest

from schemas.records import Record
from streams.errors import SourceChangedError
from streams.ports import Bounds, NewRecord
from tests.contract.engines import EngineUnderTest
from tests.support.partitions import read_all

ODD = [
    Record(0, 1_700_000_000_000, b"key", b"value", ()),
    Record(0, 1_700_000_000_001, None, b"no key"),
    Record(0, 1_700_000_000_001, b"", b""),
    Record(0, 1_699_999_999_999, b"tombstone", None),
    Record(0, 1_699_999_999_999, None, None),
    Record(0, 0, b"epoch", b"\x00\xff\xfe"),
    Record(0, 1, b"h", b"h", ((b"a", b"1"), (b"a", b"2"), (b"b", None), (b"b", b""))),
    Record(0, 1, b"h", b"h", ((b"", b"empty name"), ("ключ".encode(), b"\x80"))),
    Record(0, 1, b"h", b"h", ((b"not \xff\xfe utf-8", b"1"), (b"\x80", None))),
]


def placed(records: list[Record], first: int) -> list[Record]:
    return [record._replace(offset=first + at) for at, record in enumerate(records)]


def numbered(count: int) -> list[Record]:
    return [Record(0, 1_700_000_000_000 + n, b"%d" % n, b"value %d" % n) for n in range(count)]


async def test_an_empty_partition_has_nothing_and_ends_where_it_starts(
    engine: EngineUnderTest,
) -> None:
    reader = engine.reader(await engine.topic())
    assert await reader.bounds() == Bounds(0, 0, 0)
    assert await reader.fetch(0, max_records=10, max_wait_ms=20) == ([], 0, -1)


async def test_odd_records_are_fetched_byte_for_byte(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    first = await engine.feed(topic, 0, ODD)
    assert await read_all(engine.reader(topic)) == placed(ODD, first)


async def test_a_record_without_timestamp_has_minus_one(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    await engine.feed(topic, 0, [Record(0, -1, b"k", b"v")])
    assert [r.timestamp for r in await read_all(engine.reader(topic))] == [-1]


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
async def test_pages_join_to_the_whole(engine: EngineUnderTest, page: int) -> None:
    topic = await engine.topic()
    fed: list[Record] = []
    for _ in range(4):
        batch = numbered(5)
        fed += placed(batch, await engine.feed(topic, 0, batch))
    assert await read_all(engine.reader(topic), page) == fed


async def test_any_offset_can_be_fetched_from_in_any_order(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    fed = placed(numbered(12), await engine.feed(topic, 0, numbered(12)))
    reader = engine.reader(topic)
    for at in (11, 0, 5, 5, 6, 2):
        fetched = await reader.fetch(fed[at].offset, max_records=2, max_wait_ms=50)
        assert fetched.records == fed[at : at + 2]


async def test_fetches_side_by_side_do_not_disturb_each_other(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    fed = placed(numbered(50), await engine.feed(topic, 0, numbered(50)))
    reader = engine.reader(topic)
    answers = await asyncio.gather(
        *(reader.fetch(fed[at].offset, max_records=3, max_wait_ms=50) for at in range(40))
    )
    for at, answer in enumerate(answers):
        assert answer.records == fed[at : at + 3]
        assert answer.next_offset == fed[at + 3].offset


async def test_the_end_can_be_waited_at_and_what_comes_is_seen_at_once(
    engine: EngineUnderTest,
) -> None:
    topic = await engine.topic()
    reader = engine.reader(topic)
    await reader.bounds()
    waiting = asyncio.create_task(reader.fetch(0, max_records=10, max_wait_ms=5000))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await engine.feed(topic, 0, numbered(1))
    assert (await waiting).records == placed(numbered(1), 0)
    assert time.monotonic() - began < 2


async def test_a_wait_is_bounded(engine: EngineUnderTest) -> None:
    reader = engine.reader(await engine.topic())
    await reader.bounds()
    began = time.monotonic()
    await reader.fetch(0, max_records=10, max_wait_ms=200)
    assert 0.15 < time.monotonic() - began < 2


async def test_an_offset_above_the_end_is_an_error(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    await engine.feed(topic, 0, numbered(3))
    reader = engine.reader(topic)
    end = (await reader.bounds()).end
    assert await reader.fetch(end, max_records=10, max_wait_ms=10) == ([], end, -1)
    with pytest.raises(SourceChangedError, match=topic):
        await reader.fetch(end + 1, max_records=10, max_wait_ms=10)


async def test_an_offset_that_retention_took_is_an_error_not_a_skip(
    engine: EngineUnderTest,
) -> None:
    topic = await engine.topic()
    fed = placed(numbered(10), await engine.feed(topic, 0, numbered(10)))
    reader = engine.reader(topic)
    assert (await reader.fetch(0, max_records=2, max_wait_ms=50)).records == fed[:2]
    await engine.trim(topic, 0, 6)
    assert (await reader.bounds()).start == 6
    assert (await reader.fetch(6, max_records=2, max_wait_ms=50)).records == fed[6:8]
    for gone in (0, 5):
        with pytest.raises(SourceChangedError, match=topic):
            await reader.fetch(gone, max_records=2, max_wait_ms=50)


async def test_a_value_of_eight_mebibytes_less_its_envelope_passes(
    engine: EngineUnderTest,
) -> None:
    topic = await engine.topic()
    writer, large = engine.writer(topic), bytes(range(256)) * 32_766
    await writer.start()
    await writer.append([NewRecord(1, large)])
    await writer.append([NewRecord(2, b"small")])
    assert [r.value for r in await read_all(engine.reader(topic))] == [large, b"small"]


async def test_facts_name_the_topic_and_stay(engine: EngineUnderTest) -> None:
    one, other = await engine.topic(3), await engine.topic()
    facts = await engine.reader(one).facts()
    assert (facts.cleanup_policy, facts.partitions) == ("delete", 3)
    assert await engine.reader(one, 2).facts() == facts
    others = await engine.reader(other).facts()
    assert others.cluster_id == facts.cluster_id != ""
    assert others.topic_id != facts.topic_id


async def test_partitions_are_apart(engine: EngineUnderTest) -> None:
    topic = await engine.topic(2)
    await engine.feed(topic, 1, numbered(2))
    left, right = engine.reader(topic, 0), engine.reader(topic, 1)
    assert (left.topic, left.partition, right.partition) == (topic, 0, 1)
    assert await read_all(left) == []
    assert await read_all(right) == placed(numbered(2), 0)


async def test_closing_twice_is_closing_once(engine: EngineUnderTest) -> None:
    reader = engine.reader(await engine.topic())
    await reader.bounds()
    await reader.close()
    await reader.close()
