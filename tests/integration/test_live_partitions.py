"""A topic grows under running workers, one more joins, one is sent home: nothing is lost."""

import signal
from pathlib import Path

import pytest

from projections.cli.demo_data import decisions
from schemas.codec import decode_alert, decode_dead_letter
from schemas.records import Record
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import count, read_all
from tests.support.kafka_broker import KafkaBroker

EVENTS, GROWN_TO = 600, 3
pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_new_partitions_are_sealed_by_whoever_runs_then(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    tuning = {"ATTESTREAM_WARM_UP": "30", "ATTESTREAM_RISK_THRESHOLD": "0.5"}
    with Deployment(kafka.bootstrap, tmp_path, extra=tuning) as deployment:
        lines = list(decisions(EVENTS))
        first = deployment.start_worker()
        send(deployment, lines[: EVENTS // 3])
        wait_until(lambda: deployment.archived(deployment.decisions) == EVENTS // 3, 60, "first")
        deployment.run("topics", "apply", "--partitions", str(GROWN_TO))
        deployment.partitions = GROWN_TO
        deployment.start_worker()
        send(deployment, lines[EVENTS // 3 : 2 * EVENTS // 3])
        # One unreadable event for each partition, the new ones included.
        deployment.produce(deployment.decisions, [b"no event"] * GROWN_TO)
        due = 2 * EVENTS // 3 + GROWN_TO
        wait_until(lambda: deployment.archived(deployment.decisions) == due, 60, "while growing")
        wait_until(lambda: all(w.ready() for w in deployment.workers), 30, "two are not ready")
        send(deployment, lines[2 * EVENTS // 3 :])
        assert first.end(signal.SIGTERM) == 0
        due = EVENTS + GROWN_TO
        wait_until(lambda: deployment.archived(deployment.decisions) == due, 60, "after it left")
        wait_until(lambda: len(letters(deployment)) == GROWN_TO, 30, "dead letters are missing")
        check(deployment)
        assert deployment.end_all(signal.SIGTERM) == {0}


def send(deployment: Deployment, lines: list[bytes]) -> None:
    file = deployment.folder / "events.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    deployment.run("send", "--format", "cerbos", "--tenant", "clinic", str(file))


def letters(deployment: Deployment) -> list[str]:
    """The logs dead letters are of, as often as they are."""
    topic = f"{deployment.prefix}dead-letters.{deployment.decisions}"
    return [
        decode_dead_letter(Record(m.offset(), 0, None, m.value())).origin
        for partition in range(GROWN_TO)
        for m in read_all(deployment.bootstrap, topic, partition)
    ]


def check(deployment: Deployment) -> None:
    names = (deployment.decisions, deployment.audit(deployment.decisions))
    counted = [
        count(deployment.bootstrap, names, partition, deployment.public_key)
        for partition in range(GROWN_TO)
    ]
    # Each has its genesis, and leaves of its own.
    assert all(c.checkpoints > 1 and c.leaves > 1 for c in counted)
    assert sum(c.source for c in counted) == sum(c.sealed for c in counted) == EVENTS + GROWN_TO
    logs = [deployment.origin(deployment.decisions, partition) for partition in range(GROWN_TO)]
    assert sorted(letters(deployment)) == logs
    alerts = [
        decode_alert(Record(m.offset(), 0, None, m.value()))
        for partition in range(GROWN_TO)
        for m in read_all(deployment.bootstrap, deployment.alerts, partition)
    ]
    assert len({alert.alert_id for alert in alerts}) == len(alerts)
    assert {alert.evidence[0].origin for alert in alerts} & set(logs[1:])
