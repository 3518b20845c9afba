"""A sealed log against the source it was sealed from, while that still exists.

Nothing inside a log can show that its sealer left a record out, or made one up. The source can:
every record it still holds up to the last sealed one must have its leaf, and every leaf of an
offset it has not given up must be of a record it holds, byte for byte. What retention took from
the source says nothing. Records behind the last leaf are not sealed yet, or held back: time tells.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from schemas.audit_values import encode_content
from schemas.canonical import LONG_MAX
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import parse_log_name
from streams.errors import BreakError
from streams.verifier.verdicts import Trust

__all__ = ["OpenSource", "SourceComparison", "SourcePages"]


class SourcePages(Protocol):
    """A source partition, read once, in order.

    Attributes:
        start: the first offset it still holds; it may rise while it is read.
    """

    start: int

    async def next(self) -> list[Record]:
        """Some records more; none at the end. Raises TransientError, SourceUnreadableError."""

    async def close(self) -> None:
        """Idempotent."""


OpenSource = Callable[[str], Awaitable[SourcePages | None]]


class SourceComparison:
    """Takes the records of a log in order.

    Attributes:
        first: the first index that could be compared; None before any.
    """

    def __init__(self, open_source: OpenSource, trust: Trust) -> None:
        """Begin before the first record.

        Args:
            open_source: of an origin; gives None where the source is gone.
            trust: says which logs have ended: their source was cut, or is another one now, and
                says nothing of them. And from which offset on an epoch has every record.
        """
        self.first: int | None = None
        self._open = open_source
        self._trust = trust
        self._begins_at = 0
        self._is_open = False
        self._pages: SourcePages | None = None
        self._page: list[Record] = []
        self._at = 0
        self._last = -1

    @property
    def state(self) -> str:
        """`checked` if anything could be compared, else `missing`."""
        return "missing" if self.first is None else "checked"

    async def take(self, leaf: AuditRecord, origin: str) -> list[BreakError]:
        """What the source says against the next record of the log `origin`.

        `sequence`: before it a record was left out. `altered`: the source holds another record at
        its offset, or none. A record out of order is left to `streams.audit.trail`.
        """
        if not self._is_open:
            await self._begin(origin)
        offset = leaf.source.offset
        if self._pages is None or offset <= self._last:
            return []
        self._last = offset
        skipped, record = await self._advance(self._pages, offset)
        self._begins_at = min(self._begins_at, offset)
        if offset < self._pages.start:
            return []
        found = []
        if skipped is not None:
            detail = f"the source record of offset {skipped} was left out"
            found.append(BreakError("sequence", leaf.index, detail))
        if self.first is None:
            self.first = leaf.index
        if record is None:
            detail = f"the source holds no record of offset {offset}"
            found.append(BreakError("altered", leaf.index, detail))
        elif (record.timestamp, encode_content(record)) != (leaf.source.timestamp, leaf.content):
            detail = f"the source holds another record at offset {offset}"
            found.append(BreakError("altered", leaf.index, detail))
        return found

    async def close(self) -> None:
        """Idempotent."""
        if self._pages is not None:
            await self._pages.close()

    async def _begin(self, origin: str) -> None:
        self._is_open = True
        if self._trust.void_from(origin) is not None:
            return
        self._pages = await self._open(origin)
        begins_at = self._trust.begins_at(origin)
        if begins_at is None and parse_log_name(origin).epoch:
            # Where it had to begin was not told: it may have begun at its first record.
            begins_at = LONG_MAX
        self._begins_at = begins_at or 0

    async def _advance(self, pages: SourcePages, offset: int) -> tuple[int | None, Record | None]:
        """The first offset passed over on the way to `offset`, and the record there."""
        skipped = None
        while True:
            for record in self._page[self._at :]:
                if record.offset >= offset:
                    break
                is_due = record.offset >= self._begins_at
                skipped = record.offset if skipped is None and is_due else skipped
                self._at += 1
            if self._at < len(self._page):
                break
            self._page, self._at = await pages.next(), 0
            if not self._page:
                return skipped, None
        record = self._page[self._at]
        if record.offset != offset:
            return skipped, None
        self._at += 1
        return skipped, record
