"""How old the oldest record of a log is that is not archived yet.

Measured on the log itself and beside the archiver: so also while the store is away, and where it
was never reached since this process began. How far the archive reaches is then known from the
position the archiver posted: a hint for this alone, since the archive is the truth about itself.

A record's age counts from when it was appended, as closely as that is known: from its own
timestamp, but not from before the log was last seen to end in front of it. So what is imported
with old timestamps is not old when it comes.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Record
from streams.errors import AttestreamError, NotOwnerError
from streams.ports import Clock, PartitionReader, Posted, SourcePartition
from streams.tasks import any_of
from streams.telemetry.logs import get_log
from streams.telemetry.metrics import ARCHIVE_OLDEST
from streams.topology import LogPlace

__all__ = ["UnarchivedAge"]

PERIOD_S = 5.0
PAGE_RECORDS = 64
WAIT_MS = 200
MARKS_MAX = 2048  # then every second one is dropped: ages are overstated by a few periods
log = get_log("archive")


class UnarchivedAge:
    """Sets `attestream_archive_oldest_unarchived_seconds` of one log."""

    def __init__(
        self,
        log: LogPlace,
        open_reader: Callable[[], PartitionReader],
        own: Callable[[], SourcePartition],
        clock: Clock,
    ) -> None:
        """Begin to measure with `run`.

        Args:
            log: which one; the metric is labelled with its source partition.
            open_reader: of the log.
            own: the log's partition as the archive's role owns it, for the posted position.
            clock: of this machine.
        """
        self._part, self._epoch = (log.source, log.partition), log.epoch
        self._open_reader = open_reader
        self._own = own
        self._clock = clock
        self._reached: Posted | None = None
        self._posted: Posted | None = None
        self._marks: list[tuple[int, int]] = []  # the log ended at an offset, at a time in ms
        self._oldest: Record | None = None
        self._since_ms: int | None = None
        self._said = ""
        self._news = asyncio.Event()

    def archived(self, reached: Posted) -> None:
        """Everything below this position of the log is archived."""
        self._reached = reached
        # Posted at once: the process may end any moment.
        self._news.set()

    def seconds(self) -> float:
        """The age, 0 where everything is archived."""
        if self._since_ms is None:
            return 0.0
        return max(0, self._clock.now_ms() - self._since_ms) / 1000

    async def run(self) -> NoReturn:
        """Measure until cancelled."""
        ARCHIVE_OLDEST.labels(*self._part).set_function(self.seconds)
        reader, place = self._open_reader(), None
        try:
            while True:
                try:
                    place = place or self._own()
                    await self._remember(place)
                    await self.look(reader)
                    self._said = ""
                except (AttestreamError, DecodeError) as error:
                    # What is known goes on ageing. Whatever it is, the archiver meets it too.
                    self._say(error)
                await any_of(self._news, set(), PERIOD_S)
                self._news.clear()
        finally:
            await reader.close()
            if place is not None:
                await place.close()
            ARCHIVE_OLDEST.remove(self._part[0], str(self._part[1]))

    async def look(self, reader: PartitionReader) -> None:
        """Look once for the oldest record. Raises TransientError, DecodeError."""
        bounds = await reader.bounds()
        now = self._clock.now_ms()
        start = max(self._reached.offset if self._reached else 0, bounds.start)
        if self._oldest is None or self._oldest.offset < start:
            self._oldest = await _first_record(reader, start, bounds.end)
            self._since_ms = self._oldest and self._appended_ms(self._oldest, now)
        self._mark(bounds.end, now, start)

    async def _remember(self, place: SourcePartition) -> None:
        if self._reached is None:
            posted = await place.posted()
            # The epochs of a partition share one position, each with offsets of its own topic.
            self._posted = posted if posted and posted.epoch == self._epoch else None
            # Unless the archiver told meanwhile, who knows.
            if self._reached is None:
                self._reached = self._posted
        elif self._reached != self._posted:
            posted = self._reached
            await place.post(posted._replace(epoch=self._epoch))
            self._posted = posted

    def _appended_ms(self, record: Record, now: int) -> int:
        """When it was appended, at the earliest; without a time of its own that can be: now."""
        before = max((at for end, at in self._marks if end <= record.offset), default=0)
        own = record.timestamp if 0 < record.timestamp <= now else 0
        return max(before, own) or now

    def _mark(self, end: int, now: int, start: int) -> None:
        while len(self._marks) > 1 and self._marks[1][0] <= start:
            del self._marks[0]
        if self._marks and self._marks[-1][0] == end:
            del self._marks[-1]
        self._marks.append((end, now))
        if len(self._marks) > MARKS_MAX:
            del self._marks[1::2]

    def _say(self, error: Exception) -> None:
        # Another owner measures now; this job ends by itself.
        if str(error) != self._said and not isinstance(error, NotOwnerError):
            self._said = str(error)
            log.warning("what is unarchived was not looked for", part=self._part, why=self._said)


async def _first_record(reader: PartitionReader, offset: int, end: int) -> Record | None:
    """The first audit record of [offset, end)."""
    while offset < end:
        fetched = await reader.fetch(offset, max_records=PAGE_RECORDS, max_wait_ms=WAIT_MS)
        for row in fetched.records:
            if isinstance(decode_audit_value(row.value or b""), AuditRecord):
                return row
        offset = fetched.next_offset
    return None
