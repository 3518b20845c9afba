"""`attestream alerts calibrate`: a threshold for a budget, from the exact risks of a log."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from projections.cli.main import main
from projections.decision_index.calibration import Calibrated, LogRisks
from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows, Tiers
from projections.decision_index.scoring import Mode, Rules
from streams.embedded.engine import EmbeddedEngine
from streams.ports import NewRecord
from streams.settings import load_settings
from tests.support.decision_log import EventLog, habits
from tests.support.sealed_log import ORIGIN, batches_of

BASE, TOPIC, _ = ORIGIN.rsplit("/", 2)
RULES = Rules(threshold=0.3, warm_up=40, dedup_window_ms=1, alerts_per_hour=100_000)
VALUES = list(habits(400, seed=4, odd_share=0.1))


def make_rows() -> DecisionRows:
    return DecisionRows(FoldedGraph, Tiers(16, 60))


def calibrated(budget: int, rules: Rules = RULES) -> list[Calibrated]:
    risks = LogRisks(rules, make_rows)
    for batch in batches_of(EventLog.sealed(VALUES)):
        for record in batch.records:
            risks.apply(record)
    return risks.calibrated(budget)


def findings(threshold: float) -> int:
    """Leaves of all tenants that an index with this threshold finds."""
    fold = DecisionFold(replace(RULES, threshold=threshold, dedup_window_ms=1), make_rows)
    told = 0
    for batch in batches_of(EventLog.sealed(VALUES)):
        told += sum(bool(fold.score(r).risky) + 0 * len(fold.apply(r)) for r in batch.records)
    return told


@pytest.mark.parametrize("budget", [50, 200, 500, 10_000])
def test_the_threshold_keeps_to_the_budget_in_the_older_half(budget: int) -> None:
    for one in calibrated(budget):
        assert one.older <= max(one.wanted, 1)
        assert one.threshold is not None
        assert one.followed <= one.configured_newer


def test_what_is_counted_is_what_the_index_finds() -> None:
    everyone = calibrated(500)
    assert [one.tenant for one in everyone] == ["", "acme"]
    found = sum(one.configured_older + one.configured_newer for one in everyone)
    assert found == findings(RULES.threshold)
    assert found > 10


def test_an_index_that_is_off_or_in_the_shadow_is_calibrated_all_the_same() -> None:
    for mode in (Mode.OFF, Mode.SHADOW):
        assert calibrated(500, replace(RULES, mode=mode)) == calibrated(500)


def test_a_log_within_its_warm_up_has_nothing_to_calibrate_by() -> None:
    assert {one.threshold for one in calibrated(500, replace(RULES, warm_up=10_000))} == {None}


async def fill(environment: dict[str, str]) -> None:
    engine = await EmbeddedEngine.open(load_settings(environment), create=True)
    writer = engine.writer(engine.topology.audit(TOPIC), 0)
    await writer.start()
    rows = EventLog.sealed(VALUES).rows
    await writer.append([NewRecord(row.timestamp, row.value or b"") for row in rows])
    await writer.close()
    await engine.close()


def test_the_command_prints_thresholds_to_set(tmp_path: Path) -> None:
    environment = {
        "ATTESTREAM_HOME": str(tmp_path / "home"),
        "ATTESTREAM_ORIGIN": BASE,
        "AUDIT_SIGNING_PRIVATE_KEY": "07" * 32,
        "ATTESTREAM_WARM_UP": "40",
        "ATTESTREAM_RISK_THRESHOLD": "0.3",
    }
    asyncio.run(fill(environment))

    def ask(*more: str) -> Result:
        arguments = ["alerts", "calibrate", "--budget", "500", *more]
        return CliRunner(env=environment).invoke(main, arguments)

    told = [json.loads(line) for line in ask("--json").stdout.splitlines()]
    assert [{key: one[key] for key in Calibrated._fields} for one in told] == [
        one._asdict() for one in calibrated(500)
    ]
    words = ask().stdout
    assert f"ATTESTREAM_RISK_THRESHOLD={told[0]['threshold']}" in words
    assert "ATTESTREAM_ALERT_BUDGET=500" in words
    assert ORIGIN in words
