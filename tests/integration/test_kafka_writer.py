"""The Kafka writer on a real broker: killed, expired, refused, interrupted."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from schemas.records import Record
from streams.errors import FencedError, OutcomeUnknownError, SettingsError
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.source import KafkaSourcePartition
from streams.kafka.writer import KafkaPartitionWriter, WriterOptions
from streams.ports import Appended, NewRecord, Posted
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_kafka import LocalKafka
from tests.support.partitions import read_all, settled

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
ROOT_HASH = bytes(32)

STUCK_BEFORE_COMMIT = """
import asyncio, sys
from streams.kafka.connection import KafkaConnection
from streams.kafka.writer import KafkaPartitionWriter
from streams.ports import NewRecord

async def main(bootstrap, topic):
    writer = KafkaPartitionWriter(KafkaConnection(bootstrap=bootstrap), topic, 0)
    await writer.start()
    await writer.append([NewRecord(0, b"committed")])

    async def stuck():
        print("sent", flush=True)
        await asyncio.sleep(60)

    writer._producer.commit_transaction = stuck
    await writer.append([NewRecord(n, b"never committed") for n in range(100)])

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_killed_inside_an_append_leaves_nothing_behind_the_next_start(
    kafka: KafkaBroker,
) -> None:
    topic = await kafka.create_topic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STUCK_BEFORE_COMMIT,
        kafka.bootstrap,
        topic,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"sent\n"
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert await reader.bounds() == (0, 2, 102)

    writer = KafkaPartitionWriter(kafka.connection(), topic, 0)
    await writer.start()
    assert (await settled(reader)).end == 103
    assert await writer.append([NewRecord(1, b"next")]) == Appended(103, 103)
    assert [r.value for r in await read_all(reader)] == [b"committed", b"next"]
    await writer.close()
    await reader.close()


async def test_an_expired_transaction_looks_fenced_and_the_group_tells_who_owns(
    kafka: KafkaBroker,
) -> None:
    source, audit = await kafka.create_topic(), await kafka.create_topic()
    member = GroupMembership(kafka.connection(), f"g-{source}", [source], nothing, nothing)
    await member.start()
    await member.wait_assigned()
    owned = KafkaSourcePartition(member, TopicPartition(source, 0))
    options = WriterOptions(transaction_timeout_ms=1000)
    writer = KafkaPartitionWriter(kafka.connection(), audit, 0, options)
    await writer.start()
    committing = writer._producer.commit_transaction

    async def too_late() -> None:
        # The broker looks for expired transactions every 10 s unless told otherwise.
        for _ in range(150):
            if (bounds := await reader.bounds()).end == bounds.high_watermark:
                break
            await asyncio.sleep(0.1)
        await committing()

    reader = KafkaPartitionReader(kafka.connection(), audit, 0)
    writer._producer.commit_transaction = too_late
    writer._timeout_ms = 60_000
    with pytest.raises(FencedError):
        await writer.append([NewRecord(0, b"expired")])
    await writer.close()
    # Still the owner: the group takes the position, and a new writer goes on.
    await owned.post(Posted(0, 0, ROOT_HASH))
    again = KafkaPartitionWriter(kafka.connection(), audit, 0)
    await again.start()
    await again.append([NewRecord(0, b"again")])
    assert [r.value for r in await read_all(reader)] == [b"again"]
    await again.close()
    await owned.close()
    await member.close()
    await reader.close()


async def test_a_record_the_topic_does_not_take_is_a_setting_to_correct(
    kafka: KafkaBroker,
) -> None:
    topic = await kafka.create_topic(max_message_bytes="2000")
    writer = KafkaPartitionWriter(kafka.connection(), topic, 0)
    await writer.start()
    await writer.append([NewRecord(0, b"small")])
    with pytest.raises(SettingsError, match="does not take the record"):
        await writer.append([NewRecord(1, b"x" * 3000)])
    with pytest.raises(OutcomeUnknownError):
        await writer.append([NewRecord(2, b"small too")])
    await writer.close()
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert [r.value for r in await read_all(reader)] == [b"small"]
    await reader.close()


