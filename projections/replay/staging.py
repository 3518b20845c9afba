"""The staging log of one log: what it ends with, and rows added to it exactly once.

It has one fenced, transactional writer at a time, as an audit partition has. Whoever starts reads
the end back after that, so a copy that died in the middle of a transaction, or whose answer was
lost, goes on behind exactly what was committed; one that wakes up later can add nothing.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from projections.replay.fold import StagedEnd, beginning, staged_end
from schemas.records import Record
from streams.audit.checkpoint import open_note
from streams.audit.note import TrustedKeys
from streams.errors import TransientError
from streams.history import pages, read_range
from streams.ports import NewRecord, PartitionReader, PartitionWriter

__all__ = ["StagingLog"]

TRANSACTION_RECORDS = 4096  # formats §2, as in any audit partition
TRANSACTION_BYTES = 4 * 2**20
FIRST_WINDOW = 256
SETTLE_S, SETTLE_TRIES = 0.05, 300  # markers of a dead copy may still be on their way


class StagingLog:
    """One partition that a log is copied into."""

    def __init__(
        self,
        make_reader: Callable[[], PartitionReader],
        make_writer: Callable[[], PartitionWriter],
        origin: str,
        keys: TrustedKeys,
    ) -> None:
        """`keys` sign the log: nothing else is taken for its end."""
        self._make_reader = make_reader
        self._make_writer = make_writer
        self._origin = origin
        self._keys = keys
        self._writer: PartitionWriter | None = None

    async def end(self) -> StagedEnd | None:
        """What stands there, None where nothing does; no writer is disturbed.

        Raises:
            BreakError: it does not end as a copy of this log does.
            TransientError.
        """
        reader = self._make_reader()
        try:
            staged = await _read_back(reader)
        finally:
            await reader.close()
        if staged is not None:
            open_note(staged.last.note, self._origin, self._keys, at=staged.last.size)
        return staged

    async def start(self) -> StagedEnd | None:
        """Fence every other writer, then read the end as `end` does.

        Raises:
            TransientError, SettingsError, BreakError.
        """
        await self.close()
        self._writer = self._make_writer()
        # Now nobody else can add to it: what is read back stays its end.
        await self._writer.start()
        reader = self._make_reader()
        try:
            await _settle(reader)
        finally:
            await reader.close()
        return await self.end()

    async def append(self, rows: Sequence[Record]) -> None:
        """Add rows behind the end, in transactions.

        Raises:
            FencedError, OutcomeUnknownError: of the rows some may stand there: start again.
            SettingsError: the topic refuses them.
        """
        assert self._writer is not None, "appended before start"
        for batch in _transactions(rows):
            await self._writer.append(batch)
            # Now the batch is committed: a crash here is seen by the next start.

    async def close(self) -> None:
        """Idempotent, never raises."""
        if self._writer is not None:
            await self._writer.close()
            self._writer = None


async def _read_back(reader: PartitionReader) -> StagedEnd | None:
    start, end, _ = await reader.bounds()
    back = FIRST_WINDOW
    while start < end:
        low = max(start, end - back)
        rows = await read_range(reader, low, end)
        last = staged_end(rows)
        if last is not None:
            return StagedEnd(await _first(reader, start, end), last)
        if low == start:
            for row in rows[:1]:
                beginning(row)  # raises: a row without a checkpoint before it
            return None  # emptied, or all its transactions were aborted
        back *= 16
    return None


async def _first(reader: PartitionReader, start: int, end: int) -> int:
    async for page in pages(reader, start, end, most=1):
        if page:
            return beginning(page[0])
    raise TransientError(f"{reader.topic}/{reader.partition} changed while it was read")


async def _settle(reader: PartitionReader) -> None:
    """Wait until no transaction is open."""
    for _ in range(SETTLE_TRIES):
        _, end, high_watermark = await reader.bounds()
        if end == high_watermark:
            return
        await asyncio.sleep(SETTLE_S)
    raise TransientError(f"{reader.topic}/{reader.partition}: a transaction stays open")


def _transactions(rows: Sequence[Record]) -> Iterator[list[NewRecord]]:
    at = 0
    while at < len(rows):
        taken = rows[at : at + TRANSACTION_RECORDS]
        if sum(len(row.value or b"") for row in taken) > TRANSACTION_BYTES:
            taken = taken[: _fitting(taken)]
        at += len(taken)
        # `NewRecord(...)` costs 0.5 µs, this 0.2.
        yield [
            tuple.__new__(NewRecord, (timestamp, value or b"", None, ()))
            for _, timestamp, _, value, _ in taken
        ]


def _fitting(rows: Sequence[Record]) -> int:
    """How many fit into one transaction; a larger record goes alone."""
    size = 0
    for number, row in enumerate(rows):
        size += len(row.value or b"")
        if size > TRANSACTION_BYTES:
            return max(number, 1)
    return len(rows)
