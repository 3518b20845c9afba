"""A derived partition in memory that keeps the laws of its ports, with faults on request.

One writer at a time: starting one fences the others. A transaction is written whole or not at
all; a marker takes an offset behind each. `faults` maps the how-manieth append to `lost` (never
happened) or `applied` (happened, the answer was lost).
"""

from collections.abc import Sequence

from schemas.records import Record
from streams.errors import FencedError, OutcomeUnknownError, TransientError
from streams.ports import Appended, Bounds, Fetched, NewRecord, TopicFacts

__all__ = ["OutputPartition"]


class OutputPartition:
    """What a partition holds, and who may write it."""

    def __init__(self, topic: str = "attestream.alerts") -> None:
        self.topic = topic
        self.records: list[Record] = []
        self.transactions: list[list[Record]] = []
        self.faults: dict[int, str] = {}
        self.end = 0
        self.hanging = 0
        self._appends = 0
        self._epoch = 0

    def writer(self) -> "_Writer":
        return _Writer(self)

    def reader(self) -> "_Reader":
        return _Reader(self)

    def fence(self) -> int:
        self._epoch += 1
        return self._epoch

    def commit(self, epoch: int, records: Sequence[NewRecord]) -> Appended:
        if epoch != self._epoch:
            raise FencedError("another writer started")
        self._appends += 1
        fate = self.faults.get(self._appends)
        if fate == "lost":
            raise OutcomeUnknownError("never written")
        first = self.end
        written = [
            Record(first + i, new.timestamp, new.key, new.value, new.headers)
            for i, new in enumerate(records)
        ]
        self.records += written
        self.transactions.append(written)
        self.end += len(written) + 1
        if fate == "applied":
            raise OutcomeUnknownError("written, but who knows")
        return Appended(first, first + len(written) - 1)


class _Writer:
    def __init__(self, partition: OutputPartition) -> None:
        self._partition = partition
        self._epoch = 0
        self._broken = False

    @property
    def topic(self) -> str:
        return self._partition.topic

    @property
    def partition(self) -> int:
        return 0

    @property
    def marker_offsets(self) -> int:
        return 1

    async def start(self) -> None:
        assert self._epoch == 0, "a writer is started once"
        self._epoch = self._partition.fence()

    async def append(self, records: Sequence[NewRecord]) -> Appended:
        assert self._epoch, "append before start"
        assert not self._broken, "a writer that failed is dropped"
        assert records, "an empty transaction"
        try:
            return self._partition.commit(self._epoch, records)
        except (FencedError, OutcomeUnknownError):
            self._broken = True
            raise

    async def confirm(self) -> None:
        raise AssertionError("derived output never confirms")

    async def close(self) -> None:
        self._broken = True


class _Reader:
    def __init__(self, partition: OutputPartition) -> None:
        self._partition = partition

    @property
    def topic(self) -> str:
        return self._partition.topic

    @property
    def partition(self) -> int:
        return 0

    async def bounds(self) -> Bounds:
        partition = self._partition
        if partition.hanging:
            partition.hanging -= 1
            return Bounds(0, partition.end, partition.end + 1)
        return Bounds(0, partition.end, partition.end)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        del max_wait_ms
        if offset > self._partition.end:
            raise TransientError("beyond the end")
        found = [r for r in self._partition.records if r.offset >= offset][:max_records]
        return Fetched(found, found[-1].offset + 1 if found else self._partition.end)

    async def facts(self) -> TopicFacts:
        return TopicFacts("cluster", "topic", "delete", 1)

    async def close(self) -> None:
        pass
