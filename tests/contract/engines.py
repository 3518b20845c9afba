"""The engines the contract suites run over: one class each, made anew for every test.

A new engine is an entry of `ENGINES`; the suites know nothing else of it.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, cast

import pytest

from schemas.records import Record
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import (
    EmbeddedPartitionReader,
    EmbeddedPartitionWriter,
    EmbeddedSourcePartition,
)
from streams.embedded.record_tables import insert_records
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.source import KafkaSourcePartition
from streams.kafka.writer import KafkaPartitionWriter
from streams.ports import NewRecord, PartitionReader, PartitionWriter, SourcePartition
from tests.support.kafka_broker import KafkaBroker

__all__ = ["ENGINES", "EngineUnderTest"]


class EngineUnderTest(Protocol):
    """One engine with topics of this test alone; whatever it makes it closes at the end."""

    async def topic(self, partitions: int = 1) -> str:
        """A new, empty topic of cleanup policy delete."""

    def reader(self, topic: str, partition: int = 0) -> PartitionReader:
        """A reader, not used yet."""

    def writer(self, topic: str, partition: int = 0) -> PartitionWriter:
        """A writer, not started yet."""

    async def feed(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Source records as producers write them: null values, any header name, timestamp -1.

        Their offsets are given by the engine; returns the first one's.
        """

    async def own(self, topic: str, partition: int = 0) -> SourcePartition:
        """The source partition, owned by this test."""

    async def take_over(self, topic: str, partition: int = 0) -> SourcePartition:
        """The same partition, owned by another member from now on."""

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Retention: records below `before` are gone."""


class KafkaUnderTest:
    """The adapters of `streams.kafka` on the session's broker."""

    def __init__(self, broker: KafkaBroker, closing: AsyncExitStack) -> None:
        self._broker = broker
        self._connection = broker.connection()
        self._closing = closing
        self._members: dict[str, GroupMembership] = {}

    async def topic(self, partitions: int = 1) -> str:
        return await self._broker.create_topic(partitions)

    def reader(self, topic: str, partition: int = 0) -> PartitionReader:
        reader = KafkaPartitionReader(self._connection, topic, partition)
        self._closing.push_async_callback(reader.close)
        return reader

    def writer(self, topic: str, partition: int = 0) -> PartitionWriter:
        writer = KafkaPartitionWriter(self._connection, topic, partition)
        self._closing.push_async_callback(writer.close)
        return writer

    async def feed(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        return await self._broker.feed(topic, partition, records)

    async def own(self, topic: str, partition: int = 0) -> SourcePartition:
        member = self._members.get(topic)
        if member is None:
            member = await self._join(topic)
        source = KafkaSourcePartition(member, TopicPartition(topic, partition))
        self._closing.push_async_callback(source.close)
        return source

    async def take_over(self, topic: str, partition: int = 0) -> SourcePartition:
        # The old member leaves, so that the new one owns every partition at once.
        await self._members.pop(topic).close()
        return await self.own(topic, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        await self._broker.trim(topic, partition, before)

    async def _join(self, topic: str) -> GroupMembership:
        member = GroupMembership(
            self._connection, f"group-of-{topic}", [topic], _nothing, _nothing
        )
        self._members[topic] = member
        self._closing.push_async_callback(member.close)
        await member.start()
        await member.wait_assigned()
        return member


async def _nothing(_partitions: Sequence[TopicPartition]) -> None:
    pass


@asynccontextmanager
async def kafka(request: pytest.FixtureRequest) -> AsyncIterator[EngineUnderTest]:
    broker: KafkaBroker = request.getfixturevalue("kafka")
    async with AsyncExitStack() as closing:
        yield KafkaUnderTest(broker, closing)


class EmbeddedUnderTest:
    """The adapters of `streams.embedded` on a database file of this test's own."""

    def __init__(self, database: EmbeddedDatabase) -> None:
        self._database = database
        self._topics = 0

    async def topic(self, partitions: int = 1) -> str:
        self._topics += 1
        name = f"topic-{self._topics}"
        await self._database.ensure_topic(name, partitions)
        return name

    def reader(self, topic: str, partition: int = 0) -> PartitionReader:
        return EmbeddedPartitionReader(self._database, topic, partition)

    def writer(self, topic: str, partition: int = 0) -> PartitionWriter:
        return EmbeddedPartitionWriter(self._database, topic, partition)

    async def feed(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        rows = [NewRecord(r.timestamp, cast("bytes", r.value), r.key, r.headers) for r in records]

        def put(connection: sqlite3.Connection) -> int:
            state = self._database.state(connection, topic, partition)
            insert_records(connection, state.id, state.end, rows)
            end = (state.end + len(rows), state.id)
            connection.execute("UPDATE partitions SET end_offset = ? WHERE id = ?", end)
            return state.end

        return await self._database.write(put)

    async def own(self, topic: str, partition: int = 0) -> SourcePartition:
        return await EmbeddedSourcePartition.own(self._database, topic, partition, role="sealer")

    async def take_over(self, topic: str, partition: int = 0) -> SourcePartition:
        return await self.own(topic, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        def cut(connection: sqlite3.Connection) -> None:
            table = self._database.state(connection, topic, partition).id
            connection.execute(f"DELETE FROM records_{table} WHERE offset < ?", (before,))
            start = (before, table)
            connection.execute("UPDATE partitions SET start_offset = ? WHERE id = ?", start)

        await self._database.write(cut)


@asynccontextmanager
async def embedded(request: pytest.FixtureRequest) -> AsyncIterator[EngineUnderTest]:
    home: Path = request.getfixturevalue("tmp_path")
    database = EmbeddedDatabase.open(home)
    try:
        yield EmbeddedUnderTest(database)
    finally:
        database.close()


Making = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[EngineUnderTest]]

ENGINES: dict[str, Making] = {"kafka": kafka, "embedded": embedded}
