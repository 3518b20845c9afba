"""The promise of drills: kept by those that passed and are sealed, and by nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from projections.cli.drill import drill
from projections.drill.promise import DrillWatch, last_drills
from schemas.codec import encode_operation_event
from schemas.operations import DrillFinished
from streams.app import open_engine
from streams.audit.operations import EpochForked
from streams.audit.trust import TrustHistory
from streams.clock import SystemClock
from streams.engine import Engine
from streams.errors import BreakError
from streams.ports import NewRecord
from streams.settings import load_settings
from streams.telemetry.metrics import DRILL_AGE
from tests.support.operation_events import DRILLED, RESTORED
from tests.support.operations_partition import OperationsPartition
from tests.support.replays import archive_of, long_log
from tests.support.sealed_log import BASE as ARCHIVED_BASE
from tests.support.sealed_log import KEYS as ARCHIVED_KEYS
from tests.support.signed_logs import BASE, KEY

HOUR = 3_600_000_000
HISTORY = TrustHistory(KEY.trusted(BASE).vkeys)
NOW_MS = DRILLED.finished_at // 1000 + 24 * 3_600_000


def drilled(hours: int, *, passed: bool) -> bytes:
    failures = () if passed else ("it did not hold",)
    event = replace(
        DRILLED,
        finished_at=DRILLED.finished_at + hours * HOUR,
        passed=passed,
        failures=failures,
        seed=f"after {hours} h",
    )
    return encode_operation_event(event)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    settings = load_settings({"ATTESTREAM_HOME": str(tmp_path), "ATTESTREAM_ORIGIN": BASE})
    async with open_engine(settings, create=True) as opened:
        yield opened


async def sealed(engine: Engine, log: OperationsPartition) -> None:
    """The log as it would stand in the engine's own audit partition."""
    writer = engine.writer(engine.topology.audit(engine.topology.operations), 0)
    await writer.start()
    await writer.append([NewRecord(row.timestamp, row.value or b"") for row in log.rows])
    await writer.close()


async def test_the_newest_that_passed_counts_and_the_newest_is_told(engine: Engine) -> None:
    log = OperationsPartition().send(
        b"attestream.operation/nothing/v1\n",
        drilled(1, passed=True),
        encode_operation_event(RESTORED),
        drilled(3, passed=True),
        drilled(2, passed=True),
        drilled(4, passed=False),
    )
    await sealed(engine, log.seal(KEY))
    found = await last_drills(engine, HISTORY, NOW_MS)
    assert (found.passed and found.passed.seed, found.newest and found.newest.seed) == (
        "after 3 h",
        "after 4 h",
    )


async def test_a_drill_that_is_not_sealed_does_not_count(engine: Engine) -> None:
    log = OperationsPartition().send(drilled(1, passed=True)).seal(KEY)
    await sealed(engine, log.send(drilled(2, passed=True)))
    found = await last_drills(engine, HISTORY, NOW_MS)
    assert isinstance(found.newest, DrillFinished)
    assert found.newest.seed == "after 1 h"


async def test_a_drill_from_the_future_does_not_count(engine: Engine) -> None:
    log = OperationsPartition().send(drilled(1, passed=True), drilled(24 * 365, passed=True))
    await sealed(engine, log.seal(KEY))
    found = await last_drills(engine, HISTORY, NOW_MS)
    assert found.passed is not None
    assert found.passed.seed == "after 1 h"


async def test_a_drill_behind_the_fork_of_the_operations_does_not_count(engine: Engine) -> None:
    log = OperationsPartition().send(drilled(1, passed=True)).seal(KEY)
    root = log.frontier.root()
    log = log.send(drilled(2, passed=True)).seal(KEY)
    log.rows.append(log.rows[-1]._replace(value=b"what broke it", offset=log.rows[-1].offset + 1))
    await sealed(engine, log)
    origin = engine.topology.origin(engine.topology.operations, 0)
    fork = EpochForked(
        origin=origin,
        size=1,
        root=root,
        epoch=1,
        cluster_id="cluster",
        topic_id="topic",
        offset=1,
    )
    history = TrustHistory.of([fork], KEY.trusted(BASE).vkeys)
    found = await last_drills(engine, history, NOW_MS)
    assert found.newest is not None
    assert found.newest.seed == "after 1 h"


async def test_until_the_operations_are_read_no_drill_is_shown(engine: Engine) -> None:
    broken = OperationsPartition().send(drilled(1, passed=True)).seal(KEY)
    broken.rows[1] = broken.rows[1]._replace(value=b"what broke it")
    await sealed(engine, broken)
    opened: Any = Opened(engine)
    watching = asyncio.create_task(DrillWatch(opened).run())
    await asyncio.sleep(0.1)
    watching.cancel()
    await asyncio.wait({watching})
    assert sample() == float("inf")


async def test_operations_that_do_not_verify_tell_of_no_drill(engine: Engine) -> None:
    log = OperationsPartition().send(drilled(1, passed=True)).seal(KEY)
    log.rows[1] = log.rows[1]._replace(value=(log.rows[1].value or b"")[:-1] + b"\0")
    await sealed(engine, log)
    with pytest.raises(BreakError):
        await last_drills(engine, HISTORY, NOW_MS)


class Opened:
    """What a watch asks of a deployment."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.trust = SimpleNamespace(history=HISTORY)
        self.clock = SystemClock()


async def test_a_worker_shows_the_age_of_the_last_good_drill(engine: Engine) -> None:
    opened: Any = Opened(engine)
    await DrillWatch(opened).look()
    assert sample() == float("inf")
    await sealed(engine, OperationsPartition().send(drilled(1, passed=True)).seal(KEY))
    await DrillWatch(opened).look()
    finished = (DRILLED.finished_at + HOUR) / 1e6
    assert sample() == pytest.approx(SystemClock().now_ms() / 1000 - finished, abs=5)


def sample() -> float:
    (metric,) = DRILL_AGE.collect()
    return metric.samples[0].value


async def test_a_drill_nobody_can_be_told_of_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive_of(long_log(), tmp_path / "archive")
    (tmp_path / "keys.txt").write_text(ARCHIVED_KEYS.vkeys[0].render())
    monkeypatch.setenv("ATTESTREAM_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("ATTESTREAM_ARCHIVE", str(tmp_path / "archive"))
    monkeypatch.setenv("ATTESTREAM_ORIGIN", ARCHIVED_BASE)
    monkeypatch.chdir(tmp_path)
    # A command has a loop of its own.
    result = await asyncio.to_thread(CliRunner().invoke, drill, ["--keys", "keys.txt"])
    assert result.exit_code == 1
    assert "**Passed.**" in result.stdout
    assert "not published" in result.stderr
