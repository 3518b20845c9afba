"""One log copied: pieces from where it is, what is new of them to the staging log.

The next piece is read and verified while one is written; no more than that is in memory.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Protocol

from projections.replay.fold import Continuation, LogPlan, Piece, StagedEnd
from projections.replay.staging import StagingLog
from schemas.records import Record
from streams.errors import OutcomeUnknownError, SettingsError, TransientError
from streams.tasks import cancelled
from streams.telemetry.logs import get_log
from streams.verifier import SILENT, Progress

__all__ = ["Copied", "LogSource", "copy_log"]

TRIES = 5
RETRY_S = 0.5
log = get_log("replay")


class LogSource(Protocol):
    """Where a log is read: `live.LiveLog`, `archived.ArchivedLog`."""

    async def plan(self, begin: int) -> LogPlan:
        """What a copy reads."""

    def pieces(self, begin: int) -> AsyncGenerator[Piece, None]:
        """The rows of a copy, verified."""


class Copied(NamedTuple):
    """What a copy came to: the size the staging log has now, and rows written by this run."""

    size: int
    rows: int
    resumed: bool


async def copy_log(
    source: LogSource, staging: StagingLog, begin: int, progress: Progress = SILENT
) -> Copied:
    """Copy a log, from the checkpoint at or below `begin` on, or from where a copy ended.

    Raises:
        BreakError: the source's, or the staging log is no copy of it; nothing behind is copied.
        FencedError: another copy into the same place was started.
        TransientError: a server failed for too long; run again.
        SettingsError: another copy stands there, or the topic refuses what is written.
    """
    written = 0
    for attempt in range(1, TRIES + 1):
        copying = _Copying(source, staging, progress)
        try:
            done = await copying.run(begin)
        except (OutcomeUnknownError, TransientError) as error:
            if attempt == TRIES:
                raise TransientError(f"given up after {TRIES} attempts: {error}") from error
            log.warning("copying again", attempt=attempt, why=str(error))
            await asyncio.sleep(RETRY_S * attempt)
        else:
            return done._replace(rows=done.rows + written)
        finally:
            await staging.close()
        written += copying.rows
    raise AssertionError("unreachable")


class _Copying:
    """One attempt. `rows`: how many it wrote."""

    def __init__(self, source: LogSource, staging: StagingLog, progress: Progress) -> None:
        self._source = source
        self._staging = staging
        self._progress = progress
        self._end: StagedEnd | None = None
        self._is_writing = False
        self.rows = 0

    async def run(self, begin: int) -> Copied:
        self._end = await self._staging.end()
        await self._check_beginning(begin)
        staged = self._end.last if self._end else None
        continuation = Continuation(staged)
        size = staged.size if staged else 0
        start = begin if staged is None else staged.begin
        async with aclosing(_ahead(self._source.pieces(start))) as pieces:
            async for piece in pieces:
                await self._write(continuation.behind(piece.rows))
                self._progress.advance(len(piece.rows), len(piece.rows))
                size = max(size, piece.size)
        await self._write(continuation.finish())
        return Copied(size, self.rows, resumed=staged is not None)

    async def _write(self, rows: list[Record]) -> None:
        if not rows:
            return
        if not self._is_writing:
            # Not before there is something to write: a living writer there is left in peace.
            if await self._staging.start() != self._end:
                raise OutcomeUnknownError("somebody else wrote to the place of the copy")
            self._is_writing = True
        await self._staging.append(rows)
        self.rows += len(rows)

    async def _check_beginning(self, begin: int) -> None:
        if self._end is None:
            return
        first = (await self._source.plan(begin)).first
        if self._end.first != first:
            sentence = (
                f"the copy there begins at index {self._end.first}, this one would at {first}"
            )
            raise SettingsError([f"{sentence}: use another place for it"])


async def _ahead(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The same pieces, the next one fetched while one is used."""
    async with aclosing(pieces):
        task = asyncio.create_task(_next(pieces))
        try:
            while True:
                await asyncio.wait({task})
                piece = task.result()
                if piece is None:
                    return
                task = asyncio.create_task(_next(pieces))
                yield piece
        finally:
            await cancelled(task)


async def _next(pieces: AsyncGenerator[Piece, None]) -> Piece | None:
    return await anext(pieces, None)
