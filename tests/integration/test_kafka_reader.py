"""The Kafka reader on a real broker: transactions, codecs, truncation, a broker that dies."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from schemas.records import Record
from streams.errors import SourceChangedError, TransientError
from streams.kafka.connection import KafkaConnection
from streams.kafka.reader import KafkaPartitionReader
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_kafka import LocalKafka
from tests.support.partitions import read_all, settled

pytestmark = pytest.mark.integration


def rows(count: int) -> list[Record]:
    return [Record(0, 1_700_000_000_000 + n, b"k", b"%d" % n) for n in range(count)]


async def test_an_open_transaction_pins_the_end_below_the_high_watermark(
    kafka: KafkaBroker,
) -> None:
    topic = await kafka.create_topic()
    await kafka.feed(topic, 0, rows(2))
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    async with kafka.open_transaction(topic, 0, b"open"):
        await kafka.feed(topic, 0, rows(1))
        assert await reader.bounds() == (0, 2, 4)
        assert (await reader.fetch(0, max_records=9, max_wait_ms=50)).next_offset == 2
        assert await reader.fetch(2, max_records=9, max_wait_ms=50) == ([], 2, -1)
    # Now it is aborted: its record never shows, and its marker takes an offset.
    assert await settled(reader) == (0, 5, 5)
    assert [r.offset for r in await read_all(reader)] == [0, 1, 3]
    await reader.close()


async def test_a_fetch_of_markers_alone_answers_at_once(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    async with kafka.open_transaction(topic, 0, b"aborted"):
        pass
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    await settled(reader)
    began = time.monotonic()
    assert (await reader.fetch(0, max_records=9, max_wait_ms=5000))[:2] == ([], 2)
    assert time.monotonic() - began < 1
    await reader.close()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(kafka: KafkaBroker, codec: str) -> None:
    topic = await kafka.create_topic()
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, compression_type=codec, linger_ms=20
    ) as producer:
        for n in range(200):
            await producer.send(topic, b"value %d" % n, partition=0)
    reader = KafkaPartitionReader(kafka.connection(), topic, 0, dense=True)
    assert [r.value for r in await read_all(reader, 33)] == [b"value %d" % n for n in range(200)]
    await reader.close()


async def test_a_topic_that_stamps_by_arrival_is_read_with_that_time(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic(message_timestamp_type="LogAppendTime")
    await kafka.feed(topic, 0, rows(2))
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert all(r.timestamp > 1_700_000_001_000 for r in await read_all(reader))
    await reader.close()


async def test_a_topic_deleted_and_created_again_is_another_topic(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    await kafka.feed(topic, 0, rows(5))
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    before = await reader.facts()
    offset = (await reader.fetch(0, max_records=9, max_wait_ms=50)).next_offset
    await kafka.delete_topic(topic)
    await asyncio.sleep(0.5)
    await kafka.create_topic(name=topic)
    await kafka.feed(topic, 0, rows(1))
    after = await reader.facts()
    assert after.topic_id != before.topic_id
    assert after._replace(topic_id="") == before._replace(topic_id="")
    with pytest.raises(SourceChangedError, match="created again"):
        await reader.fetch(offset, max_records=9, max_wait_ms=50)
    await reader.close()


async def test_facts_show_a_changed_policy_and_added_partitions(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic(cleanup_policy="compact,delete")
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert (await reader.facts()).cleanup_policy == "compact,delete"
    await kafka.add_partitions(topic, 3)
    assert (await reader.facts()).partitions == 3
    await reader.close()


async def test_bounds_do_not_wait_behind_a_long_poll(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    await reader.bounds()
    waiting = asyncio.create_task(reader.fetch(0, max_records=1, max_wait_ms=3000))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await reader.bounds()
    await reader.facts()
    assert time.monotonic() - began < 1
    waiting.cancel()
    await reader.close()


async def test_a_fetch_cut_off_leaves_the_reader_usable(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    await kafka.feed(topic, 0, rows(3))
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    for wait_s in (0.0, 0.001, 0.05):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(wait_s):
                await reader.fetch(3, max_records=9, max_wait_ms=400)
    assert [r.value for r in await read_all(reader)] == [b"0", b"1", b"2"]
    await reader.close()


async def test_a_long_log_is_read_in_whole_through_many_answers(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    large = b"x" * 1_000_000
    for n in range(24):
        await kafka.feed(topic, 0, [Record(0, n, b"%d" % n, large)])
    reader = KafkaPartitionReader(kafka.connection(), topic, 0, dense=True)
    read = await read_all(reader, 5)
    assert [(r.offset, r.key, r.value == large) for r in read] == [
        (n, b"%d" % n, True) for n in range(24)
    ]
    # Answers that were asked for ahead are shared by whoever reads through the same reader.
    for one in await asyncio.gather(*(read_all(reader, page) for page in (1, 2, 7))):
        assert one == read
    await reader.close()


async def test_no_broker_at_all_is_a_transient_error_with_one_sentence() -> None:
    nowhere = KafkaConnection(bootstrap="127.0.0.1:1", patience_s=0.3)
    reader = KafkaPartitionReader(nowhere, "t", 0)
    with pytest.raises(TransientError, match=r"asking the bounds of t/0 failed: .*bootstrap"):
        await reader.bounds()
    await reader.close()


@pytest.mark.slow
async def test_a_broker_that_dies_and_returns_is_waited_for(tmp_path: Path) -> None:
    with LocalKafka(tmp_path, properties={"auto.create.topics.enable": "true"}) as local:
        broker = KafkaBroker(local.bootstrap)
        topic = await broker.create_topic()
        await broker.feed(topic, 0, rows(3))
        reader = KafkaPartitionReader(broker.connection(), topic, 0)
        assert (await reader.fetch(0, max_records=2, max_wait_ms=50)).next_offset == 2
        facts = await reader.facts()
        local.kill()
        fetching = asyncio.create_task(reader.fetch(3, max_records=9, max_wait_ms=100))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(local.start)
        assert (await fetching)[:2] == ([], 3)
        assert await reader.bounds() == (0, 3, 3)
        assert await reader.facts() == facts
        await reader.close()

        # This broker would make any topic that is asked for in aiokafka's way.
        impatient = broker.connection(patience_s=0.5)
        misspelt = KafkaPartitionReader(impatient, f"{topic}-misspelt", 0)
        with pytest.raises(TransientError, match="misspelt"):
            await misspelt.bounds()
        with pytest.raises(TransientError, match="misspelt"):
            await misspelt.fetch(0, max_records=1, max_wait_ms=10)
        await misspelt.close()
        async with broker.admin() as admin:
            assert f"{topic}-misspelt" not in await admin.list_topics()
