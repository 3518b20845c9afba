"""The write loop of one log: what the source holds becomes audit records under checkpoints.

Two halves run side by side over one fenced writer. The append half moves records, one transaction
a batch, and never waits for a signature until the tail is full. The notarise half signs only what
is committed and posted; its note rides in a later transaction. No crash between any two steps can
therefore make one origin sign two histories (docs/explanation/sealing.md).

Whatever fails, the writer is dropped and `streams.recovery` starts again from what is durable.
"""

import asyncio
from dataclasses import dataclass
from typing import NoReturn

from schemas.audit_values import decode_audit_value
from schemas.records import AuditRecord
from streams.audit.merkle import Frontier
from streams.audit.sealing import (
    TAIL_BYTES_MAX,
    TAIL_RECORDS_MAX,
    TRANSACTION_RECORDS_MAX,
    Plan,
    checkpoint_record,
    plan_batch,
)
from streams.errors import (
    FencedError,
    NotOwnerError,
    OutcomeUnknownError,
    SettingsError,
    SourceChangedError,
    TransientError,
    VerificationError,
)
from streams.ports import Bounds, Clock, Fetched, PartitionWriter, Posted
from streams.recovery import (
    LogWorld,
    Recovered,
    check_identity,
    check_last_leaf,
    recover,
    signed_note,
)
from streams.sealing_session import (
    RECORD_OVERHEAD,
    Note,
    Session,
    ended,
    fitting,
    side_by_side,
)
from streams.tasks import any_of
from streams.telemetry import metrics
from streams.telemetry.health import Health, Part
from streams.telemetry.logs import get_log

__all__ = ["PartitionSealer", "SealerLimits"]

FETCH_WAIT_MS = 500
LARGEST_BATCH = 9 * 2**20  # one record of the largest content alone, framed
RECHECK_S = 60.0
LAG_S = 1.0
log = get_log("sealer")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealerLimits:
    """`linger_ms`: how long a small batch, or a note with nothing to ride on, waits."""

    linger_ms: int = 5
    records_max: int = TRANSACTION_RECORDS_MAX
    tail_records_max: int = TAIL_RECORDS_MAX
    tail_bytes_max: int = TAIL_BYTES_MAX
    retry_s: float = 0.25
    retry_max_s: float = 10.0


