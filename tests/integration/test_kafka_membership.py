"""The consumer group on a real broker: who owns what, and what becomes of those who do not."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition

from streams.errors import NotOwnerError, SettingsError, TransientError, VerificationError
from streams.kafka import membership
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.source import KafkaSourcePartition
from streams.ports import Posted
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
POSTED = Posted(5, 4, bytes(range(32)))


class Member:
    """A member that writes down what it is told."""

    def __init__(self, broker: KafkaBroker, topics: Sequence[str], group: str) -> None:
        self.events: list[tuple[str, tuple[int, ...]]] = []
        self.revoking: Callable[[], object] = lambda: None
        self.group = GroupMembership(
            broker.connection(), group, topics, self.assigned, self.revoked
        )

    async def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.events.append(("assigned", tuple(tp.partition for tp in partitions)))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        outcome = self.revoking()
        if asyncio.iscoroutine(outcome):
            await outcome
        self.events.append(("revoked", tuple(tp.partition for tp in partitions)))

    @property
    def owns(self) -> tuple[int, ...]:
        tenure = self.group.tenure
        return tuple(sorted(tp.partition for tp in tenure.partitions)) if tenure else ()


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def joined(closing: AsyncExitStack, member: Member) -> Member:
    closing.push_async_callback(member.group.close)
    await member.group.start()
    return member


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is another program's doing
            await asyncio.sleep(0.02)


async def test_two_members_share_the_partitions_and_one_inherits_all(
    kafka: KafkaBroker, closing: AsyncExitStack
) -> None:
    topic = await kafka.create_topic(4)
    first = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: first.owns == (0, 1, 2, 3))
    second = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: len(first.owns) == len(second.owns) == 2)
    assert sorted(first.owns + second.owns) == [0, 1, 2, 3]
    await second.group.close()
    await until(lambda: first.owns == (0, 1, 2, 3))
    assert first.events[:2] == [("assigned", (0, 1, 2, 3)), ("revoked", (0, 1, 2, 3))]


async def test_nobody_gets_a_partition_before_its_owner_has_finished(
    kafka: KafkaBroker, closing: AsyncExitStack
) -> None:
    topic = await kafka.create_topic(2)
    first = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: first.owns)
    source = KafkaSourcePartition(first.group, TopicPartition(topic, 0))
    closing.push_async_callback(source.close)
    order: list[str] = []

    async def finish() -> None:
        await asyncio.sleep(0.7)
        # Still the owner: what is finished can be posted.
        await source.post(POSTED)
        order.append("finished")

    first.revoking = finish
    second = Member(kafka, [topic], topic)
    on_assigned = second.assigned

    async def assigned(partitions: Sequence[TopicPartition]) -> None:
        order.append("assigned")
        await on_assigned(partitions)

    second.group._on_assigned = assigned
    await joined(closing, second)
    await until(lambda: second.owns)
    assert order[0] == "finished"
    with pytest.raises(NotOwnerError):
        await source.post(POSTED)
    (inherited,) = [m for m in (first, second) if 0 in m.owns]
    again = KafkaSourcePartition(inherited.group, TopicPartition(topic, 0))
    closing.push_async_callback(again.close)
    assert await again.posted() == POSTED


@pytest.mark.parametrize("which", ["_on_assigned", "_on_revoked"])
async def test_what_a_callback_raises_comes_out_of_run(
    kafka: KafkaBroker, closing: AsyncExitStack, which: str
) -> None:
    async def broken(_partitions: Sequence[TopicPartition]) -> None:
        raise ZeroDivisionError("a defect")

    topic = await kafka.create_topic(2)
    member = Member(kafka, [topic], topic)
    setattr(member.group, which, broken)
    await joined(closing, member)
    running = asyncio.create_task(member.group.run())
    if which == "_on_revoked":
        await until(lambda: member.owns)
        await joined(closing, Member(kafka, [topic], topic))
    async with asyncio.timeout(20):
        with pytest.raises(ZeroDivisionError):
            await running


async def test_run_ends_with_the_membership(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    member = Member(kafka, [topic], topic)
    await member.group.start()
    running = asyncio.create_task(member.group.run())
    await until(lambda: member.owns)
    await member.group.close()
    await running
    await member.group.close()
    assert member.events == [("assigned", (0,)), ("revoked", (0,))]


async def test_added_partitions_are_assigned(
    kafka: KafkaBroker, closing: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "METADATA_AGE_MS", 300)
    topic = await kafka.create_topic(1)
    member = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: member.owns == (0,))
    await kafka.add_partitions(topic, 3)
    await until(lambda: member.owns == (0, 1, 2))


async def test_a_topic_that_does_not_exist_is_said_at_the_start(kafka: KafkaBroker) -> None:
    topic = await kafka.create_topic()
    member = Member(kafka, [topic, "no-such-topic"], topic)
    with pytest.raises(SettingsError, match="no-such-topic does not exist"):
        await member.group.start()
    await member.group.close()


async def test_no_broker_is_said_at_the_start() -> None:
    member = Member(KafkaBroker("127.0.0.1:1"), ["t"], "g")
    member.group.connection = KafkaBroker("127.0.0.1:1").connection(patience_s=0.3)
    with pytest.raises(TransientError, match="asking for the topics to read"):
        await member.group.start()
    await member.group.close()


async def test_a_position_somebody_else_set_is_not_believed(
    kafka: KafkaBroker, closing: AsyncExitStack
) -> None:
    topic = await kafka.create_topic()
    member = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: member.owns)
    tenure, tp = member.group.tenure, TopicPartition(topic, 0)
    assert tenure is not None
    source = KafkaSourcePartition(member.group, tp)
    closing.push_async_callback(source.close)
    good = f"4 {bytes(32).hex()}"
    for metadata in (
        "",
        "reset",
        f"0{good}",
        good.upper().replace("0", "A"),
        f"{good} ",
        good[2:],
    ):
        await member.group.commit(tenure, tp, 9, metadata)
        with pytest.raises(VerificationError, match="set by someone else"):
            await source.posted()
    await member.group.commit(tenure, tp, 9, good)
    assert await source.posted() == Posted(9, 4, bytes(32))


async def test_other_consumers_see_the_position_as_the_groups_offset(
    kafka: KafkaBroker, closing: AsyncExitStack
) -> None:
    topic = await kafka.create_topic()
    member = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: member.owns)
    source = KafkaSourcePartition(member.group, TopicPartition(topic, 0))
    closing.push_async_callback(source.close)
    await source.post(POSTED)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=topic)
    await consumer.start()
    assert await consumer.committed(ClientPartition(topic, 0)) == POSTED.offset
    await consumer.stop()


ZOMBIE = """
import asyncio, sys
from streams.errors import NotOwnerError
from streams.kafka.connection import KafkaConnection
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.source import KafkaSourcePartition
from streams.ports import Posted

