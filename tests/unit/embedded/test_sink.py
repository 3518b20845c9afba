"""Events sent: all of them, in order, durable at the end, by key where Kafka would put them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2 as kafkas_murmur2

from streams.embedded import sink as sinks
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitioner import murmur2, partition_of
from streams.embedded.partitions import EmbeddedPartitionReader
from streams.embedded.sink import EmbeddedEventSink
from streams.errors import SettingsError, SourceUnreadableError, TransientError
from streams.ports import NewRecord

TOPIC = "events"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[EmbeddedDatabase]:
    made = EmbeddedDatabase.open(tmp_path)
    yield made
    made.close()


async def sent(opened: EmbeddedDatabase, partition: int = 0) -> list[bytes | None]:
    reader = EmbeddedPartitionReader(opened, TOPIC, partition)
    fetched = await reader.fetch(0, max_records=100_000, max_wait_ms=0)
    return [record.value for record in fetched.records]


async def test_everything_sent_is_there_in_order_at_the_end(opened: EmbeddedDatabase) -> None:
    await opened.ensure_topic(TOPIC)
    values: list[bytes | None] = [b"%d" % n for n in range(2 * sinks.BATCH_RECORDS + 7)]
    async with EmbeddedEventSink(opened, TOPIC) as sink:
        for n, value in enumerate(values):
            await sink.send(NewRecord(n, value or b""))
    assert await sent(opened) == values


async def test_a_few_events_are_not_held_back(opened: EmbeddedDatabase) -> None:
    await opened.ensure_topic(TOPIC)
    reader = EmbeddedPartitionReader(opened, TOPIC, 0)
    async with EmbeddedEventSink(opened, TOPIC) as sink:
        for n in range(3):
            await sink.send(NewRecord(n, b"%d" % n))
            fetched = await reader.fetch(n, max_records=10, max_wait_ms=5000)
            assert [r.value for r in fetched.records] == [b"%d" % n]


async def test_a_sink_that_is_left_by_an_exception_delivers_what_it_took(
    opened: EmbeddedDatabase,
) -> None:
    await opened.ensure_topic(TOPIC)

    async def left() -> None:
        async with EmbeddedEventSink(opened, TOPIC) as sink:
            await sink.send(NewRecord(1, b"taken"))
            raise LookupError

    with pytest.raises(LookupError):
        await left()
    assert await sent(opened) == [b"taken"]


async def test_keys_go_where_kafka_puts_them_and_the_rest_in_turn(
    opened: EmbeddedDatabase,
) -> None:
    await opened.ensure_topic(TOPIC, 3)
    keys = [b"user:%d" % n for n in range(60)]
    async with EmbeddedEventSink(opened, TOPIC) as sink:
        for key in keys:
            await sink.send(NewRecord(1, key, key))
    for partition in range(3):
        expected = [k for k in keys if (kafkas_murmur2(k) & 0x7FFFFFFF) % 3 == partition]
        assert await sent(opened, partition) == expected
    async with EmbeddedEventSink(opened, TOPIC) as sink:
        for _ in range(9):
            await sink.send(NewRecord(1, b"no key"))
    for partition in range(3):
        assert (await sent(opened, partition))[-3:] == [b"no key"] * 3


@pytest.mark.parametrize("length", range(13))
def test_murmur2_is_kafkas(length: int) -> None:
    for n in range(20):
        key = bytes((n * 37 + at * 101) % 256 for at in range(length))
        assert murmur2(key) == kafkas_murmur2(key) & 0xFFFFFFFF


def test_a_partition_is_never_negative() -> None:
    assert {partition_of(b"%d" % n, 4) for n in range(100)} == {0, 1, 2, 3}


async def test_audit_topics_and_absent_ones_take_no_events(opened: EmbeddedDatabase) -> None:
    await opened.ensure_topic("audit.events", audit=True)
    for topic, why in (("audit.events", "is an audit topic"), ("absent", "has no topic absent")):
        with pytest.raises(SettingsError, match=why):
            async with EmbeddedEventSink(opened, topic):
                pass


async def test_a_full_disk_is_said_at_the_next_send_and_at_the_end(
    opened: EmbeddedDatabase,
) -> None:
    await opened.ensure_topic(TOPIC)
    opened._writing.execute("PRAGMA max_page_count=12")

    async def send(more: int) -> None:
        async with EmbeddedEventSink(opened, TOPIC) as sink:
            await sink.send(NewRecord(1, b"x" * 100_000))
            for _ in range(more):
                await asyncio.sleep(0.01)
                await sink.send(NewRecord(1, b"x"))

    for more in (0, 500):
        with pytest.raises(TransientError, match="has no space left to grow"):
            await send(more)
    assert await sent(opened) == []


async def test_a_damaged_file_is_said_too(opened: EmbeddedDatabase) -> None:
    await opened.ensure_topic(TOPIC)
    await opened.write(lambda connection: connection.execute("DROP TABLE records_1"))

    async def send() -> None:
        async with EmbeddedEventSink(opened, TOPIC) as sink:
            await sink.send(NewRecord(1, b"x"))
            await asyncio.sleep(5 * sinks.LINGER_S)

    with pytest.raises(SourceUnreadableError, match="is damaged: no such table"):
        await send()


async def test_an_event_from_before_1970_is_refused(opened: EmbeddedDatabase) -> None:
    await opened.ensure_topic(TOPIC)
    async with EmbeddedEventSink(opened, TOPIC) as sink:
        with pytest.raises(ValueError, match="must not be negative"):
            await sink.send(NewRecord(-1, b"v"))
