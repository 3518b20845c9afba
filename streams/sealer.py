"""The write loop of one log: what the source holds becomes audit records under checkpoints.

Two halves run side by side over one fenced writer. The append half moves records, one transaction
a batch, and never waits for a signature until the tail is full. The notarise half signs only what
is committed and posted; its note rides in a later transaction. No crash between any two steps can
therefore make one origin sign two histories (docs/explanation/sealing.md).

Whatever fails, the writer is dropped and `streams.recovery` starts again from what is durable.
"""

import asyncio
from math import inf
from typing import NoReturn

from streams.audit.merkle import Frontier
from streams.audit.sealing import Plan, checkpoint_record
from streams.errors import (
    FencedError,
    ForkedError,
    NotOwnerError,
    OutcomeUnknownError,
    SettingsError,
    SourceChangedError,
    TransientError,
    VerificationError,
)
from streams.ports import Clock, Fetched, PartitionWriter, Posted
from streams.recovery import Doubts, LogWorld, Recovered, check_open, recover, signed_note
from streams.sealing_session import Note, SealerLimits, Session
from streams.sealing_watch import SealingWatch, SourceCutError, is_rotated, refuse_cut
from streams.standstill import Standstill
from streams.tasks import any_of, cancelled, side_by_side
from streams.telemetry import metrics
from streams.telemetry.health import Health, Part
from streams.telemetry.logs import get_log

__all__ = ["PartitionSealer", "SealerLimits"]

FETCH_WAIT_MS = 500
BEHIND_MS = 50
log = get_log("sealer")


