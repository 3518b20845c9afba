"""The promise of drills: kept by those that passed and are sealed, and by nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from projections.cli.drill import drill
from projections.drill.promise import DrillWatch, last_drills
from schemas.codec import encode_operation_event
from schemas.operations import DrillFinished
from streams.app import open_engine
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
KEYS = KEY.trusted(BASE)


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
    found = await last_drills(engine, KEYS)
    assert (found.passed and found.passed.seed, found.newest and found.newest.seed) == (
        "after 3 h",
        "after 4 h",
    )


async def test_a_drill_that_is_not_sealed_does_not_count(engine: Engine) -> None:
    log = OperationsPartition().send(drilled(1, passed=True)).seal(KEY)
    await sealed(engine, log.send(drilled(2, passed=True)))
    found = await last_drills(engine, KEYS)
    assert isinstance(found.newest, DrillFinished)
    assert found.newest.seed == "after 1 h"


async def test_operations_that_do_not_verify_tell_of_no_drill(engine: Engine) -> None:
    log = OperationsPartition().send(drilled(1, passed=True)).seal(KEY)
    log.rows[1] = log.rows[1]._replace(value=(log.rows[1].value or b"")[:-1] + b"\0")
    await sealed(engine, log)
    with pytest.raises(BreakError):
        await last_drills(engine, KEYS)


@dataclass
class Opened:
    engine: Engine
    keys: Any = KEYS
    clock: SystemClock = SystemClock()  # noqa: RUF009


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