async def main(bootstrap, topic):
    connection = KafkaConnection(
        bootstrap=bootstrap, session_timeout_ms=1500, heartbeat_interval_ms=300
    )
    async def nothing(partitions):
        pass
    member = GroupMembership(connection, topic, [topic], nothing, nothing)
    await member.start()
    await member.wait_assigned()
    source = KafkaSourcePartition(member, TopicPartition(topic, 0))
    await source.post(Posted(1, 1, bytes(32)))
    print("posted", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    try:
        await source.post(Posted(2, 2, bytes(32)))
    except NotOwnerError:
        print("not the owner", flush=True)
    await source.close()
    await member.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_a_zombie_that_wakes_up_cannot_post(
    kafka: KafkaBroker, closing: AsyncExitStack
) -> None:
    topic = await kafka.create_topic()
    pipe = asyncio.subprocess.PIPE
    zombie = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ZOMBIE, kafka.bootstrap, topic, cwd=ROOT, stdin=pipe, stdout=pipe
    )
    assert zombie.stdin is not None
    assert zombie.stdout is not None
    assert await zombie.stdout.readline() == b"posted\n"
    os.kill(zombie.pid, signal.SIGSTOP)
    member = await joined(closing, Member(kafka, [topic], topic))
    await until(lambda: member.owns == (0,))
    source = KafkaSourcePartition(member.group, TopicPartition(topic, 0))
    closing.push_async_callback(source.close)
    await source.post(POSTED)
    # It finds its line to go on as soon as it wakes, before it has heard of anything.
    zombie.stdin.write(b"go\n")
    os.kill(zombie.pid, signal.SIGCONT)
    assert await zombie.stdout.readline() == b"not the owner\n"
    assert await source.posted() == POSTED
    await zombie.wait()
