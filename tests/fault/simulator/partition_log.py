"""One Kafka partition as its leader keeps it.

Offsets are never used twice, unless the end of the log is lost. A transaction's records are
readable when its marker is there, and nothing behind the first open transaction is
(the read-committed end, "last stable offset"). A marker decides every record of its producer since
the marker before.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.records import Record
from streams.errors import SourceChangedError
from streams.ports import Bounds, NewRecord, TopicFacts

__all__ = ["Page", "PartitionLog"]


class _Entry(NamedTuple):
    record: Record | None  # None: a marker, or taken away by compaction
    producer: int | None  # of a transaction
    commits: bool | None = None  # of a marker
    epoch: int = 0  # of the leader that wrote it


class Page(NamedTuple):
    """What a fetch answers: records, the offset behind what was looked through, its epoch."""

    records: list[Record]
    end: int
    epoch: int = -1


class PartitionLog:
    """`start` is the log start offset; everything at or above it can be read."""

    def __init__(self, topic: str, partition: int = 0, topic_id: str = "1") -> None:
        self.partitions = 1
        self.topic, self.partition, self.topic_id = topic, partition, topic_id
        self.policy = "delete"
        self.start = 0
        self.epoch = 0
        self._entries: list[_Entry] = []
        self._is_readable: list[bool] = []
        self._open: dict[int, list[int]] = {}
        self._told = 0  # up to where `on_readable` was told
        self._waiting: list[asyncio.Future[None]] = []
        self.on_readable: Callable[[Record], None] | None = None

    @property
    def high_watermark(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The read-committed end."""
        if not self._open:
            return len(self._entries)
        return min(offsets[0] for offsets in self._open.values())

    def bounds(self) -> Bounds:
        return Bounds(self.start, self.end, self.high_watermark)

    def facts(self) -> TopicFacts:
        return TopicFacts("cluster", self.topic_id, self.policy, self.partitions)

    def append(self, rows: Sequence[NewRecord], producer: int | None = None) -> int:
        """Add records, of a transaction where `producer` is given; the first one's offset."""
        first = len(self._entries)
        for offset, row in enumerate(rows, first):
            record = Record(offset, row.timestamp, row.key, row.value, row.headers)
            self._entries.append(_Entry(record, producer, epoch=self.epoch))
            self._is_readable.append(producer is None)
            if producer is not None:
                self._open.setdefault(producer, []).append(offset)
        self._tell()
        return first

    def open_rows(self, producer: int) -> list[Record]:
        """The records of a producer that no marker decided yet."""
        entries = [self._entries[offset].record for offset in self._open.get(producer, ())]
        return [record for record in entries if record is not None]

    def mark(self, producer: int, *, commits: bool, epoch: int | None = None) -> None:
        """End a producer's transaction."""
        self._entries.append(
            _Entry(None, producer, commits, self.epoch if epoch is None else epoch)
        )
        self._is_readable.append(False)
        for offset in self._open.pop(producer, ()):
            self._is_readable[offset] = commits
        self._tell()

    def trim(self, start: int) -> None:
        """Retention: everything below `start` is gone."""
        self.start = max(self.start, min(start, self.end))

    def elect(self) -> None:
        """Another leader, which has all of it."""
        self.epoch += 1

    def cut(self, end: int) -> None:
        """The end of the log is lost: another leader has less of it."""
        self.epoch += 1
        entries = self._entries[: max(end, self.start)]
        self._entries, self._is_readable, self._open = [], [], {}
        listener, self.on_readable = self.on_readable, None
        for entry in entries:
            if entry.commits is not None:
                assert entry.producer is not None
                self.mark(entry.producer, commits=entry.commits, epoch=entry.epoch)
            else:
                self._entries.append(entry)
                self._is_readable.append(entry.producer is None and entry.record is not None)
                if entry.producer is not None:
                    self._open.setdefault(entry.producer, []).append(len(self._entries) - 1)
        self._told, self.on_readable = self.end, listener

    def recreate(self) -> None:
        """The topic is deleted and made again, under the same name."""
        self.start = 0
        self.cut(0)
        self.epoch = 0
        self.topic_id += "'"

    def take_away(self, offset: int) -> None:
        """Compaction: a record inside the log is gone."""
        self._entries[offset] = _Entry(None, None, epoch=self._entries[offset].epoch)
        self._is_readable[offset] = False

    def read(self, offset: int, most: int, *, dense: bool = False) -> Page:
        """Committed records from `offset` on; see `PartitionReader.fetch`."""
        if not self.start <= offset <= len(self._entries):
            raise SourceChangedError(
                f"offset {offset} of {self.topic}/{self.partition} is not within "
                f"{self.start} and {len(self._entries)}"
            )
        records: list[Record] = []
        low, end = offset, self.end
        while offset < end and len(records) < most:
            entry = self._entries[offset]
            if entry.record is None and entry.producer is None and dense:
                raise SourceChangedError(f"records are missing at offset {offset}")
            if self._is_readable[offset] and entry.record is not None:
                records.append(entry.record)
            offset += 1
        return Page(records, offset, self._entries[offset - 1].epoch if offset > low else -1)

    def epoch_end(self, epoch: int) -> int:
        """The first offset kept of a later epoch, or the end; -1 where it came to none yet."""
        if epoch > self.epoch:
            return -1
        for offset, entry in enumerate(self._entries[self.start :], self.start):
            if entry.epoch > epoch:
                return offset
        return self.high_watermark

    def readable(self, low: int = 0) -> list[Record]:
        """Every committed record at or above `low`, below the read-committed end."""
        return [
            entry.record
            for offset, entry in enumerate(self._entries[: self.end])
            if offset >= low and entry.record is not None and self._is_readable[offset]
        ]

    def wait(self) -> asyncio.Future[None]:
        """Done when something is appended, or the partition changes otherwise."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def _tell(self) -> None:
        end = self.end
        if self.on_readable is not None:
            # What retention passed while it was undecided, nobody ever reads.
            for offset in range(max(self._told, self.start), end):
                record = self._entries[offset].record
                if self._is_readable[offset] and record is not None:
                    self.on_readable(record)
        self._told = max(end, self._told)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
