"""Copies of one log into a directory, and what stands there afterwards."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from projections.archive.fold import CutRules
from projections.replay.archived import ArchivedLog
from projections.replay.copying import Copied, LogSource, copy_log
from projections.replay.places import DirectoryPlace, directory_place
from projections.replay.staging import StagingLog
from schemas.records import Record
from streams.history import read_range
from streams.objects.directory import DirectoryObjectStore
from streams.ports import Bounds, Fetched, ObjectStore, PartitionWriter
from tests.support.archives import run_archiver
from tests.support.sealed_log import BASE, KEYS, ORIGIN, TOPIC, SealedLog

__all__ = [
    "AUDIT",
    "LogReader",
    "archive_of",
    "copied",
    "long_log",
    "place_at",
    "staged_rows",
    "staging_in",
    "values",
]

AUDIT = f"audit.{TOPIC}"


class LogReader:
    """A `PartitionReader` over a log in memory."""

    topic, partition = AUDIT, 0

    def __init__(self, log: SealedLog) -> None:
        self._rows = log.rows

    async def bounds(self) -> Bounds:
        end = self._rows[-1].offset + 1
        return Bounds(self._rows[0].offset, end, end)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        assert max_wait_ms >= 0
        found = [row for row in self._rows if row.offset >= offset][:max_records]
        end = self._rows[-1].offset + 1
        return Fetched(found, found[-1].offset + 1 if found else end)

    async def facts(self) -> Any:
        raise AssertionError("a copy asks for no facts")

    async def close(self) -> None:
        pass


def long_log(*, salt: bytes = b"") -> SealedLog:
    """Four batches, one whose records lie before an earlier checkpoint, and a rotation."""
    log = SealedLog(salt)
    log.append(5)
    log.append(4)
    log.checkpoint(5)
    log.checkpoint()
    log.append(6)
    log.checkpoint()
    log.append(3)
    log.checkpoint()
    return log


async def archive_of(log: SealedLog, folder: Path, *, records: int = 6) -> DirectoryObjectStore:
    """The log archived in segments of about so many records."""
    store = DirectoryObjectStore(folder)
    await run_archiver(store, log, CutRules(records_max=records))
    return store


def archived(store: ObjectStore) -> ArchivedLog:
    return ArchivedLog(store=store, origin=ORIGIN, keys=KEYS)


@asynccontextmanager
async def place_at(folder: Path) -> AsyncIterator[DirectoryPlace]:
    """A directory with the log's partition."""
    async with directory_place(folder, BASE) as place:
        await place.ensure({AUDIT: 1})
        yield place


def staging_in(place: DirectoryPlace, wrap: Any = None) -> StagingLog:
    """The staging log there; `wrap` stands before each of its writers."""

    def writer() -> PartitionWriter:
        plain = place.writer(AUDIT, 0)
        made: PartitionWriter = wrap(plain) if wrap else plain
        return made

    return StagingLog(lambda: place.reader(AUDIT, 0), writer, ORIGIN, KEYS)


async def copied(source: LogSource, place: DirectoryPlace, begin: int = 0) -> Copied:
    return await copy_log(source, staging_in(place), begin)


async def staged_rows(place: DirectoryPlace) -> list[Record]:
    reader = place.reader(AUDIT, 0)
    start, end, _ = await reader.bounds()
    return await read_range(reader, start, end)


def values(rows: Sequence[Record]) -> list[bytes]:
    return [row.value or b"" for row in rows]
