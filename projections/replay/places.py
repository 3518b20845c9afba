"""Where a replay puts logs: topics under another prefix, a directory, or the deployment's own.

A place knows what its topics are called, and makes those that are not there, as declared for any
audit topic. Nothing in it is ever deleted.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from streams.app import kafka_connection
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionReader, EmbeddedPartitionWriter
from streams.engine import Engine
from streams.errors import SettingsError
from streams.ports import PartitionReader, PartitionWriter
from streams.settings import Settings

__all__ = ["DirectoryPlace", "Place", "PrefixedPlace", "directory_place"]


class Place(Protocol):
    """Where copies go."""

    def topic(self, audit: str) -> str:
        """What the copy of an audit topic is called there."""

    async def ensure(self, partitions: Mapping[str, int]) -> None:
        """Make these audit topics' copies, with at least so many partitions.

        Raises:
            SettingsError: refused.
            TransientError.
        """

    async def partitions(self, audit: str) -> int:
        """How many partitions the copy of an audit topic has, 0 without one."""

    def reader(self, audit: str, partition: int) -> PartitionReader:
        """A reader of a copy; close it."""

    def writer(self, audit: str, partition: int) -> PartitionWriter:
        """A writer of a copy, not started yet; close it."""


class PrefixedPlace:
    """Topics of the same cluster under a prefix of their own; an empty one: its own topics."""

    def __init__(self, settings: Settings, engine: Engine, prefix: str) -> None:
        self._settings = settings
        self._engine = engine
        self._prefix = prefix

    def topic(self, audit: str) -> str:
        """The prefix before the name."""
        return f"{self._prefix}{audit}"

    async def ensure(self, partitions: Mapping[str, int]) -> None:
        """See `Place`."""
        from streams.kafka.topic_admin import apply_plan, plan_topics  # noqa: PLC0415  # optional
        from streams.kafka.topics import (  # noqa: PLC0415  # optional dependency
            TopicOptions,
            declared_topics,
            to_do,
        )

        topology = self._engine.topology
        pattern = next(
            declared
            for declared in declared_topics(topology, TopicOptions())
            if declared.name == topology.audit(topology.operations)
        )
        wanted = [
            pattern._replace(
                name=self.topic(audit), partitions=count, grow_to=count, follows=None, fixed=False
            )
            for audit, count in partitions.items()
        ]
        connection = kafka_connection(self._settings)
        refused = await apply_plan(connection, to_do(await plan_topics(connection, wanted)))
        if problems := [f"{one.topic}: {one.sentence}" for one in to_do(refused)]:
            raise SettingsError(problems)

    async def partitions(self, audit: str) -> int:
        """See `Place`."""
        return await self._engine.partitions(self.topic(audit))

    def reader(self, audit: str, partition: int) -> PartitionReader:
        """See `Place`."""
        return self._engine.reader(self.topic(audit), partition)

    def writer(self, audit: str, partition: int) -> PartitionWriter:
        """See `Place`."""
        return self._engine.writer(self.topic(audit), partition)


class DirectoryPlace:
    """An embedded home: it is read with `--dir`, and verified like any other."""

    def __init__(self, database: EmbeddedDatabase) -> None:
        self._database = database

    def topic(self, audit: str) -> str:
        """The same name."""
        return audit

    async def ensure(self, partitions: Mapping[str, int]) -> None:
        """See `Place`."""
        for audit, count in partitions.items():
            await self._database.ensure_topic(audit, count, audit=True)

    async def partitions(self, audit: str) -> int:
        """See `Place`."""
        return self._database.partitions(audit)

    def reader(self, audit: str, partition: int) -> PartitionReader:
        """See `Place`."""
        return EmbeddedPartitionReader(self._database, audit, partition)

    def writer(self, audit: str, partition: int) -> PartitionWriter:
        """See `Place`."""
        return EmbeddedPartitionWriter(self._database, audit, partition)


@asynccontextmanager
async def directory_place(folder: Path, base: str) -> AsyncIterator[DirectoryPlace]:
    """A home of the deployment `base`, made where there is none.

    Raises:
        SettingsError: another deployment's logs are there, or no database can be.
        SourceUnreadableError, TransientError: as `EmbeddedDatabase.open`.
    """
    database = EmbeddedDatabase.open(folder, origin=base)
    try:
        yield DirectoryPlace(database)
    finally:
        database.close()
