"""The event sink on a real broker: where records go, in which order, and that none is lost."""

import secrets
from collections.abc import Iterable, Iterator

import confluent_kafka
import pytest

from streams.errors import TransientError
from streams.kafka.producer import KafkaEventSink
from streams.kafka.reader import KafkaPartitionReader
from streams.ports import NewRecord
from tests.support.kafka_broker import KafkaBroker
from tests.support.partitions import read_all

pytestmark = pytest.mark.integration


async def partitions(kafka: KafkaBroker, topic: str, count: int) -> list[list[bytes | None]]:
    keys = []
    for number in range(count):
        reader = KafkaPartitionReader(kafka.connection(), topic, number)
        keys.append([record.key for record in await read_all(reader)])
        await reader.close()
    return keys


async def test_keys_go_where_other_producers_put_them(kafka: KafkaBroker) -> None:
    ours, theirs = await kafka.create_topic(7), await kafka.create_topic(7)
    keys = [secrets.token_bytes(n % 40) for n in range(300)] + ["ключ".encode(), b"\0"]
    async with KafkaEventSink(kafka.connection(), ours) as sink:
        for at, key in enumerate(keys):
            await sink.send(NewRecord(at, b"v", key))
    other = confluent_kafka.Producer(
        {"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"}
    )
    for key in keys:
        # librdkafka spreads an empty key like none at all; Kafka's own clients hash it.
        if key:
            other.produce(theirs, b"v", key)
    other.flush(10)
    placed = [[k for k in part if k] for part in await partitions(kafka, ours, 7)]
    assert placed == await partitions(kafka, theirs, 7)


async def test_everything_is_delivered_in_order_with_its_time_and_headers(
    kafka: KafkaBroker,
) -> None:
    topic = await kafka.create_topic()
    rows = [NewRecord(1000 + n, b"%d" % n, b"k", ((b"h", b"%d" % n),)) for n in range(20_000)]
    async with KafkaEventSink(kafka.connection(), topic) as sink:
        for row in rows:
            await sink.send(row)
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    read = await read_all(reader)
    assert [NewRecord(r.timestamp, r.value or b"", r.key, r.headers) for r in read] == rows
    await reader.close()


async def send_all(kafka: KafkaBroker, topic: str, rows: Iterable[NewRecord]) -> None:
    async with KafkaEventSink(kafka.connection(), topic) as sink:
        for row in rows:
            await sink.send(row)


@pytest.mark.parametrize("count", [1, 100_000], ids=["seen at the end", "seen while sending"])
async def test_a_failed_delivery_is_raised_and_nothing_more_is_taken(
    kafka: KafkaBroker, count: int
) -> None:
    topic, taken = await kafka.create_topic(max_message_bytes="2000"), 0

    def rows() -> Iterator[NewRecord]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield NewRecord(0, b"x" * 5000)

    with pytest.raises(TransientError, match="does not take a record"):
        await send_all(kafka, topic, rows())
    assert taken < 20_000


async def test_an_error_inside_is_not_hidden_by_the_sinks_end(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()

    def rows() -> Iterator[NewRecord]:
        yield NewRecord(0, b"v")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await send_all(kafka, topic, rows())


async def test_a_topic_that_does_not_exist_is_said_at_once(kafka: KafkaBroker) -> None:
    sink = KafkaEventSink(kafka.connection(patience_s=0.5), "no-such-topic")
    with pytest.raises(TransientError, match="no-such-topic"):
        async with sink:
            raise AssertionError("the topic was found")


async def test_a_negative_timestamp_is_refused_not_replaced(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    async with KafkaEventSink(kafka.connection(), topic) as sink:
        with pytest.raises(ValueError, match="negative"):
            await sink.send(NewRecord(-1, b"v"))
