"""An embedded deployment behind the face of `streams.engine.Engine`.

One process runs the pipeline (`home.exclusive_home`), so ownership is no division of work: it
takes every partition. What it still owns is asked in the database all the same, since a lock on
a directory is only as good as the file system.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import (
    EmbeddedPartitionReader,
    EmbeddedPartitionWriter,
    EmbeddedSourcePartition,
)
from streams.embedded.sink import EmbeddedEventSink
from streams.engine import EventSink, PartitionName
from streams.epochs import newest_epoch
from streams.errors import NotOwnerError
from streams.settings import Settings
from streams.topology import Topology

__all__ = ["EmbeddedEngine", "EmbeddedOwnership"]

Changed = Callable[[Sequence[PartitionName]], Awaitable[None]]
REFRESH_S = 1.0


class EmbeddedOwnership:
    """An `Ownership`: every partition of the topics, until another process takes it."""

    def __init__(
        self,
        database: EmbeddedDatabase,
        role: str,
        topics: Sequence[str],
        on_assigned: Changed,
        on_revoked: Changed,
    ) -> None:
        self._database = database
        self._role = role
        self._topics = topics
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._owned: dict[PartitionName, EmbeddedSourcePartition] = {}
        self._lost: set[PartitionName] = set()

    def source(self, topic: str, partition: int) -> EmbeddedSourcePartition:
        """The owned partition, with its posted position. Raises NotOwnerError."""
        source = self._owned.get((topic, partition))
        if source is None:
            raise NotOwnerError(f"{topic}/{partition} is not owned by this {self._role}")
        return source

    async def still_owns(self, topic: str, partition: int) -> bool:
        """Ask the database. Raises TransientError."""
        source = self._owned.get((topic, partition))
        return source is not None and await source.still_owned()

    async def run(self) -> None:
        """Take every partition, also those made later, until cancelled."""
        while True:
            await self._take_new()
            await self._let_go_lost()
            await asyncio.sleep(REFRESH_S)

    async def _take_new(self) -> None:
        there = [
            (topic, number)
            for topic in self._topics
            for number in range(self._database.partitions(topic))
        ]
        new = [name for name in there if name not in self._owned and name not in self._lost]
        for topic, number in new:
            self._owned[topic, number] = await EmbeddedSourcePartition.own(
                self._database, topic, number, role=self._role
            )
        if new:
            await self._on_assigned(new)

    async def _let_go_lost(self) -> None:
        # What another process took is never taken back, or the two would do so for ever.
        lost = [name for name in self._owned if not await self.still_owns(*name)]
        self._lost.update(lost)
        if lost:
            await self._on_revoked(lost)
        for name in lost:
            del self._owned[name]


class EmbeddedEngine:
    """Readers, writers and ownership over one open database."""

    def __init__(self, database: EmbeddedDatabase, topology: Topology) -> None:
        self._database = database
        self._topology = topology

    @classmethod
    async def open(cls, settings: Settings, *, create: bool = True) -> Self:
        """Open the home the settings name, and every topic the settings imply.

        Raises:
            SettingsError, SourceUnreadableError, TransientError: as `EmbeddedDatabase.open`.
        """
        database = EmbeddedDatabase.open(settings.home, origin=settings.origin, create=create)
        engine = cls(database, Topology.of(settings, database.origin))
        try:
            await engine._declare_topics()
        except BaseException:
            database.close()
            raise
        return engine

    async def close(self) -> None:
        """Idempotent."""
        self._database.close()

    @property
    def topology(self) -> Topology:
        """Names of topics and origins."""
        return self._topology

    def join(
        self, role: str, topics: Sequence[str], on_assigned: Changed, on_revoked: Changed
    ) -> EmbeddedOwnership:
        """Take part in a role: as its only member."""
        return EmbeddedOwnership(self._database, role, topics, on_assigned, on_revoked)

    def reader(self, topic: str, partition: int) -> EmbeddedPartitionReader:
        """A reader of its own."""
        return EmbeddedPartitionReader(self._database, topic, partition)

    def writer(self, topic: str, partition: int) -> EmbeddedPartitionWriter:
        """A writer that was not started yet."""
        return EmbeddedPartitionWriter(self._database, topic, partition)

    def sink(self, topic: str) -> AbstractAsyncContextManager[EventSink]:
        """Where events of a topic are sent to."""
        return EmbeddedEventSink(self._database, topic)

    async def peers(self, role: str) -> list[str]:  # noqa: ARG002  # the port's signature
        """None: one process holds everything."""
        return []

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 where there is no such topic."""
        return self._database.partitions(topic)

    async def open_epoch(self, source: str, epoch: int) -> None:
        """A table a partition, as in every audit topic."""
        count = self._database.partitions(source)
        await self._database.ensure_topic(self._topology.audit(source, epoch), count, audit=True)

    async def _declare_topics(self) -> None:
        for source in self._topology.sources:
            count = max(1, self._database.partitions(source))
            await self._database.ensure_topic(source, count)
            for epoch in range(await newest_epoch(self, source) + 1):
                audit = self._topology.audit(source, epoch)
                await self._database.ensure_topic(audit, count, audit=True)
            if source in self._topology.events:
                await self._database.ensure_topic(self._topology.dead_letters(source), count)
        count = self._database.partitions(self._topology.alerts)
        await self._database.ensure_topic(self._topology.ocsf_alerts, count)
