"""How old the oldest unarchived record is: on the log, whatever becomes of the archive."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from projections.archive.age import MARKS_MAX, UnarchivedAge
from streams.errors import NotOwnerError, TransientError
from streams.ports import Posted, SourcePartition
from streams.topology import LogPlace
from tests.support.sealed_log import ORIGIN, START_MS, TOPIC, SealedLog
from tests.support.static_logs import RowsReader

PLACE = LogPlace(ORIGIN, TOPIC, 0, 0, f"audit.{TOPIC}")
METRIC = "attestream_archive_oldest_unarchived_seconds"
HOUR_MS = 3_600_000


@dataclass
class HandClock:
    """Set by hand."""

    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@dataclass
class Place:
    """The position posted for a partition, as a group keeps it."""

    kept: Posted | None = None
    posts: list[Posted] = field(default_factory=list)

    async def posted(self) -> Posted | None:
        return self.kept

    async def post(self, posted: Posted) -> None:
        self.kept = posted
        self.posts.append(posted)

    async def close(self) -> None:
        pass


def measured(clock: HandClock, log: SealedLog, place: Place | None = None) -> UnarchivedAge:
    own: Callable[[], SourcePartition] = lambda: place or Place()  # type: ignore[assignment, return-value]  # noqa: E731
    return UnarchivedAge(PLACE, lambda: RowsReader(log.rows), own, clock)


def reached(log: SealedLog) -> Posted:
    """All of the log is archived."""
    return Posted(log.rows[-1].offset + 1, log.size, bytes(32))


async def test_a_record_ages_from_its_own_time_until_it_is_archived() -> None:
    clock, log = HandClock(), SealedLog()
    age, reader = measured(clock, log), RowsReader(log.rows)
    await age.look(reader)
    assert age.seconds() == 0
    log.append(3)
    log.checkpoint()
    clock.ms = START_MS + 5_000
    await age.look(reader)
    assert age.seconds() == 5
    clock.ms += HOUR_MS
    assert age.seconds() == 3605
    age.archived(reached(log))
    await age.look(reader)
    assert age.seconds() == 0


async def test_what_comes_with_old_timestamps_is_not_old_when_it_comes() -> None:
    clock, log = HandClock(START_MS + 1000 * HOUR_MS), SealedLog()
    age, reader = measured(clock, log), RowsReader(log.rows)
    await age.look(reader)
    clock.ms += 4_000
    log.append(3)
    await age.look(reader)
    assert age.seconds() == 4
    clock.ms += 60_000
    await age.look(reader)
    assert age.seconds() == 64


async def test_behind_a_backlog_each_next_record_keeps_its_own_age() -> None:
    clock, log = HandClock(START_MS + HOUR_MS), SealedLog()
    age, reader = measured(clock, log), RowsReader(log.rows)
    ends = []
    for _ in range(5):
        await age.look(reader)
        log.append(2)  # a thousand hours old by its own time
        log.checkpoint()
        ends.append(reached(log))
        clock.ms += 10_000
    await age.look(reader)
    assert age.seconds() == 50
    age.archived(ends[2])
    await age.look(reader)
    assert age.seconds() == 20


async def test_a_time_that_cannot_be_counts_from_now() -> None:
    clock, log = HandClock(START_MS - HOUR_MS), SealedLog()
    log.append(1)
    age, reader = measured(clock, log), RowsReader(log.rows)
    await age.look(reader)
    clock.ms += 7_000
    assert age.seconds() == 7


async def test_marks_do_not_grow_without_end() -> None:
    clock, log = HandClock(), SealedLog()
    log.append(1)
    age, reader = measured(clock, log), RowsReader(log.rows)
    for _ in range(3 * MARKS_MAX):
        age._mark(clock.ms, clock.ms, 0)
        clock.ms += 5_000
    assert len(age._marks) <= MARKS_MAX
    await age.look(reader)


async def running(age: UnarchivedAge, until: Callable[[], bool]) -> None:
    task = asyncio.create_task(age.run())
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0.001)
            assert not task.done()
    task.cancel()
    await asyncio.wait({task})


def shown() -> float | None:
    return REGISTRY.get_sample_value(METRIC, {"topic": TOPIC, "partition": "0"})


async def test_after_a_start_without_the_archive_the_posted_position_counts() -> None:
    clock, log = HandClock(START_MS + HOUR_MS), SealedLog()
    log.append(3)
    log.checkpoint()
    place = Place()
    before = measured(clock, log, place)
    all_of_it = reached(log)
    before.archived(all_of_it)
    await running(before, lambda: bool(place.posts))
    assert place.posts == [all_of_it]
    log.append(1, start_ms=START_MS + HOUR_MS)
    clock.ms += 2 * HOUR_MS
    values = [0.0]

    def is_shown() -> bool:
        values.append(shown() or 0.0)
        return values[-1] > 0

    await running(measured(clock, log, place), is_shown)
    assert values[-1] == pytest.approx(2 * HOUR_MS / 1000, abs=1)
    assert place.posts == [all_of_it]
    assert shown() is None


async def test_whatever_fails_beside_the_archiver_ends_nothing() -> None:
    clock, log = HandClock(START_MS + HOUR_MS), SealedLog()
    log.append(1)
    failures = [TransientError("the broker is away"), NotOwnerError("revoked")]

    def own() -> SourcePartition:
        if failures:
            raise failures.pop()
        return Place()  # type: ignore[return-value]

    age = UnarchivedAge(PLACE, lambda: RowsReader(log.rows), own, clock)
    await running(age, lambda: len(failures) == 1)
    await running(age, lambda: not failures)
    await running(age, lambda: bool(shown()))