async def test_one_refused_batch_of_many_commits_none_of_them(kafka: KafkaBroker) -> None:
    """The aiokafka trap: it commits after a failed send."""
    topic = await kafka.create_topic(max_message_bytes="1100000")
    writer = KafkaPartitionWriter(kafka.connection(), topic, 0)
    await writer.start()
    fits, does_not = NewRecord(0, b"x" * 900_000), NewRecord(0, b"y" * 1_500_000)
    with pytest.raises(SettingsError):
        await writer.append([fits, does_not, fits])
    await writer.close()
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert await read_all(reader) == []
    await reader.close()


async def test_offsets_that_do_not_follow_one_another_are_never_committed(
    kafka: KafkaBroker,
) -> None:
    topic = await kafka.create_topic()
    writer = KafkaPartitionWriter(kafka.connection(), topic, 0)
    await writer.start()
    sending, intruded = writer._producer.send_batch, False

    async def intruded_upon(*arguments: object, **options: object) -> object:
        nonlocal intruded
        sent = await sending(*arguments, **options)
        if not intruded:
            intruded = True
            await asyncio.wait({sent})
            await kafka.feed(topic, 0, [Record(0, 1, None, b"another producer's")])
        return sent

    writer._producer.send_batch = intruded_upon
    with pytest.raises(OutcomeUnknownError, match="not at"):
        await writer.append([NewRecord(n, b"x" * 600_000) for n in range(3)])
    await writer.close()
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert [r.value for r in await read_all(reader)] == [b"another producer's"]
    await reader.close()


@pytest.mark.parametrize("ended", [1, 1000], ids=["one record cut", "many cut"])
async def test_a_log_cut_behind_the_writer_is_noticed_before_the_commit(
    kafka: KafkaBroker, ended: int
) -> None:
    topic = await kafka.create_topic()
    writer = KafkaPartitionWriter(kafka.connection(), topic, 0)
    await writer.start()
    await writer.append([NewRecord(0, b"first")])
    writer._last = Appended(ended, ended)
    with pytest.raises(OutcomeUnknownError, match="the log was cut"):
        await writer.append([NewRecord(0, b"second")])
    with pytest.raises(OutcomeUnknownError, match="failed before"):
        await writer.append([NewRecord(0, b"third")])
    await writer.close()
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert [r.value for r in await read_all(reader)] == [b"first"]
    await reader.close()


async def test_compressed_batches_are_read_as_written(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    writer = KafkaPartitionWriter(kafka.connection(), topic, 0, WriterOptions(compression="zstd"))
    await writer.start()
    batch = [NewRecord(n, b"much the same " * 50 + b"%d" % n) for n in range(3000)]
    assert await writer.append(batch) == Appended(0, 2999)
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    assert [r.value for r in await read_all(reader)] == [row.value for row in batch]
    await writer.close()
    await reader.close()


async def test_a_partition_that_does_not_exist_is_said_at_the_start(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    writer = KafkaPartitionWriter(kafka.connection(), topic, 1)
    with pytest.raises(SettingsError, match=f"{topic}/1 does not exist"):
        await writer.start()
    await writer.close()


@pytest.mark.slow
async def test_appends_ride_through_a_broker_that_is_killed(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as local:
        broker = KafkaBroker(local.bootstrap)
        topic = await broker.create_topic()
        writer = KafkaPartitionWriter(broker.connection(), topic, 0)
        await writer.start()
        await writer.append([NewRecord(0, b"0")])
        local.kill()
        appending = asyncio.create_task(writer.append([NewRecord(1, b"1")]))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(local.start)
        # Killed between the answer to a commit and its marker, a single broker may forget the
        # marker; then the next transaction is at 1, and its commit is the first one's as well.
        assert (await appending).first_offset in {1, 2}
        await writer.append([NewRecord(2, b"2")])
        reader = KafkaPartitionReader(broker.connection(), topic, 0)
        assert [r.value for r in await read_all(reader)] == [b"0", b"1", b"2"]
        await writer.close()
        await reader.close()


async def nothing(_partitions: object) -> None:
    pass
