"""The archive projection: sealed batches in, segments out (design: a segment, then its manifest).

Its position is the archive itself: what is held in memory since the last cut is read again after a
crash, from the audit offset the newest manifest names.
"""

from dataclasses import dataclass, field

from projections.archive.fold import CutRules, OpenSegment, cut_after, cut_before
from projections.archive.store import ArchiveStore, Head
from projections.ports import Position, SealedBatch
from streams.audit.checkpoint import parse_log_name
from streams.audit.note import TrustedKeys
from streams.ports import Clock, ObjectStore
from streams.telemetry.metrics import ARCHIVE_OLDEST

__all__ = ["ArchiveProjection", "ArchiveWorld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveWorld:
    """What the archives of all logs share. `keys` sign the checkpoints."""

    objects: ObjectStore
    keys: TrustedKeys
    clock: Clock
    retain_days: int
    rules: CutRules = field(default_factory=CutRules)


class ArchiveProjection:
    """Archives one log. Others may do so at the same time: nothing is stored twice.

    Holds one open segment: at most `CutRules.bytes_max`, or one batch if that is larger.
    """

    def __init__(self, world: ArchiveWorld, origin: str) -> None:
        self._rules = world.rules
        self._clock = world.clock
        self._store = ArchiveStore(
            objects=world.objects,
            origin=origin,
            keys=world.keys,
            retain_days=world.retain_days,
        )
        self._head: Head | None = None
        self._open = OpenSegment(0, None)
        self._waiting = _Waiting(world.clock)
        name = parse_log_name(origin)
        self._age = ARCHIVE_OLDEST.labels(name.topic, name.partition)

    async def resume(self) -> Position:
        """Read how far the archive reaches, and complete what was interrupted.

        Raises:
            VerificationError: what is archived is not what was archived.
            TransientError, OutcomeUnknownError: open anew.
        """
        self._head = head = await self._store.resume()
        self._open = OpenSegment(head.size, head.closing)
        return Position(head.size, head.closing, head.offset)

    async def apply(self, batch: SealedBatch) -> None:
        """Take one batch, and write a segment where one ends.

        Raises:
            VerificationError: the log differs from its archive, or the store broke its promise.
            TransientError, OutcomeUnknownError: open anew; nothing is lost.
        """
        # Behind another archiver's segment the batch may still be cut before, and again.
        while cut_before(self._open, batch, self._rules):
            await self._cut()
        self._open.add(batch)
        while cut_after(self._open, self._rules) or self._is_old():
            await self._cut()
        self._note_age()

    async def idle(self) -> None:
        """Write what is held; the log was quiet for a while. Raises as `apply`."""
        while self._open.records:
            await self._cut()

    async def close(self) -> None:
        """What is held was not acknowledged, and is read again."""
        self._open = OpenSegment(0, None)

    async def _cut(self) -> None:
        assert self._head is not None, "resume comes first"
        stored = await self._store.put(self._open.close(), self._head)
        # Now everything below the new head is durable, by us or by another archiver.
        self._head = stored.head
        assert stored.head.closing is not None
        self._open = self._open.rest(stored.head.size, stored.head.closing, stored.leaves)
        self._waiting.end()
        self._note_age()

    def _is_old(self) -> bool:
        return self._open.records > 0 and self._waiting.seconds() >= self._rules.age_s_max

    def _note_age(self) -> None:
        if self._open.records:
            self._waiting.begin()
        else:
            self._waiting.end()
        # A later projection of this log takes over when it takes its first batch: while the store
        # cannot be reached, the age goes on rising.
        self._age.set_function(self._waiting.seconds)


class _Waiting:
    """How long records have been waiting to be archived."""

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
