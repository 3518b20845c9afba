"""When a process may be called ready, and what it says when it may not."""

import asyncio
from collections.abc import Callable

from prometheus_client import REGISTRY

from projections.api.pages import readyz
from streams.jobs import PartitionJobs
from streams.telemetry.health import Health, Part

PART = ("sealer", "d", 0)


def joined() -> Health:
    health = Health()
    health.joining("sealer")
    health.joined("sealer")
    return health


def test_before_any_role_began_nobody_is_ready() -> None:
    assert readyz(Health()).status == 503


def test_a_role_without_its_assignment_is_not_ready() -> None:
    health = joined()
    health.joining("archive")
    health.running(PART, lag=0)
    assert health.problems() == ["archive waits for its partitions"]


def test_a_worker_with_nothing_to_do_stands_by_and_is_ready() -> None:
    assert readyz(joined()).status == 200


def test_what_a_role_withholds_is_shown_and_keeps_nobody_from_being_ready() -> None:
    health = joined()
    health.note("index", "shadow: nothing is published")
    health.note("archive", "")
    answer = readyz(health)
    assert answer.status == 200
    assert answer.body["notes"] == ["index shadow: nothing is published"]


def test_a_recovering_part_is_not_ready() -> None:
    health = joined()
    health.starting(PART)
    assert health.problems() == ["sealer of d/0 starting"]
    health.running(PART, lag=0)
    assert health.problems() == []


def test_a_lag_over_its_limit_is_said() -> None:
    health = joined()
    health.starting(PART, lag_limit=10)
    health.running(PART, lag=11)
    assert health.problems() == ["sealer of d/0 lags 11 records, limit 10"]


def test_an_agent_that_waits_is_said() -> None:
    health = joined()
    health.agent("announce", "waits for its partitions")
    assert health.problems() == ["agent announce waits for its partitions"]
    health.agent("announce")
    assert health.problems() == []


def waits(part: Part) -> float | None:
    labels = dict(zip(("role", "topic", "partition"), map(str, part), strict=True))
    return REGISTRY.get_sample_value("attestream_partition_waiting", labels)


def test_a_part_that_waits_is_counted_until_it_runs_stops_or_is_let_go() -> None:
    health = joined()
    ends: list[Callable[[], None]] = [
        lambda: health.running(PART),
        lambda: health.stopped(PART, "gap", "records are lost"),
        lambda: health.released(PART),
    ]
    for end in ends:
        health.waiting(PART, "the archive gives no answer")
        health.starting(PART)
        health.waiting(PART, "the archive gives no answer")
        assert waits(PART) == 1
        end()
        assert waits(PART) is None


async def test_jobs_tell_whether_their_role_knows_its_partitions() -> None:
    health = Health()
    running = asyncio.Event()

    async def work(_topic: str, _partition: int) -> None:
        running.set()
        await asyncio.Event().wait()

    jobs = PartitionJobs(work, "sealer", health)
    assert health.problems() == ["sealer waits for its partitions"]
    await jobs.assigned([("d", 0), ("d", 1)])
    await running.wait()
    assert health.problems() == []
    await jobs.revoked([("d", 0)])
    assert health.problems() == [], "the other one is still ours"
    await jobs.revoked([("d", 1)])
    assert health.problems() == ["sealer waits for its partitions"]
    await jobs.assigned([])
    assert health.problems() == []
