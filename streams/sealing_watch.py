"""What a sealer looks at while it seals: gauges each second, and each minute all that may change.

Each minute: identity and policy of both topics, the last leaf against the source, where the
source's leader epoch ends, and the end of the audit partition, which must be the expected one.
"""

import asyncio
from typing import NoReturn

from streams.audit.note import Vkey, parse_note
from streams.errors import (
    OutcomeUnknownError,
    SettingsError,
    SourceChangedError,
    TransientError,
)
from streams.history import last_records, read_page
from streams.leader_epochs import LeaderEpochs
from streams.ports import Bounds, Clock
from streams.recovery import LogWorld, check_identity, check_not_forked, check_open
from streams.sealing_session import Session, Written
from streams.source_checks import compare_with_source
from streams.telemetry import metrics
from streams.telemetry.health import Health, Part

__all__ = ["SealingWatch", "SourceCutError", "is_rotated", "refuse_cut"]

RECHECK_S = 60.0
LAG_S = 1.0
MARKER_LOOKS = 15


class SourceCutError(TransientError):
    """The source was cut behind what is sealed: read it again, and compare far back."""


class SealingWatch:
    """The watch over one log, through all sessions of its sealer."""

    def __init__(self, world: LogWorld, health: Health, clock: Clock, part: Part) -> None:
        self._world, self._health, self._clock, self._part = world, health, clock, part
        self.epochs = LeaderEpochs(world.source)
        labels = (world.source.topic, str(world.source.partition))
        self._tail = metrics.TAIL_RECORDS.labels(*labels)
        self._age = metrics.CHECKPOINT_AGE.labels(*labels)
        self._lag = metrics.SOURCE_LAG.labels(*labels)

    async def begin(self, s: Session) -> None:
        """Before a session seals anything: was the source cut since the one before?"""
        last = s.last_leaf()
        sealed = 0 if last is None else last.source.offset + 1
        refuse_cut(self._world, s, await self.epochs.resume(s.found.epoch, sealed))
        for row in await last_records(self._world.audit, 1):
            s.written = Written(row.offset, row.value or b"")

    async def run(self, s: Session) -> NoReturn:
        """Until something is wrong; raises that."""
        checked = self._clock.monotonic()
        while True:
            await asyncio.sleep(LAG_S)
            source = await self._world.source.bounds()
            check_open(self._world)
            _pass_markers(s)
            self._show(s, source)
            if is_rotated(self._world, s):
                s.committed_more.set()
            if self._clock.monotonic() - checked < RECHECK_S:
                continue
            checked = self._clock.monotonic()
            await check_not_forked(self._world)
            await check_identity(self._world, s.found.claim)
            await self._check_end(s)
            refuse_cut(self._world, s, await self.epochs.check())
            if (last := s.last_leaf()) is not None:
                await compare_with_source(self._world.origin, self._world.source, [last])

    def committed(self, s: Session) -> None:
        """A transaction is committed."""
        self._tail.set(s.committed.size - s.signed_size)

    def _show(self, s: Session, source: Bounds) -> None:
        lag = max(source.end - s.committed_offset, 0)
        self._lag.set(lag)
        waits = s.committed.size > s.signed_size
        self._age.set(self._clock.monotonic() - s.tail_since if waits else 0)
        self._health.running(self._part, lag=lag, done=None if waits else s.committed_offset)
        if s.signer_failure:
            self._health.waiting(self._part, s.signer_failure)

    async def _check_end(self, s: Session) -> None:
        """Nobody but this writer moves the end of the audit partition."""
        looks, begun, written = 0, s.commits_begun, s.written
        while begun == s.commits_done == s.commits_begun:
            bounds = await self._world.audit.bounds()
            if bounds.end == bounds.high_watermark == s.audit_end:
                if written is None or begun != s.commits_begun or await self._holds(written):
                    return
                self._doubt(s, "another record stands where this writer's last one was")
            looks += 1
            is_short = bounds.high_watermark < s.audit_end - s.writer.marker_offsets
            # The last commit's marker may still be on its way: its records never are.
            if is_short or bounds.high_watermark > s.audit_end or looks == MARKER_LOOKS:
                if begun == s.commits_begun:
                    self._doubt(s, f"its end is {bounds.end} of {bounds.high_watermark}")
                return
            await asyncio.sleep(LAG_S)
        # Under load every commit is checked to stand right behind the one before.

    def _doubt(self, s: Session, found: str) -> NoReturn:
        name = f"{self._world.audit.topic}/{self._world.audit.partition}"
        raise OutcomeUnknownError(
            f"{name} does not end at offset {s.audit_end} with what was committed: {found}; it "
            "lost its end, or somebody else wrote to it"
        )

    async def _holds(self, written: Written) -> bool:
        audit = self._world.audit
        fetched = await read_page(audit, written.offset, written.offset + 1, most=1)
        return [(r.offset, r.value) for r in fetched.records] == [written]


def is_rotated(world: LogWorld, s: Session) -> bool:
    """Whether the keys that sign now are not those whose lines the last checkpoint bears."""
    origin = world.origin
    try:
        signers = world.trust.signers(origin)
    except SettingsError:
        return False  # nobody signs: whoever asks for a signature says so
    due = {Vkey(origin, one.algorithm, one.public_key).key_id for one in signers}
    return due != {line.key_id for line in parse_note(s.checkpoint).lines if line.name == origin}


def refuse_cut(world: LogWorld, s: Session, cut: int | None) -> None:
    """Raise what follows from a source whose leader lost everything from offset `cut` on.

    Raises:
        SourceChangedError: something sealed is gone.
        SourceCutError: only what was fetched and not sealed: read it again.
    """
    if cut is None:
        return
    last, name = s.last_leaf(), f"{world.source.topic}/{world.source.partition}"
    if last is not None and cut <= last.source.offset:
        raise SourceChangedError(
            f"{world.origin}: the leader of {name} changed, and its log of before ends at offset "
            f"{cut}, while leaf {last.index} was sealed of offset {last.source.offset}: the "
            "source was truncated; keep the log as evidence and fork it"
        )
    raise SourceCutError(f"{name} was cut at offset {cut}, behind what is sealed; reading it anew")


def _pass_markers(s: Session) -> None:
    """Where all that was fetched is committed, what lies behind it are markers and aborted."""
    is_idle = not s.held and s.planned.size == s.committed.size
    if is_idle and s.fetch_offset > s.committed_offset:
        s.committed_offset = s.fetch_offset
        s.committed_more.set()