class PartitionSealer:
    """Seals one source partition until it is cancelled or another member owns the partition."""

    def __init__(
        self, world: LogWorld, limits: SealerLimits, health: Health, clock: Clock
    ) -> None:
        self._world = world
        self._limits = limits
        self._health = health
        self._clock = clock
        self._posted: Posted | None = None
        self._asked: Posted | None = None  # last asked for: posted, or perhaps posted
        self.part: Part = ("sealer", world.source.topic, world.source.partition)
        labels = (world.source.topic, str(world.source.partition))
        self._sealed = metrics.SEALED_RECORDS.labels(*labels)
        self._tail_gauge = metrics.TAIL_RECORDS.labels(*labels)
        self._age_gauge = metrics.CHECKPOINT_AGE.labels(*labels)
        self._lag_gauge = metrics.SOURCE_LAG.labels(*labels)

    async def run(self) -> None:
        """Recover, seal, and start over on every failure that starting over can mend."""
        delay = self._limits.retry_s
        try:
            while True:
                began = self._clock.monotonic()
                if not await self._one_session():
                    return
                # A session that lasted was healthy: the next failure is a new one.
                lasted = self._clock.monotonic() - began > self._limits.retry_max_s
                delay = (
                    self._limits.retry_s if lasted else min(delay * 2, self._limits.retry_max_s)
                )
                await asyncio.sleep(delay)
        finally:
            self._health.released(self.part)

    async def _one_session(self) -> bool:
        """False: not ours any more."""
        self._health.starting(self.part)
        writer = self._world.make_writer()
        try:
            await self._seal(await recover(self._world, writer))
        except NotOwnerError as error:
            log.info("partition let go", origin=self._world.origin, why=str(error))
            return False
        except FencedError as error:
            # An expired transaction looks like a fence: the group knows who owns the partition.
            log.warning("fenced", origin=self._world.origin, why=str(error))
            return await self._still_owner()
        except (OutcomeUnknownError, TransientError, SettingsError) as error:
            # SettingsError: a permission or a topic's limit; an operator may mend it meanwhile.
            self._health.waiting(self.part, str(error))
            log.warning("recovering", origin=self._world.origin, why=str(error))
        except VerificationError as verdict:
            return await self._stop(writer, verdict)
        finally:
            await writer.close()
        return True

    async def _stop(self, writer: PartitionWriter, verdict: VerificationError) -> bool:
        """A verdict counts only from the one who may still write: a zombie must not page."""
        try:
            await writer.confirm()
        except FencedError:
            return await self._still_owner()
        except (OutcomeUnknownError, TransientError):
            return True
        self._health.stopped(self.part, verdict.reason, str(verdict))
        log.error("partition stopped", origin=self._world.origin, why=str(verdict))
        await writer.close()
        await asyncio.Event().wait()
        return True

    async def _still_owner(self) -> bool:
        # What was asked for last, since an older one could lower what the group has.
        posted = self._asked
        try:
            if posted is None:
                return True
            await self._world.source.post(posted)
        except NotOwnerError:
            return False
        except TransientError:
            return True
        return True

    async def _seal(self, found: Recovered) -> None:
        tail = found.tail
        session = Session(
            writer=found.writer,
            found=found,
            committed=tail.committed,
            committed_offset=found.offset,
            timestamp=tail.timestamp,
            signed_size=tail.signed.size,
            audit_end=found.audit_end,
            planned=tail.committed.copy(),
            planned_offset=found.offset,
            fetch_offset=found.offset,
        )
        unsigned = [r for r in tail.records if r.index >= tail.signed.size]
        if unsigned:
            size = sum(len(r.content) + RECORD_OVERHEAD for r in unsigned)
            session.tail.append((tail.committed.size, size))
            session.tail_since = self._clock.monotonic()
        self._posted = self._asked = found.posted
        if found.posted is None:
            # What is committed may be posted; from now on the group can say whose it is.
            size, root = tail.committed.size, tail.committed.root()
            await self._post(Posted(found.offset, size, root))
        log.info(
            "sealing", origin=self._world.origin, size=tail.committed.size, source=found.offset
        )
        self._health.running(self.part)
        await side_by_side(
            self._append_half(session), self._notarise_half(session), self._watch(session)
        )

    # The append half

    async def _append_half(self, s: Session) -> NoReturn:
        commit: asyncio.Task[None] | None = None
        try:
            while True:
                plan = await self._next_plan(s, commit)
                if commit is not None:
                    await commit
                # The next batch is fetched and planned while this one commits.
                commit = asyncio.create_task(self._commit(s, plan, s.planned_offset))
        finally:
            await ended(commit, s.fetch)

    async def _next_plan(self, s: Session, commit: asyncio.Task[None] | None) -> Plan | None:
        """The next batch, or None when the note in hand goes in a transaction of its own."""
        while True:
            s.ready.clear()
            self._take_fetched(s)
            if s.held and self._room(s) > 0:
                return self._plan(s)
            if (commit is None or commit.done()) and self._note_is_due(s):
                return None
            waits = {t for t in (s.fetch, commit) if t is not None and not t.done()}
            await any_of(s.ready, waits, self._limits.linger_ms / 1000 if s.note else None)
            if commit is not None and commit.done():
                commit.result()

    def _take_fetched(self, s: Session) -> None:
        if s.held:
            return
        if s.fetch is None:
            s.fetch = asyncio.create_task(self._fetch(s.fetch_offset))
        elif s.fetch.done():
            fetched = s.fetch.result()
            s.fetch = None
            s.held.extend(fetched.records)
            s.fetch_offset = fetched.next_offset
            if not s.held:
                s.fetch = asyncio.create_task(self._fetch(s.fetch_offset))

    async def _fetch(self, offset: int) -> Fetched:
        source = self._world.source
        try:
            return await self._fetch_some(offset)
        except SourceChangedError as error:
            bounds = await source.bounds()
            if bounds.start <= offset <= bounds.high_watermark:
                raise
            # Recovery tells a gap from markers, and a cut of what is sealed from one behind it.
            raise TransientError(str(error)) from error

    async def _fetch_some(self, offset: int) -> Fetched:
        source, most = self._world.source, self._limits.records_max
        fetched = await source.fetch(offset, max_records=most, max_wait_ms=FETCH_WAIT_MS)
        if 0 < len(fetched.records) < most and self._limits.linger_ms:
            # A small batch waits a moment for company: a transaction costs more than a record.
            await asyncio.sleep(self._limits.linger_ms / 1000)
            most -= len(fetched.records)
            more = await source.fetch(fetched.next_offset, max_records=most, max_wait_ms=0)
            fetched = Fetched([*fetched.records, *more.records], more.next_offset)
        return fetched

    def _note_is_due(self, s: Session) -> bool:
        if s.note is None:
            return False
        waited_ms = (self._clock.monotonic() - s.note.ready_at) * 1000
        return bool(s.held) or waited_ms >= self._limits.linger_ms

    def _room(self, s: Session) -> int:
        """Records the tail can still take; the largest transaction always fits in its bytes."""
        if sum(size for _, size in s.tail) > self._limits.tail_bytes_max - LARGEST_BATCH:
            return 0
        return self._limits.tail_records_max - (s.planned.size - s.signed_size)

    def _plan(self, s: Session) -> Plan:
        most = min(self._room(s), self._limits.records_max, TRANSACTION_RECORDS_MAX)
        batch = [s.held.popleft() for _ in range(fitting(s.held, most))]
        source = self._world.source
        plan = plan_batch(s.planned, source.topic, source.partition, batch)
        s.planned = plan.frontier
        s.tail.append((plan.frontier.size, plan.bytes))
        s.planned_offset = s.held[0].offset if s.held else s.fetch_offset
        return plan

    async def _commit(self, s: Session, plan: Plan | None, offset: int) -> None:
        note = s.note
        rows = (
            [] if note is None else [checkpoint_record(note.text, note.frontier, note.timestamp)]
        )
        records = plan.records if plan else []
        appended = await s.writer.append([*rows, *records])
        count = len(rows) + len(records)
        if appended.first_offset < s.audit_end or (
            appended.last_offset - appended.first_offset != count - 1
        ):
            raise OutcomeUnknownError(
                f"{count} records were acknowledged at offsets {appended.first_offset} to "
                f"{appended.last_offset}, expected them in one run from {s.audit_end} on"
            )
        s.audit_end = appended.last_offset + 1 + s.writer.marker_offsets
        # Now the records are history, and so is the note that rode with them.
        if note is not None:
            s.signed_size, s.note = note.frontier.size, None
            while s.tail and s.tail[0][0] <= s.signed_size:
                s.tail.popleft()
            s.tail_since = self._clock.monotonic()
        if plan is not None:
            if s.committed.size == s.signed_size:
                s.tail_since = self._clock.monotonic()
            s.committed, s.committed_offset = plan.frontier, offset
            s.last_row, s.timestamp = records[-1], records[-1].timestamp
            self._sealed.inc(len(records))
        self._tail_gauge.set(s.committed.size - s.signed_size)
        s.committed_more.set()

    # The notarise half

    async def _notarise_half(self, s: Session) -> NoReturn:
        covered = s.signed_size
        while True:
            s.committed_more.clear()
            if s.note is not None or s.committed.size <= covered:
                if s.note is None:
                    # Nothing to sign, but perhaps markers that a later log start may sit on.
                    root = s.committed.root()
                    await self._post(Posted(s.committed_offset, s.committed.size, root))
                await s.committed_more.wait()
                continue
            frontier, timestamp, offset = s.committed.copy(), s.timestamp, s.committed_offset
            await self._post(Posted(offset, frontier.size, frontier.root()))
            # Now this size and root are posted: no later start can choose another history.
            with metrics.SIGN_DURATION.time():
                text = await self._sign(s, frontier)
            s.note = Note(text, frontier, timestamp, self._clock.monotonic())
            covered = frontier.size
            s.ready.set()

    async def _sign(self, s: Session, frontier: Frontier) -> str:
        delay = self._limits.retry_s
        while True:
            try:
                text = await signed_note(self._world, frontier)
            except (TransientError, SettingsError) as error:
                # Appending goes on until the tail is full; readiness says why no one signs.
                s.signer_failure = f"the signer fails: {error}"
                self._health.waiting(self.part, s.signer_failure)
                await asyncio.sleep(delay)
                delay = min(delay * 2, self._limits.retry_max_s)
            else:
                s.signer_failure = ""
                return text

    async def _post(self, posted: Posted) -> None:
        if self._posted is not None and posted.offset < self._posted.offset:
            posted = posted._replace(offset=self._posted.offset)
        if posted != self._posted:
            self._asked = posted
            await self._world.source.post(posted)
            self._posted = posted

    # Once a minute, and the gauges

    async def _watch(self, s: Session) -> NoReturn:
        checked = self._clock.monotonic()
        while True:
            await asyncio.sleep(LAG_S)
            source = await self._world.source.bounds()
            self._pass_markers(s)
            self._lag(s, source)
            if self._clock.monotonic() - checked < RECHECK_S:
                continue
            checked = self._clock.monotonic()
            await check_identity(self._world, s.found.claim)
            # The last commit's marker may still be on its way: its records never are.
            expected = s.audit_end - s.writer.marker_offsets
            if (await self._world.audit.bounds()).high_watermark < expected:
                raise OutcomeUnknownError("the audit partition ends before what was committed")
            last = self._last_leaf(s)
            if last is not None:
                await check_last_leaf(self._world, last)

    def _pass_markers(self, s: Session) -> None:
        """Where all that was fetched is committed, what lies behind it are markers and aborted."""
        is_idle = not s.held and s.planned.size == s.committed.size
        if is_idle and s.fetch_offset > s.committed_offset:
            s.committed_offset = s.fetch_offset
            s.committed_more.set()

    def _lag(self, s: Session, source: Bounds) -> None:
        lag = max(source.end - s.committed_offset, 0)
        self._lag_gauge.set(lag)
        waits = s.committed.size > s.signed_size
        self._age_gauge.set(self._clock.monotonic() - s.tail_since if waits else 0)
        self._health.running(self.part, lag=lag, done=None if waits else s.committed_offset)
        if s.signer_failure:
            self._health.waiting(self.part, s.signer_failure)

    def _last_leaf(self, s: Session) -> AuditRecord | None:
        if s.last_row is None:
            return s.found.tail.records[-1] if s.found.tail.records else None
        value = decode_audit_value(s.last_row.value)
        return value if isinstance(value, AuditRecord) else None
