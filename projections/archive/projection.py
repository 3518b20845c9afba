"""The archive projection: sealed batches in, segments out (design: a segment, then its manifest).

Its position is the archive itself: what is held in memory since the last cut is read again after a
crash, from the audit offset the newest manifest names.

While a closed segment is compressed and sent, the next one is filled; one at a time is on its way.
Where another archiver stored something else under its name, what was filled meanwhile is cut anew
behind that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from projections.archive.fold import (
    ClosedSegment,
    CutRules,
    OpenSegment,
    cut_after,
    cut_before,
)
from projections.archive.store import ArchiveStore, Head, Stored, encoded
from projections.ports import Position, SealedBatch
from streams.audit.checkpoint import open_note
from streams.audit.note import TrustedKeys
from streams.ports import Clock, ObjectStore, Posted
from streams.tasks import cancelled

__all__ = ["ArchiveProjection", "ArchiveWorld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveWorld:
    """What the archives of all logs share. `keys` sign the checkpoints."""

    objects: ObjectStore
    keys: TrustedKeys
    clock: Clock
    retain_days: int
    rules: CutRules = field(default_factory=CutRules)


class _Writing(NamedTuple):
    # A segment on its way, as it was when it was closed.
    segment: OpenSegment
    size: int
    task: asyncio.Task[Stored]


class ArchiveProjection:
    """Archives one log. Others may do so at the same time: nothing is stored twice.

    Holds two segments, one open and one on its way: each at most `CutRules.bytes_max`, or one
    batch if that is larger.
    """

    def __init__(
        self,
        world: ArchiveWorld,
        origin: str,
        reached: Callable[[Posted], None] = lambda _reached: None,
    ) -> None:
        """`reached` is told how far the archive reaches, each time that is known anew."""
        self._origin = origin
        self._reached = reached
        self._rules = world.rules
        self._clock = world.clock
        self._store = ArchiveStore(
            objects=world.objects,
            origin=origin,
            keys=world.keys,
            retain_days=world.retain_days,
            clock=world.clock,
        )
        self._head: Head | None = None
        self._open = OpenSegment(0, None)
        self._writing: _Writing | None = None
        self._since: list[SealedBatch] = []  # taken while it was on its way
        self._waiting = _Waiting(world.clock)

    async def resume(self) -> Position:
        """Read how far the archive reaches, and complete what was interrupted.

        Raises:
            VerificationError: what is archived is not what was archived.
            TransientError, OutcomeUnknownError: open anew.
        """
        self._stand_at(head := await self._store.resume())
        self._open = OpenSegment(head.size, head.closing)
        return Position(head.size, head.closing, head.offset)

    async def apply(self, batch: SealedBatch) -> None:
        """Take one batch, and begin to write a segment where one ends.

        Raises:
            VerificationError: the log differs from its archive, or the store broke its promise.
            TransientError, OutcomeUnknownError: open anew; nothing is lost. What a segment on its
                way met is raised by a later call.
        """
        if self._writing is not None and self._writing.task.done():
            await self._settle()
        await self._take(batch)

    async def idle(self) -> None:
        """Write what is held; the log was quiet for a while. Raises as `apply`."""
        while self._open.records or self._writing is not None:
            if self._open.records:
                await self._cut()
            await self._settle()

    async def close(self) -> None:
        """What is held was not acknowledged, and is read again."""
        writing, self._writing = self._writing, None
        # What it has sent may be applied later all the same, as by a process that died.
        await cancelled(writing and writing.task)
        self._open, self._since = OpenSegment(0, None), []

    async def _take(self, batch: SealedBatch) -> None:
        # Behind another archiver's segment the batch may still be cut before, and again.
        while cut_before(self._open, batch, self._rules):
            await self._cut()
        self._open.add(batch)
        if self._writing is not None:
            self._since.append(batch)
        while cut_after(self._open, self._rules) or self._is_old():
            await self._cut()
        self._note_age()

    async def _cut(self) -> None:
        """Close the open segment and begin to write it; or find that there is another one now."""
        assert self._head is not None, "resume comes first"
        before, closed = self._open, self._open.close()
        # Compressed while the one before is still being sent.
        encoding = asyncio.create_task(encoded(closed))
        try:
            await self._settle()
        except BaseException:
            await cancelled(encoding)
            raise
        if self._open is not before:
            await cancelled(encoding)
            return
        put = asyncio.create_task(self._put(closed, self._head, encoding))
        self._writing = _Writing(before, closed.size, put)
        self._open = before.rest(closed.size, closed.closing, closed.leaves)
        self._waiting.end()

    async def _put(
        self, closed: ClosedSegment, head: Head, encoding: asyncio.Task[bytes]
    ) -> Stored:
        return await self._store.put(closed, head, await encoding)

    async def _settle(self) -> None:
        """Wait until nothing is on its way. Raises what it met."""
        if self._writing is None:
            return
        segment, size, task = self._writing
        stored = await task
        # Now everything below the new head is durable, by us or by another archiver.
        self._stand_at(stored.head)
        since, self._since, self._writing = self._since, [], None
        closing = stored.head.closing
        assert closing is not None
        if (stored.head.size, closing) != (size, self._open.opening):
            self._open = segment.rest(stored.head.size, closing, stored.leaves)
            for batch in since:
                await self._take(batch)
            self._note_age()

    def _stand_at(self, head: Head) -> None:
        self._head = head
        if head.closing is not None and head.offset is not None:
            root = open_note(head.closing.note, self._origin, None).root
            self._reached(Posted(head.offset, head.size, root))

    def _is_old(self) -> bool:
        return self._open.records > 0 and self._waiting.seconds() >= self._rules.age_s_max

    def _note_age(self) -> None:
        if self._open.records:
            self._waiting.begin()
        else:
            self._waiting.end()


class _Waiting:
    """How long the first record that is held has been held."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None

    def begin(self) -> None:
        if self._since is None:
            self._since = self._clock.monotonic()

    def end(self) -> None:
        self._since = None

    def seconds(self) -> float:
        return 0 if self._since is None else self._clock.monotonic() - self._since
