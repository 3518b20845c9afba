"""A log read from its own audit partition, on either engine, verified, as pieces for a copy."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from projections.replay.fold import LogPlan, Piece
from schemas.canonical import LONG_MAX
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import CheckpointText, parse_checkpoint
from streams.audit.note import TrustedKeys
from streams.audit.seal import Seal
from streams.audit.trail import Trail
from streams.errors import BreakError, SourceUnreadableError
from streams.history import (
    audit_value,
    checkpoint_size,
    find_record,
    pages,
    read_range,
)
from streams.ports import Bounds, PartitionReader

__all__ = ["LiveLog", "checkpoint_at"]

FIRST_WINDOW = 256  # offsets read back at first; ×16 until enough is in hand
PIECE_RECORDS = 4096


class _Opening(NamedTuple):
    """The checkpoint a walk begins behind, where it stands, and where its next record does."""

    checkpoint: Checkpoint | None
    size: int
    offset: int
    low: int


class LiveLog:
    """One log in its audit partition; `keys` sign it. Closes no reader."""

    def __init__(
        self,
        reader: PartitionReader,
        origin: str,
        keys: TrustedKeys,
        *,
        anchors: Sequence[CheckpointText] = (),
        until: int | None = None,
    ) -> None:
        """One log.

        Args:
            reader: of its audit partition.
            origin: the log.
            keys: they sign it.
            anchors: checkpoints kept elsewhere, which the log must agree with.
            until: the size at which the operator ended it, None for a log that goes on.
        """
        self._reader = reader
        self._origin = origin
        self._keys = keys
        self._anchors = anchors
        self._until = until

    async def plan(self, begin: int) -> LogPlan:
        """What a copy from `begin` on reads now. Raises TransientError."""
        bounds = await self._reader.bounds()
        newest = await checkpoint_at(self._reader, LONG_MAX)
        size = newest.size if newest else 0
        if newest is None or begin > size:
            missing = f"{self._origin} is sealed up to {size}, and {begin} was asked for"
            return LogPlan(self._origin, begin, begin, size, missing=(missing,))
        opening = await self._opening(bounds, begin)
        return LogPlan(self._origin, begin, opening.size, size).ended(self._until)

    async def root_at(self, size: int) -> bytes | None:
        """The root its checkpoint of exactly this size signs; None without one."""
        found = await checkpoint_at(self._reader, size)
        return found.root if found is not None and found.size == size else None

    async def index_at(self, offset: int) -> int:
        """The index of the first audit record at or behind an audit offset."""
        bounds = await self._reader.bounds()
        async for page in pages(self._reader, max(offset, bounds.start), bounds.end, most=256):
            for row in page:
                value = audit_value(row)
                if isinstance(value, AuditRecord):
                    return value.index
        raise SourceUnreadableError(f"{self._origin} has no record at or behind offset {offset}")

    async def index_since(self, time_ms: int) -> int:
        """The index of a record at or before which the first one of that time stands.

        By bisection, as records' times usually rise: one that came late, far behind others of a
        later time, may lie before it. Raises SourceUnreadableError where all are older.
        """
        start, end, _ = await self._reader.bounds()
        low, high = start, end
        while high - low > FIRST_WINDOW:
            middle = (low + high) // 2
            found = await self._first_record(middle, high)
            if found is None or found[1] >= time_ms:
                high = middle
            else:
                low = middle
        async for page in pages(self._reader, low, end):
            for row in page:
                value = audit_value(row)
                if isinstance(value, AuditRecord) and row.timestamp >= time_ms:
                    return value.index
        raise SourceUnreadableError(f"every record of {self._origin} is older than that")

    async def pieces(self, begin: int) -> AsyncGenerator[Piece, None]:
        """What is sealed now, from the checkpoint at or below `begin` on.

        The first row is that checkpoint, unless the copy begins with genesis.

        Raises:
            BreakError: the log's.
            TransientError.
        """
        bounds = await self._reader.bounds()
        opening = await self._opening(bounds, begin)
        rows: list[Record] = []
        if opening.checkpoint is not None:
            rows += await read_range(self._reader, opening.offset, opening.offset + 1)
        size = opening.size
        async with aclosing(self._sealed(opening, bounds)) as sealed:
            async for size, newly in sealed:
                rows += newly
                if len(rows) >= PIECE_RECORDS:
                    yield Piece(rows, size)
                    rows = []
        if rows:
            yield Piece(rows, size)

    async def _sealed(
        self, opening: _Opening, bounds: Bounds
    ) -> AsyncGenerator[tuple[int, list[Record]], None]:
        """The size of each checkpoint, and the rows it newly covers with itself behind them."""
        trail = Trail(self._origin, self._keys, opening.checkpoint, anchors=self._anchors)
        waiting: deque[Record] = deque()
        async for page in pages(self._reader, opening.low, bounds.end):
            for row in page:
                if _is_before(row, opening):
                    continue
                try:
                    fed = trail.feed(row)
                except BreakError:
                    if trail.size == self._until:
                        return  # void, and not judged
                    raise
                if not isinstance(fed, Seal):
                    waiting.append(row)
                elif self._until is not None and fed.size > self._until:
                    return
                else:
                    covered = [waiting.popleft() for _ in range(fed.size - fed.first)]
                    yield fed.size, [*covered, row]

    async def _first_record(self, low: int, high: int) -> tuple[int, int] | None:
        """Index and time of the first audit record of [low, high)."""
        async for page in pages(self._reader, low, high, most=64):
            for row in page:
                value = audit_value(row)
                if isinstance(value, AuditRecord):
                    return value.index, row.timestamp
        return None

    async def _opening(self, bounds: Bounds, index: int) -> _Opening:
        """The last checkpoint of at most `index`."""
        if index:
            found = await _checkpoint_before(self._reader, bounds, index)
            if found is not None and found.size:
                following = await find_record(self._reader, found.size)
                low = found.offset + 1 if following is None else following[0].offset
                return found._replace(low=min(low, found.offset + 1))
        return _Opening(None, 0, -1, bounds.start)


async def checkpoint_at(reader: PartitionReader, size: int) -> CheckpointText | None:
    """What the log's last checkpoint of at most `size` says, unverified; None without one.

    Raises TransientError.
    """
    found = await _checkpoint_before(reader, await reader.bounds(), size)
    if found is None or found.checkpoint is None:
        return None
    return parse_checkpoint(found.checkpoint.note)[0]


async def _checkpoint_before(
    reader: PartitionReader, bounds: Bounds, size: int
) -> _Opening | None:
    end = bounds.end
    if size < LONG_MAX and (following := await find_record(reader, size)) is not None:
        # Behind this record only checkpoints that cover what is behind it, and late ones.
        end = min(bounds.end, following[0].offset + 65_536 * 2)
    back = FIRST_WINDOW
    while True:
        low = max(bounds.start, end - back)
        found = None
        async for page in pages(reader, low, end):
            for row in page:
                value = audit_value(row)
                if isinstance(value, Checkpoint) and (reached := checkpoint_size(value)) <= size:
                    found = _Opening(value, reached, row.offset, row.offset + 1)
        if found is not None or low == bounds.start:
            return found
        back *= 16


def _is_before(row: Record, opening: _Opening) -> bool:
    value = audit_value(row)
    if isinstance(value, AuditRecord):
        return value.index < opening.size
    return value is not None and row.offset <= opening.offset
