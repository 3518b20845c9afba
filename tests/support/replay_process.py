"""A replay in a process of its own, which kills itself at one of its writes.

    python -m tests.support.replay_process ARCHIVE PLACE NUMBER WHEN

PLACE is a directory, or kafka://host:port/topic. WHEN: `before` the NUMBER-th transaction,
`within` it (its records are sent, the commit is not), or `after` its commit. NUMBER 0: not at all.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from projections.replay import staging as staging_module
from projections.replay.copying import copy_log
from projections.replay.staging import StagingLog
from streams.kafka.connection import KafkaConnection
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.writer import KafkaPartitionWriter
from streams.objects.directory import DirectoryObjectStore
from streams.ports import Appended, NewRecord, PartitionWriter
from tests.support.replays import archived, place_at, staging_in
from tests.support.sealed_log import KEYS, ORIGIN

__all__ = ["kafka_staging"]

TRANSACTION_RECORDS = 3


def kafka_staging(connection: KafkaConnection, topic: str, wrap: Any = None) -> StagingLog:
    """The staging log in a topic."""

    def writer() -> PartitionWriter:
        plain = KafkaPartitionWriter(connection, topic, 0)
        made: PartitionWriter = wrap(plain) if wrap else plain
        return made

    return StagingLog(lambda: KafkaPartitionReader(connection, topic, 0), writer, ORIGIN, KEYS)


class Suicidal:
    """A writer that is the last thing its process does."""

    def __init__(self, number: int, when: str) -> None:
        self.number, self.when, self.calls = number, when, 0

    def __call__(self, writer: Any) -> Any:
        self._writer = writer
        self.topic, self.partition = writer.topic, writer.partition
        self.marker_offsets = writer.marker_offsets
        self.confirm, self.close = writer.confirm, writer.close
        return self

    async def start(self) -> None:
        await self._writer.start()

    async def append(self, records: Sequence[NewRecord]) -> Appended:
        self.calls += 1
        is_now = self.calls == self.number
        if is_now and self.when == "before":
            die()
        if is_now and self.when == "within":
            self._writer._producer.commit_transaction = dying
        appended: Appended = await self._writer.append(records)
        if is_now and self.when == "after":
            die()
        return appended


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def dying() -> None:
    die()


async def replay(archive: Path, place: str, wrap: Suicidal) -> None:
    source = archived(DirectoryObjectStore(archive))
    if place.startswith("kafka://"):
        bootstrap, _, topic = place.removeprefix("kafka://").partition("/")
        await copy_log(source, kafka_staging(KafkaConnection(bootstrap=bootstrap), topic, wrap), 0)
        return
    async with place_at(Path(place)) as directory:
        await copy_log(source, staging_in(directory, wrap), 0)


if __name__ == "__main__":
    staging_module.TRANSACTION_RECORDS = TRANSACTION_RECORDS
    archive_, place_, number_, when_ = sys.argv[1:]
    asyncio.run(replay(Path(archive_), place_, Suicidal(int(number_), when_)))
