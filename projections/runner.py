"""The read loop: an audit partition's records, verified and sealed, handed to one projection.

Nothing reaches a projection before a checkpoint covers it. Every record is re-hashed and every
checkpoint opened by `streams.audit.trail`, whatever a broker or an earlier run said; a log that
fails stops its projection and pages. Where to go on is the projection's to say: its position is
saved inside its result. Normal start and crash recovery are the same path.

A log that the operator forked is read to the fork's size, where it must have the root that was
accepted; what stands behind that is void, and is not even looked at.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from projections.ports import Position, Projection, SealedBatch, SealedRecord
from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import open_note
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import TrustedKeys
from streams.audit.operations import EpochForked
from streams.audit.trail import Seal, Trail
from streams.errors import (
    BreakError,
    FencedError,
    OutcomeUnknownError,
    SettingsError,
    TransientError,
    VerificationError,
)
from streams.ports import Clock, PartitionReader
from streams.telemetry import metrics
from streams.telemetry.health import Health, Part
from streams.telemetry.logs import get_log

__all__ = ["PartitionRunner", "RunnerWorld", "SealedWalk"]

PAGE_RECORDS = 2000
WAIT_MS = 200
LAG_S = 1.0
STOPPED_S = 1.0  # how soon a fork is noticed where a log stopped its projection
RETRY_S, RETRY_MAX_S = 0.25, 10.0
log = get_log("runner")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerWorld:
    """One projection of one log.

    `idle_s`: quiet time after which the projection is told. `caught_up` is called each time an
    opened projection has read what the log held when it was opened. `fork` is the order that
    ended the log, None while nobody ended it; `finishes`: then the projection is told as in a
    quiet time, so that nothing of it waits for more.
    """

    name: str
    origin: str
    keys: TrustedKeys
    open_reader: Callable[[], PartitionReader]
    make: Callable[[], Projection]
    still_owns: Callable[[], Awaitable[bool]]
    lag_limit: int
    idle_s: float
    caught_up: Callable[[], None] = lambda: None
    fork: Callable[[], EpochForked | None] = lambda: None
    finishes: bool = False


class _Outcome(Enum):
    """Of one session: open the projection anew, leave it to another, or the log has ended."""

    AGAIN = 0
    LET_GO = 1
    ENDED = 2


class PartitionRunner:
    """Feeds one projection of one log, until that is over or another worker owns the partition."""

    def __init__(self, world: RunnerWorld, health: Health, clock: Clock) -> None:
        self._world = world
        self._health = health
        self._clock = clock

    async def run(self) -> bool:
        """Open the projection, follow the log, and open anew after what may pass.

        Returns:
            Whether the log has ended with a fork, and the projection has all of it.
        """
        reader = self._world.open_reader()
        part: Part = (self._world.name, reader.topic, reader.partition)
        gauge = metrics.PROJECTION_LAG.labels(self._world.name, reader.topic, reader.partition)
        following = _Following(self._world, self._health, self._clock, part, gauge.set)
        delay = RETRY_S
        try:
            while True:
                outcome = await self._one_session(following, reader, part)
                if outcome is not _Outcome.AGAIN:
                    return outcome is _Outcome.ENDED
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_S)
        finally:
            await reader.close()
            # Nobody follows this log here any more: an old lag must not page for ever.
            metrics.PROJECTION_LAG.remove(self._world.name, reader.topic, reader.partition)
            self._health.released(part)

    async def _one_session(
        self, following: "_Following", reader: PartitionReader, part: Part
    ) -> _Outcome:
        self._health.starting(part, lag_limit=self._world.lag_limit)
        projection = self._world.make()
        try:
            await following.follow(projection, reader)
        except FencedError as error:
            log.warning("fenced", projection=part[0], origin=self._world.origin, why=str(error))
            return _Outcome.AGAIN if await self._owned() else _Outcome.LET_GO
        except (OutcomeUnknownError, TransientError, SettingsError) as error:
            self._health.waiting(part, str(error))
            log.warning("reopening", projection=part[0], origin=self._world.origin, why=str(error))
        except VerificationError as verdict:
            if not await self._owned():
                return _Outcome.LET_GO
            await self._stop(projection, part, verdict)
        else:
            return _Outcome.ENDED
        finally:
            await projection.close()
        return _Outcome.AGAIN

    async def _owned(self) -> bool:
        try:
            return await self._world.still_owns()
        except TransientError:
            return True

    async def _stop(self, projection: Projection, part: Part, verdict: VerificationError) -> None:
        """Until the operator forks the log: before its end it may be as good as ever."""
        known = self._world.fork()
        self._health.stopped(part, verdict.reason, str(verdict))
        log.error("stopped", projection=part[0], origin=self._world.origin, why=str(verdict))
        await projection.close()
        while self._world.fork() == known:  # noqa: ASYNC110  # orders are followed elsewhere
            await asyncio.sleep(STOPPED_S)
        self._health.released(part)


class _Following:
    """One walk along the log, from where the projection says."""

    def __init__(
        self,
        world: RunnerWorld,
        health: Health,
        clock: Clock,
        part: Part,
        set_lag: Callable[[float], None],
    ) -> None:
        self._world = world
        self._health = health
        self._clock = clock
        self._part = part
        self._set_lag = set_lag

    async def follow(self, projection: Projection, reader: PartitionReader) -> None:
        """Returns where the log was forked, once the projection has all that was accepted of it.

        Raises:
            VerificationError: the log fails, or is not the one that the operator accepted.
            TransientError: void records were applied before they were, or what was accepted is
                not there; and what the projection raises.
        """
        position = await projection.resume()
        end, pace = _End(self._world, position), _Pace(self._clock)
        trail = Trail(self._world.origin, self._world.keys, position.opening)
        bounds = await reader.bounds()
        offset = bounds.start if position.offset is None else position.offset
        walk = SealedWalk(self._world.origin, trail, position)
        behind = True
        while not end.is_reached():
            fetched = await reader.fetch(offset, max_records=PAGE_RECORDS, max_wait_ms=WAIT_MS)
            offset = fetched.next_offset
            await _apply(projection, walk.feed(fetched.records), end)
            if behind and offset >= bounds.end:
                behind = False
                self._world.caught_up()
            if pace.is_idle(fetched.records, self._world.idle_s):
                await projection.idle()
                self._health.running(self._part, done=offset)
            if pace.is_to_measure():
                lag = max((await reader.bounds()).end - offset, 0)
                self._set_lag(lag)
                self._health.running(self._part, lag=lag)
                if not (lag or fetched.records):
                    end.refuse_short()
        if self._world.finishes:
            await projection.idle()
        if behind:
            self._world.caught_up()


async def _apply(projection: Projection, batches: Iterator[SealedBatch], end: "_End") -> None:
    # The end is looked for between two batches, before the next one is even verified.
    while not end.is_reached() and (batch := next(batches, None)) is not None:
        end.admit(batch)
        # A crash behind this line repeats the batch or not, as the projection saved it.
        await projection.apply(batch)
        end.applied(batch)


class _Pace:
    """When a projection is told that its log is quiet, and when its lag is measured."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quiet_since = clock.monotonic()
        self._measured = -LAG_S
        self._told = False

    def is_idle(self, records: Sequence[Record], idle_s: float) -> bool:
        """Whether nothing came for `idle_s` seconds; once a quiet time."""
        now = self._clock.monotonic()
        if records:
            self._quiet_since, self._told = now, False
        elif not self._told and now - self._quiet_since >= idle_s:
            self._told = True
            return True
        return False

    def is_to_measure(self) -> bool:
        """Once each `LAG_S` seconds."""
        now = self._clock.monotonic()
        if now - self._measured < LAG_S:
            return False
        self._measured = now
        return True


