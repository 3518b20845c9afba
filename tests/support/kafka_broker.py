"""The broker tests run on: uniquely named topics, and what only a test does to a partition."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.produce import ProduceRequest

from schemas.records import Record
from streams.kafka.connection import KafkaConnection
from streams.kafka.link import KafkaLink
from tests.support.record_batches import BatchKind, record_batch

__all__ = ["KafkaBroker"]

LARGE = {"max.message.bytes": "8388608", "retention.ms": "-1"}


@dataclass(frozen=True, slots=True)
class KafkaBroker:
    """A running cluster. Nothing in it is touched but topics a test made itself."""

    bootstrap: str

    def connection(self, **changes: Any) -> KafkaConnection:
        """Groups rebalance fast enough for a test."""
        waits = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300, "patience_s": 15.0}
        return KafkaConnection(bootstrap=self.bootstrap, **(waits | changes))

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def create_topic(self, partitions: int = 1, *, name: str = "", **configs: str) -> str:
        """A new topic of one replica that takes records of 8 MiB; `_` in settings is `.`."""
        name = name or f"test-{secrets.token_hex(6)}"
        settings = LARGE | {key.replace("_", "."): value for key, value in configs.items()}
        async with self.admin() as admin:
            answer = await admin.create_topics(
                [NewTopic(name, partitions, 1, topic_configs=settings)]
            )
            check(answer.topic_errors[0][1])
        await self._await_leaders(name, partitions)
        return name

    async def add_partitions(self, topic: str, total: int) -> None:
        async with self.admin() as admin:
            await admin.create_partitions({topic: NewPartitions(total)})
        await self._await_leaders(topic, total)

    async def delete_topic(self, topic: str) -> None:
        async with self.admin() as admin:
            await admin.delete_topics([topic])

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """What retention does: records below `before` are gone."""
        async with self.admin() as admin:
            await admin.delete_records(
                {TopicPartition(topic, partition): RecordsToDelete(before_offset=before)}
            )

    async def feed(
        self, topic: str, partition: int, records: Sequence[Record], *, codec: int = 0
    ) -> int:
        """Produce one batch of any records; the first one's offset. `codec` 4 is zstd."""
        link = KafkaLink(self.connection())
        batch = record_batch(records, BatchKind(codec=codec))

        async def produce() -> int:
            request = ProduceRequest(None, -1, 5000, [(topic, [(partition, batch)])])
            answer = await link.ask_leader(topic, partition, request)
            ((_, ((_, error_code, offset, *_),)),) = answer.topics
            check(error_code)
            return int(offset)

        try:
            return await link.retrying("feeding", produce)
        finally:
            await link.close()

    @asynccontextmanager
    async def open_transaction(
        self, topic: str, partition: int, *values: bytes
    ) -> AsyncIterator[None]:
        """Records of a transaction that is aborted at the end."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, transactional_id=f"test-{secrets.token_hex(6)}"
        )
        await producer.start()
        try:
            await producer.begin_transaction()
            for value in values:
                await (await producer.send(topic, value, partition=partition))
            yield
            await producer.abort_transaction()
        finally:
            await producer.stop()

    async def _await_leaders(self, topic: str, partitions: int) -> None:
        link = KafkaLink(self.connection())

        async def ready() -> None:
            leaders = (await link.describe(topic)).leaders
            if len(leaders) < partitions or min(leaders.values()) < 0:
                raise OSError(f"{topic} is not ready: {leaders}")

        try:
            await link.retrying("waiting for leaders", ready)
        finally:
            await link.close()


def check(error_code: int) -> None:
    error = for_code(error_code)
    if error is not NoError:
        raise error
