"""The read loop: an audit partition's records, verified and sealed, handed to one projection.

Nothing reaches a projection before a checkpoint covers it. Every record is re-hashed and every
checkpoint opened by `streams.audit.trail`, whatever a broker or an earlier run said; a log that
fails stops its projection and pages. Where to go on is the projection's to say: its position is
saved inside its result. Normal start and crash recovery are the same path.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from projections.ports import Position, Projection, SealedBatch, SealedRecord
from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import open_note
from streams.audit.note import TrustedKeys
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
RETRY_S, RETRY_MAX_S = 0.25, 10.0
log = get_log("runner")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerWorld:
    """One projection of one log.

    `idle_s`: quiet time after which the projection is told. `caught_up` is called each time an
    opened projection has read what the log held when it was opened.
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


class PartitionRunner:
    """Feeds one projection until it is cancelled or another worker owns the partition."""

    def __init__(self, world: RunnerWorld, health: Health, clock: Clock) -> None:
        self._world = world
        self._health = health
        self._clock = clock

    async def run(self) -> None:
        """Open the projection, follow the log, and open anew after what may pass."""
        reader = self._world.open_reader()
        part: Part = (self._world.name, reader.topic, reader.partition)
        gauge = metrics.PROJECTION_LAG.labels(self._world.name, reader.topic, reader.partition)
        following = _Following(self._world, self._health, self._clock, part, gauge.set)
        delay = RETRY_S
        try:
            while await self._one_session(following, reader, part):
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_S)
        finally:
            await reader.close()
            self._health.released(part)

    async def _one_session(
        self, following: "_Following", reader: PartitionReader, part: Part
    ) -> bool:
        """False: not ours any more."""
        self._health.starting(part, lag_limit=self._world.lag_limit)
        projection = self._world.make()
        try:
            await following.follow(projection, reader)
        except FencedError as error:
            log.warning("fenced", projection=part[0], origin=self._world.origin, why=str(error))
            return await self._owned()
        except (OutcomeUnknownError, TransientError, SettingsError) as error:
            self._health.waiting(part, str(error))
            log.warning("reopening", projection=part[0], origin=self._world.origin, why=str(error))
        except VerificationError as verdict:
            if not await self._owned():
                return False
            await self._stop(projection, part, verdict)
        finally:
            await projection.close()
        return True

    async def _owned(self) -> bool:
        try:
            return await self._world.still_owns()
        except TransientError:
            return True

    async def _stop(
        self, projection: Projection, part: Part, verdict: VerificationError
    ) -> NoReturn:
        self._health.stopped(part, verdict.reason, str(verdict))
        log.error("stopped", projection=part[0], origin=self._world.origin, why=str(verdict))
        await projection.close()
        await asyncio.Event().wait()
        raise AssertionError("a stopped projection went on")


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

    async def follow(self, projection: Projection, reader: PartitionReader) -> NoReturn:
        position = await projection.resume()
        trail = Trail(self._world.origin, self._world.keys, position.opening)
        bounds = await reader.bounds()
        offset = bounds.start if position.offset is None else position.offset
        walk = SealedWalk(self._world.origin, trail, position)
        measured, quiet_since, told = -LAG_S, self._clock.monotonic(), False
        behind = True
        while True:
            fetched = await reader.fetch(offset, max_records=PAGE_RECORDS, max_wait_ms=WAIT_MS)
            offset = fetched.next_offset
            for batch in walk.feed(fetched.records):
                # A crash behind this line repeats the batch or not, as the projection saved it.
                await projection.apply(batch)
            if behind and offset >= bounds.end:
                behind = False
                self._world.caught_up()
            now = self._clock.monotonic()
            if fetched.records:
                quiet_since, told = now, False
            elif not told and now - quiet_since >= self._world.idle_s:
                await projection.idle()
                told = True
                self._health.running(self._part, done=offset)
            if now - measured >= LAG_S:
                measured = now
                lag = max((await reader.bounds()).end - offset, 0)
                self._set_lag(lag)
                self._health.running(self._part, lag=lag)


class SealedWalk:
    """Turns records into sealed batches; skips what lies before the position."""

    def __init__(self, origin: str, trail: Trail, position: Position) -> None:
        self._origin = origin
        self._trail = trail
        self._index = position.index
        self._skipping = position.opening is not None
        self._pending: deque[SealedRecord] = deque()

    def feed(self, records: list[Record]) -> list[SealedBatch]:
        """The batches these records complete. Raises BreakError."""
        batches = []
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
                batches.append(self._sealed(fed, record))
        return batches

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
