"""Snapshots of a Kafka deployment: taken by request, restored by the worker that takes over."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions
from tests.support.deployment import Deployment, Worker, wait_until
from tests.support.kafka_broker import KafkaBroker

EVENTS = 1200
pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def deployment(kafka: KafkaBroker, tmp_path: Path) -> Iterator[Deployment]:
    settings = {
        "VECTOR_INDEX_KEY": "ab" * 32,
        "ATTESTREAM_SNAPSHOTS": str(tmp_path / "snapshots"),
        "ATTESTREAM_WARM_UP": "200",
        "ATTESTREAM_RISK_THRESHOLD": "0.6",
    }
    with Deployment(kafka.bootstrap, tmp_path, extra=settings) as made:
        yield made


def test_a_worker_that_takes_over_goes_on_from_the_snapshot_with_the_same_alerts(
    deployment: Deployment, tmp_path: Path
) -> None:
    worker = deployment.start_worker()
    lines = list(decisions(EVENTS))
    sent(deployment, tmp_path / "first.ndjson", lines[:800])
    wait_until(lambda: made_by(deployment, worker) == 800, 60, "no snapshot of all")
    worker.end(signal.SIGKILL)
    sent(deployment, tmp_path / "second.ndjson", lines[800:])
    second = deployment.start_worker()
    wait_until(lambda: made_by(deployment, second) == EVENTS, 90, "no snapshot of the rest")
    (found,) = printed(deployment.run("snapshot", "restore", "--compare", "--json"))
    assert (found["same"], found["problem"]) == (True, "")
    alerts = [one["alert_id"] for one in printed(alerts_of(deployment))]
    assert len(alerts) == len(set(alerts)) > 0
    lines_said = second.log.read_text().splitlines()
    said = [json.loads(line) for line in lines_said if line.startswith("{")]
    restored = [line for line in said if line.get("event") == "snapshot restored"]
    assert [line["leaves"] for line in restored] == [800]


def sent(deployment: Deployment, file: Path, lines: list[bytes]) -> None:
    file.write_bytes(b"\n".join(lines) + b"\n")
    deployment.run("send", "--format", "cerbos", str(file))


def made_by(deployment: Deployment, worker: Worker) -> int:
    """The leaves of a snapshot that a worker takes now; 0 where it takes none yet."""
    url = {"ATTESTREAM_URL": f"http://127.0.0.1:{worker.port}"}
    asker = replace(deployment, extra=deployment.extra | url)
    done = asker.run("snapshot", "create", "--json", check=False)
    return int(printed(done)[0]["size"]) if done.returncode == 0 else 0


def alerts_of(deployment: Deployment) -> Any:
    return deployment.run("alerts", "tail", "-n", "100000", "--json")


def printed(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]
