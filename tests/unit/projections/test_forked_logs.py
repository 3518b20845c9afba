"""What the read loop does with a log that an operator forked, before and while it is read."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from projections.ports import Position, SealedBatch
from projections.runner import PartitionRunner, RunnerWorld
from schemas.records import Record
from streams.audit.operations import EpochForked
from streams.clock import SystemClock
from streams.ports import Bounds, Fetched, TopicFacts
from streams.telemetry import metrics
from streams.telemetry.health import Health
from tests.support.forgeries import anchor
from tests.support.signed_logs import (
    KEY,
    ORIGIN,
    PARTITION,
    SignedLog,
    checkpoint_of,
    usual_log,
)

LOG = usual_log()
FORK = EpochForked(
    origin=ORIGIN,
    size=8,
    root=anchor(LOG, 8).root,
    epoch=1,
    cluster_id="cluster",
    topic_id="topic",
    offset=0,
)


@dataclass
class Kept:
    """A projection that keeps what it is handed, from `begin` on."""

    begin: int = 0
    applied: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    idled: int = 0
    opened: int = 0

    async def resume(self) -> Position:
        self.opened += 1
        if self.begin:
            rows = [row for row in LOG.rows if row.value]
            return position(rows, self.begin)
        self.applied.clear()
        return Position(0, None, None)

    async def apply(self, batch: SealedBatch) -> None:
        self.applied += [record.index for record in batch.records]
        self.sizes.append(batch.size)

    async def idle(self) -> None:
        self.idled += 1

    async def close(self) -> None:
        return


def position(rows: list[Record], size: int) -> Position:
    for row in rows:
        if b"\n%d\n" % size in (row.value or b"")[:200]:
            return Position(size, checkpoint_of(row), row.offset)
    raise AssertionError(f"no checkpoint of {size}")


class Partition:
    """The audit partition, as far as it is shown."""

    topic, partition = "audit.authz.decisions", PARTITION

    def __init__(self, rows: list[Record]) -> None:
        self.rows = rows
        self.shown = len(rows)

    async def bounds(self) -> Bounds:
        end = self.rows[self.shown - 1].offset + 1
        return Bounds(0, end, end)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        assert max_wait_ms
        await asyncio.sleep(0.001)
        found = [row for row in self.rows[: self.shown] if row.offset >= offset][:max_records]
        return Fetched(found, found[-1].offset + 1 if found else offset)

    async def facts(self) -> TopicFacts:
        raise AssertionError("nobody asks")

    async def close(self) -> None:
        return


class Reading:
    """One projection over the log, and what the operator said of it."""

    def __init__(self, log: SignedLog = LOG, fork: EpochForked | None = FORK) -> None:
        self.partition, self.fork, self.kept = Partition(log.rows), fork, Kept()
        self.health = Health()
        self.caught_up = 0

    def world(self) -> RunnerWorld:
        return RunnerWorld(
            name="kept",
            origin=ORIGIN,
            keys=KEY.trusted(),
            open_reader=lambda: self.partition,
            make=lambda: self.kept,
            still_owns=_yes,
            lag_limit=10,
            idle_s=60,
            caught_up=self._caught_up,
            fork=lambda: self.fork,
            finishes=True,
        )

    async def ends(self) -> bool:
        async with asyncio.timeout(10):
            return await PartitionRunner(self.world(), self.health, SystemClock()).run()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110  # of a loop that has no events
                await asyncio.sleep(0.005)

    def _caught_up(self) -> None:
        self.caught_up += 1

    @property
    def state(self) -> str:
        return next((state.state for state in self.health.parts.values()), "")

    @property
    def why(self) -> str:
        return next((state.why for state in self.health.parts.values()), "")


async def _yes() -> bool:
    return True


async def test_a_log_that_was_forked_is_read_to_its_fork_and_ends() -> None:
    reading = Reading()
    assert await reading.ends()
    assert reading.kept.applied == list(range(8))
    assert (reading.kept.idled, reading.caught_up) == (1, 1)
    assert reading.health.parts == {}


async def test_the_lag_of_a_log_that_ended_is_shown_no_more() -> None:
    reading = Reading()
    await reading.ends()
    (family,) = metrics.PROJECTION_LAG.collect()
    assert [s for s in family.samples if s.labels["projection"] == "kept"] == []


async def test_what_is_void_is_not_even_verified() -> None:
    log = usual_log()
    log.rows = [*log.rows[:11], *(row._replace(value=b"junk") for row in log.rows[11:])]
    reading = Reading(log)
    assert await reading.ends()
    assert reading.kept.applied == list(range(8))


async def test_a_fork_that_comes_while_the_log_is_followed_ends_it_there() -> None:
    reading = Reading(fork=None)
    reading.partition.shown = 11
    running = asyncio.create_task(reading.ends())
    await reading.until(lambda: reading.kept.applied == list(range(8)))
    reading.fork, reading.partition.shown = FORK, len(LOG.rows)
    assert await running
    assert (reading.kept.applied, reading.kept.opened) == (list(range(8)), 1)


async def test_what_was_applied_before_it_was_void_is_applied_no_more() -> None:
    """The projection is opened anew, and what it keeps of the log begins at its first leaf."""
    reading = Reading(fork=None)
    running = asyncio.create_task(reading.ends())
    await reading.until(lambda: reading.kept.applied == list(range(12)))
    reading.fork = FORK
    assert await running
    assert (reading.kept.applied, reading.kept.opened) == (list(range(8)), 2)


@pytest.mark.parametrize("begin", [8, 12])
async def test_a_projection_that_stands_at_the_fork_or_behind_it_has_all_of_the_log(
    begin: int,
) -> None:
    reading = Reading()
    reading.kept.begin = begin
    assert await reading.ends()
    assert reading.kept.applied == []


async def test_a_log_that_stopped_its_projection_ends_at_the_fork_before_the_break() -> None:
    log = usual_log()
    log.rows = [row if n != 12 else row._replace(value=b"junk") for n, row in enumerate(log.rows)]
    reading = Reading(log, None)
    running = asyncio.create_task(reading.ends())
    await reading.until(lambda: reading.state == "stopped")
    reading.fork = FORK
    assert await running
    assert reading.kept.applied == list(range(8))


async def test_a_fork_with_another_root_stops_the_projection() -> None:
    reading = Reading(fork=replace(FORK, root=bytes(32)))
    running = asyncio.create_task(reading.ends())
    await reading.until(lambda: reading.state == "stopped")
    assert "the operator accepted root 0000" in reading.why
    running.cancel()


async def test_a_fork_between_two_checkpoints_stops_the_projection() -> None:
    reading = Reading(fork=replace(FORK, size=6))
    running = asyncio.create_task(reading.ends())
    await reading.until(lambda: reading.state == "stopped")
    assert "at size 6, here no checkpoint" in reading.why
    assert reading.kept.applied == list(range(4))
    running.cancel()


async def test_a_log_that_lacks_what_was_accepted_is_waited_for() -> None:
    reading = Reading()
    reading.partition.shown = 6
    running = asyncio.create_task(reading.ends())
    await reading.until(lambda: reading.state == "waiting")
    assert "8 records" in reading.why
    assert "restore it from the archive" in reading.why
    reading.partition.shown = len(LOG.rows)
    assert await running
    assert reading.kept.applied == list(range(8))