class PartitionSealer:
    """Seals one log until it is cancelled, forked, or another member owns the partition.

    Attributes:
        is_forked: the operator ended the log, and the partition is still ours: its next epoch is
            to be sealed.
    """

    def __init__(
        self, world: LogWorld, limits: SealerLimits, health: Health, clock: Clock
    ) -> None:
        self._world = world
        self._limits = limits
        self._health = health
        self._clock = clock
        self._posted: Posted | None = None
        self._has_passed = True  # what the posted offset says it has
        self._asked: Posted | None = None  # last asked for: posted, or perhaps posted
        self.part: Part = ("sealer", world.source.topic, world.source.partition)
        self._session: Session | None = None
        self.is_forked = False
        self._is_stopped = False  # and told so
        self._doubts = Doubts()
        self._watch = SealingWatch(world, health, clock, self.part)
        self._standstill = Standstill(world)
        labels = (world.source.topic, str(world.source.partition))
        self._sealed = metrics.SEALED_RECORDS.labels(*labels)

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
        if not self._is_stopped:
            self._health.starting(self.part)
        writer = self._world.make_writer()
        self._session = None
        try:
            found = await recover(self._world, writer, self._doubts)
            self._doubts = Doubts()
            await self._seal(found)
        except NotOwnerError as error:
            log.info("partition let go", origin=self._world.origin, why=str(error))
            return False
        except FencedError as error:
            # An expired transaction looks like a fence: the group knows who owns the partition.
            log.warning("fenced", origin=self._world.origin, why=str(error))
            return await self._still_owner()
        except (OutcomeUnknownError, TransientError, SettingsError) as error:
            # SettingsError: a permission or a topic's limit; an operator may mend it meanwhile.
            self._doubts = Doubts(
                self._doubts.log or isinstance(error, OutcomeUnknownError),
                self._doubts.source or isinstance(error, SourceCutError),
            )
            if not self._is_stopped:
                self._health.waiting(self.part, str(error))
            log.warning("recovering", origin=self._world.origin, why=str(error))
        except ForkedError as error:
            # No page: the operator knows, and what is not sealed yet is due in the next epoch.
            log.warning("log ended", origin=self._world.origin, why=str(error))
            self.is_forked = await self._still_owner()
            return False
        except VerificationError as verdict:
            verdict.reached = verdict.reached or self._reached()
            return await self._stop(writer, verdict)
        finally:
            await writer.close()
        return True

    async def _stop(self, writer: PartitionWriter, found: VerificationError) -> bool:
        """A verdict counts only from the one who may still write: a zombie must not page."""
        try:
            await writer.confirm()
        except FencedError:
            return await self._still_owner()
        except (OutcomeUnknownError, TransientError, SettingsError) as error:
            # SettingsError: it may not ask. Nobody else's partition stops for that.
            if not self._is_stopped:
                self._health.waiting(self.part, str(error))
            return True
        if self._is_stopped:
            self._health.released(self.part)  # another reason, perhaps
        self._is_stopped = True
        self._health.stopped(self.part, found.reason, str(found))
        log.error("partition stopped", origin=self._world.origin, why=str(found))
        await writer.close()
        await self._standstill.wait_out(found)
        return await self._still_owner()

    def _reached(self) -> tuple[int, int, bytes] | None:
        return self._session.reached[:3] if self._session else None

    async def _still_owner(self) -> bool:
        # What was asked for last, since an older one could lower what the group has.
        posted = self._asked
        try:
            if posted is None:
                return True
            await self._world.source.post(posted)
        except NotOwnerError:
            return False
        except (TransientError, SettingsError):
            return True
        return True

    async def _seal(self, found: Recovered) -> None:
        s = Session.begin(found, self._limits, self._clock.monotonic())
        self._session = s
        await self._watch.begin(s)
        self._posted = self._asked = found.posted
        if found.posted is None:
            # What is committed may be posted; from now on the group can say whose it is.
            await self._post(s.reached)
        log.info("sealing", origin=self._world.origin, size=s.committed.size, source=found.offset)
        if self._is_stopped:
            self._is_stopped = False
            self._health.released(self.part)
        self._health.running(self.part)
        await side_by_side(self._append_half(s), self._notarise_half(s), self._watch.run(s))

    # The append half

    async def _append_half(self, s: Session) -> NoReturn:
        commit: asyncio.Task[None] | None = None
        try:
            await self._restore(s)
            while True:
                plan = await self._next_plan(s, commit)
                if commit is not None:
                    await commit
                # The next batch is fetched and planned while this one commits.
                commit = asyncio.create_task(self._commit(s, plan, s.planned_offset))
        finally:
            await cancelled(commit, s.fetch)

    async def _restore(self, s: Session) -> None:
        """What the log lost comes first, within the limits of transactions and of the tail."""
        if s.found.missing is None:
            return
        log.warning("restoring lost records", origin=self._world.origin, size=s.committed.size)
        most = min(s.limits.records_max, s.limits.tail_records_max)
        async for plan, offset, epoch in s.found.missing.plans(most):
            while s.room() < len(plan.records):
                s.ready.clear()
                if s.note is None:
                    await s.ready.wait()
                await self._commit(s, None, s.planned_offset)
            s.take(plan, offset)
            s.fetch_offset = offset
            await self._commit(s, plan, offset)
            self._watch.epochs.reach(offset, epoch)
        s.planned_offset = s.fetch_offset = s.found.offset

    async def _next_plan(self, s: Session, commit: asyncio.Task[None] | None) -> Plan | None:
        """The next batch, or None when the note in hand goes in a transaction of its own."""
        while True:
            s.ready.clear()
            self._take_fetched(s)
            if s.held and s.room() > 0:
                return await s.plan(self._world.source)
            if (commit is None or commit.done()) and s.note_is_due(self._clock.monotonic()):
                return None
            waits = {t for t in (s.fetch, commit) if t is not None and not t.done()}
            await any_of(s.ready, waits, s.limits.linger_ms / 1000 if s.note else None)
            if commit is not None and commit.done():
                commit.result()

    def _take_fetched(self, s: Session) -> None:
        if s.held:
            return
        if s.fetch is None:
            s.fetch = asyncio.create_task(self._fetch(s, s.fetch_offset))
        elif s.fetch.done():
            fetched = s.fetch.result()
            s.fetch = None
            s.held.extend(fetched.records)
            s.fetch_offset = fetched.next_offset
            if not s.held:
                s.fetch = asyncio.create_task(self._fetch(s, s.fetch_offset))

    async def _fetch(self, s: Session, offset: int) -> Fetched:
        most, linger_ms = s.limits.records_max, s.limits.linger_ms
        fetched = await self._fetch_once(s, offset, (most, FETCH_WAIT_MS))
        if 0 < len(fetched.records) < most and linger_ms:
            # A small batch waits a moment for company: a transaction costs more than a record.
            await asyncio.sleep(linger_ms / 1000)
            most -= len(fetched.records)
            more = await self._fetch_once(s, fetched.next_offset, (most, 0))
            fetched = Fetched([*fetched.records, *more.records], more.next_offset)
        return fetched

    async def _fetch_once(self, s: Session, offset: int, limits: tuple[int, int]) -> Fetched:
        source, (most, wait_ms) = self._world.source, limits
        try:
            fetched = await source.fetch(offset, max_records=most, max_wait_ms=wait_ms)
        except SourceChangedError as error:
            bounds = await source.bounds()
            if bounds.start <= offset <= bounds.high_watermark:
                raise
            # Recovery tells a gap from markers, and a cut of what is sealed from one behind it.
            raise TransientError(str(error)) from error
        refuse_cut(self._world, s, await self._watch.epochs.admit(fetched))
        if fetched.records and self._posted and fetched.records[0].offset < self._posted.offset:
            # Where the posted position passed markers, another leader has records.
            self._has_passed = False
            s.committed_more.set()
        return fetched

    async def _commit(self, s: Session, plan: Plan | None, offset: int) -> None:
        # What is known to be void is not written; the other half finds nothing new to sign then.
        check_open(self._world)
        s.commits_begun += 1
        note = s.note
        rows = (
            [] if note is None else [checkpoint_record(note.text, note.frontier, note.timestamp)]
        )
        records = plan.records if plan else []
        appended = await s.writer.append([*rows, *records])
        count = len(rows) + len(records)
        if appended.first_offset != s.audit_end or (
            appended.last_offset - appended.first_offset != count - 1
        ):
            raise OutcomeUnknownError(
                f"{count} records were acknowledged at offsets {appended.first_offset} to "
                f"{appended.last_offset}, expected them in one run from {s.audit_end} on"
            )
        s.appended(appended, (records or rows)[-1])
        # Now the records are history, and so is the note that rode with them.
        now = self._clock.monotonic()
        if note is not None:
            s.noted(note, now)
        if plan is not None:
            s.sealed(plan, offset, now)
            self._sealed.inc(len(records))
        s.commits_done += 1
        self._watch.committed(s)
        s.committed_more.set()

    # The notarise half

    async def _notarise_half(self, s: Session) -> NoReturn:
        covered, asked_at = s.signed_size, -inf
        while True:
            s.committed_more.clear()
            is_covered = s.committed.size <= covered and not is_rotated(self._world, s)
            if s.note is not None or is_covered:
                if s.note is None:
                    # Nothing to sign, but perhaps markers that a later log start may sit on.
                    await self._post(s.reached)
                await s.committed_more.wait()
                continue
            await self._pace(s, asked_at)
            asked_at = self._clock.monotonic()
            frontier, timestamp, offset = s.committed.copy(), s.timestamp, s.committed_offset
            await self._post(Posted(offset, frontier.size, frontier.root()))
            # Now they are posted, or lead to what is: no later start can choose another history.
            with metrics.SIGN_DURATION.time():
                text = await self._sign(s, frontier)
            s.note = Note(text, frontier, timestamp, self._clock.monotonic())
            covered = frontier.size
            s.ready.set()

    async def _pace(self, s: Session, asked_at: float) -> None:
        """Wait until a signature is due again; never while appending waits for one.

        While a backlog is worked off, what is behind it waits for the appending, not for a
        signature: fewer of them leave the processor to it (measured: 10 % at 500 a transaction).
        """
        while s.room() > 0:
            least_ms = max(s.limits.sign_interval_ms, BEHIND_MS if s.is_behind else 0)
            left = asked_at + least_ms / 1000 - self._clock.monotonic()
            if left <= 0:
                return
            s.committed_more.clear()
            await any_of(s.committed_more, set(), left)

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
        posted = posted._replace(epoch=self._world.epoch)
        if self._posted is not None:
            if posted.size < self._posted.size:
                return  # of a log that lost its end: what is restored leads to what is posted
            if self._has_passed:
                posted = posted._replace(offset=max(posted.offset, self._posted.offset))
        if posted != self._posted:
            self._asked = posted
            await self._world.source.post(posted)
            self._posted, self._has_passed = posted, True
