"""An index worker is killed wherever it publishes alerts: each is there once, and none is missing.

The index keeps no position beside its output, so what a kill between the alerts and their
position could leave behind is what their own transaction leaves behind.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from projections.cli.demo_data import decisions
from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import Rules
from projections.ports import Position
from projections.runner import SealedWalk
from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from schemas.records import Record
from streams.audit.trail import Trail
from streams.history import read_range
from streams.kafka.reader import KafkaPartitionReader
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import read_all
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_kafka import free_ports
from tests.tidy.repository import ROOT

EVENTS = 700
RULES = Rules(threshold=0.5, warm_up=150)
TUNING = {
    "ATTESTREAM_RISK_THRESHOLD": str(RULES.threshold),
    "ATTESTREAM_WARM_UP": str(RULES.warm_up),
    "ATTESTREAM_SEAL_RECORDS_MAX": "20",  # so that alerts come in many transactions
}
# Behind a commit the alerts stand and nobody was told; before it they stand and may go.
KILLS = (
    ("AIOKafkaProducer.commit_transaction", 1),
    ("AIOKafkaProducer.send_batch answer", 1),
    ("AIOKafkaProducer.commit_transaction", 2),
    ("AIOKafkaProducer.begin_transaction", 2),
)
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]


async def test_a_kill_at_any_step_of_publishing_loses_and_doubles_no_alert(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, extra=TUNING) as deployment:
        seal_everything(deployment)
        expected = await alerts_due(kafka, deployment)
        assert len(expected) >= 4
        seen = [0]
        for call, number in KILLS:
            assert killed_at(deployment, call, number) == -signal.SIGKILL, (call, number)
            found = published(deployment)
            assert found == expected[: len(found)], (call, number)
            seen.append(len(found))
        assert seen == sorted(seen)
        assert seen[-1] > 0
        deployment.start_worker("index")
        wait_until(lambda: len(published(deployment)) >= len(expected), 60, "alerts are missing")
        assert deployment.end_all(signal.SIGTERM) == {0}
        assert published(deployment) == expected


def seal_everything(deployment: Deployment) -> None:
    events = deployment.folder / "events.ndjson"
    events.write_bytes(b"\n".join(decisions(EVENTS)) + b"\n")
    deployment.run("send", "--format", "cerbos", str(events))
    worker = deployment.start_worker("sealer,archive")
    wait_until(lambda: deployment.archived(deployment.decisions) == EVENTS, 60, "not sealed")
    assert worker.end(signal.SIGTERM) == 0


async def alerts_due(kafka: KafkaBroker, deployment: Deployment) -> list[str]:
    """The ids an uninterrupted reader of the log works out."""
    origin = deployment.origin(deployment.decisions, 0)
    reader = KafkaPartitionReader(kafka.connection(), deployment.audit(deployment.decisions), 0)
    try:
        start, end, _ = await reader.bounds()
        rows = await read_range(reader, start, end)
    finally:
        await reader.close()
    walk = SealedWalk(origin, Trail(origin, None), Position(0, None, None))
    fold = DecisionFold(RULES, lambda: DecisionRows(FoldedGraph))
    told: list[AnomalyAlert] = []
    for batch in walk.feed(rows):
        found = [item for record in batch.records for item in fold.apply(record)]
        told += alerts_of(found, batch, Stamp.of(RULES)) if found else []
    return [alert.alert_id for alert in told]


def published(deployment: Deployment) -> list[str]:
    found = read_all(deployment.bootstrap, deployment.alerts, 0)
    return [decode_alert(Record(m.offset(), 0, None, m.value())).alert_id for m in found]


def killed_at(deployment: Deployment, call: str, number: int) -> int:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.support.struck_worker", call, str(number)]
    with (deployment.folder / "struck.log").open("ab") as log:
        done = subprocess.run(
            [*command, "--roles", "index"],
            cwd=ROOT,
            env=deployment.environment(port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=60,
            check=False,
        )
    return done.returncode
