"""Who closes a client of aiokafka and is cancelled meanwhile ends, in whatever step of it that is.

aiokafka's own `close` and `stop` swallow a cancellation: they await tasks which they cancelled.
The clients here are its own, as they are behind a bootstrap, without a cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from streams.errors import TransientError
from streams.kafka.connection import KafkaConnection
from streams.kafka.link import KafkaLink
from streams.kafka.membership import GroupMembership
from streams.kafka.writer import KafkaPartitionWriter

NOWHERE = KafkaConnection(bootstrap="localhost:1")
STEPS = 40
Closing = Callable[[], Awaitable[None]]


def synchronizing(client: Any) -> Any:
    """As `bootstrap` leaves a client: with the task that keeps its metadata young."""
    client._sync_task = asyncio.create_task(client._md_synchronizer())
    return client


async def open_link() -> Closing:
    async def opened() -> Any:
        return synchronizing(AIOKafkaClient(bootstrap_servers=NOWHERE.bootstrap))

    link = KafkaLink(NOWHERE)
    link._opening = asyncio.create_task(opened())
    return link.close


async def open_writer() -> Closing:
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE.bootstrap, transactional_id="t")
    synchronizing(producer.client)
    producer._txn_manager.set_pid_and_epoch(1, 0)
    producer._sender._sender_task = asyncio.create_task(producer._sender._sender_routine())
    writer = KafkaPartitionWriter(NOWHERE, "t", 0)
    writer._producer = producer
    return writer.close


async def open_membership() -> Closing:
    membership = a_membership()
    consumer = AIOKafkaConsumer(bootstrap_servers=NOWHERE.bootstrap, group_id="g")
    synchronizing(consumer._client)
    membership._consumer = consumer
    return membership.close


class SlowConsumer:
    """Takes some turns of the loop to give up a poll."""

    async def getmany(self, timeout_ms: int) -> None:
        del timeout_ms
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)


async def open_poll() -> Closing:
    membership = a_membership()
    membership._consumer = SlowConsumer()

    async def run() -> None:
        asyncio.get_running_loop().call_soon(membership._fail, TransientError("the group is gone"))
        try:
            await membership.run()
        except TransientError:
            return

    return run


def a_membership() -> GroupMembership:
    async def changed(_: object) -> None:
        """Nothing is worked on."""

    return GroupMembership(NOWHERE, "g", ["t"], changed, changed)


@pytest.mark.parametrize("opened", [open_link, open_writer, open_membership, open_poll])
async def test_who_is_cancelled_while_closing_ends(
    opened: Callable[[], Awaitable[Closing]],
) -> None:
    """As a partition's job: were the cancellation lost, it would go on behind the closing."""
    cancels = 0
    for steps in range(1, STEPS):
        close = await opened()
        await asyncio.sleep(0)
        closing = asyncio.create_task(_closing(close))
        for _ in range(steps):
            await asyncio.sleep(0)
        if closing.done():
            break
        closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled(), f"lost in step {steps}"
        cancels += 1
    assert 2 < cancels < STEPS - 1


async def _closing(close: Closing) -> None:
    await close()
