"""The source partitions that `verify --source` compares logs with, on either engine."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from schemas.records import Record
from streams.audit.checkpoint import parse_log_name
from streams.engine import Engine
from streams.errors import SourceChangedError
from streams.ports import PartitionReader
from streams.verifier import OpenSource, SourcePages

__all__ = ["EmbeddedPages", "LivePages", "embedded_source", "live_source"]

PAGE_RECORDS = 2000


class LivePages:
    """A partition of a broker, up to its end of now."""

    def __init__(self, reader: PartitionReader) -> None:
        self.start = 0
        self._reader = reader
        self._offset = self._end = 0

    async def open(self) -> "LivePages":
        """Ask for the bounds. Raises TransientError."""
        self.start, self._end, _ = await self._reader.bounds()
        self._offset = self.start
        return self

    async def close(self) -> None:
        """Idempotent."""
        await self._reader.close()

    async def next(self) -> list[Record]:
        """See `SourcePages`."""
        records: list[Record] = []
        while not records and self._offset < self._end:
            try:
                fetched = await self._reader.fetch(
                    self._offset, max_records=PAGE_RECORDS, max_wait_ms=500
                )
            except SourceChangedError:
                bounds = await self._reader.bounds()
                if bounds.start <= self._offset:
                    raise
                self.start = self._offset = bounds.start  # retention went past
                continue
            self._offset = fetched.next_offset
            records = [record for record in fetched.records if record.offset < self._end]
        return records


class EmbeddedPages:
    """A source partition of an embedded database, which gives nothing up."""

    def __init__(self, rows: Iterator[Record]) -> None:
        self.start = 0
        self._rows = rows

    async def next(self) -> list[Record]:
        """See `SourcePages`."""
        return list(islice(self._rows, PAGE_RECORDS))

    async def close(self) -> None:
        """Nothing is open."""


def embedded_source(path: Path) -> OpenSource:
    """Opens sources in the database that holds the logs."""

    async def opened(origin: str) -> SourcePages | None:
        from streams.embedded.history import (  # noqa: PLC0415  # only where there is a database
            has_partition,
            read_partition,
        )

        name = parse_log_name(origin)
        if not has_partition(path, name.topic, name.partition):
            return None
        return EmbeddedPages(read_partition(path, name.topic, name.partition))

    return opened


def live_source(engine: Engine) -> OpenSource:
    """Opens sources in the cluster that holds the logs."""

    async def opened(origin: str) -> SourcePages | None:
        name = parse_log_name(origin)
        if await engine.partitions(name.topic) <= name.partition:
            return None
        return await LivePages(engine.reader(name.topic, name.partition)).open()

    return opened