class _End:
    """Where a log ends, once an operator said so."""

    def __init__(self, world: RunnerWorld, position: Position) -> None:
        self._world = world
        self._first = self._size = position.index
        note = position.opening and position.opening.note
        self._root = open_note(note, world.origin, None).root if note else EMPTY_ROOT

    def is_reached(self) -> bool:
        """Whether all that was accepted of the log is applied.

        Raises:
            BreakError: the log is not the one that was accepted.
            TransientError: more than that was applied since the projection was opened.
        """
        fork = self._world.fork()
        if fork is None or self._size < fork.size:
            return False
        if self._size > max(fork.size, self._first):
            raise TransientError(
                f"{self._world.origin} was forked at size {fork.size}: what came behind is void"
            )
        if self._size == fork.size and self._root != fork.root:
            raise self._another(fork, self._root.hex())
        return True

    def admit(self, batch: SealedBatch) -> None:
        """Raises BreakError where a fork's size lies within a batch: nobody signed that root."""
        fork = self._world.fork()
        if fork is not None and batch.first < fork.size < batch.size:
            raise self._another(fork, "no checkpoint")

    def applied(self, batch: SealedBatch) -> None:
        """Take note of a batch."""
        self._size, self._root = batch.size, batch.root

    def refuse_short(self) -> None:
        """The log has no more. Raises TransientError where more than that was accepted."""
        fork = self._world.fork()
        if fork is not None and self._size < fork.size:
            raise TransientError(
                f"{fork.size} records of {self._world.origin} were accepted when it was forked, "
                f"and {self._size} are sealed in its audit topic: restore it from the archive"
            )

    def _another(self, fork: EpochForked, found: str) -> BreakError:
        detail = f"the operator accepted root {fork.root.hex()} at size {fork.size}, here {found}"
        return BreakError("fork", self._size, detail)


class SealedWalk:
    """Turns records into sealed batches; skips what lies before the position."""

    def __init__(self, origin: str, trail: Trail, position: Position) -> None:
        self._origin = origin
        self._trail = trail
        self._index = position.index
        self._skipping = position.opening is not None
        self._pending: deque[SealedRecord] = deque()

    def feed(self, records: list[Record]) -> Iterator[SealedBatch]:
        """The batches these records complete, each before the next record is looked at.

        Raises:
            BreakError: behind the batches that came before.
        """
        for record in records:
            if self._skipping and self._is_before(record):
                continue
            fed = self._trail.feed(record)
            if isinstance(fed, AuditRecord):
                self._pending.append(
                    SealedRecord(fed.index, fed.source, fed.content, fed.leaf, record)
                )
            elif fed is not None:
                self._skipping = False
                yield self._sealed(fed, record)

    def _is_before(self, record: Record) -> bool:
        # Records of the next segment may lie before the checkpoint that closed this one: until a
        # larger checkpoint came, each record says itself whether it was applied already.
        try:
            value = decode_audit_value(record.value or b"")
            if isinstance(value, AuditRecord):
                return value.index < self._index
            return open_note(value.note, self._origin, None).size <= self._index
        except (DecodeError, BreakError):
            return False

    def _sealed(self, seal: Seal, record: Record) -> SealedBatch:
        covered = [self._pending.popleft() for _ in range(seal.size - seal.first)]
        return SealedBatch(
            origin=seal.origin,
            first=seal.first,
            size=seal.size,
            root=seal.root,
            before=seal.before,
            records=covered,
            checkpoint=seal.checkpoint,
            checkpoint_record=record,
        )
