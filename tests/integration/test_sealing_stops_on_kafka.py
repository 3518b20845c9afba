"""A source that changes under its log, on a real broker: that partition stops, and says why."""

import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.deployment import Deployment, wait_until
from tests.support.independent import read_all
from tests.support.kafka_broker import KafkaBroker

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_recreated_and_trimmed_sources_stop_and_the_other_goes_on(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        worker = deployment.start_worker("sealer")
        topics = (deployment.decisions, deployment.memory, deployment.alerts)
        for topic in topics:
            deployment.produce(topic, [b"one", b"two"])
        wait_until(lambda: all(leaves(deployment, t) == 2 for t in topics), 30, "not sealed")
        assert worker.end(signal.SIGTERM) == 0
        recreate(deployment, deployment.decisions)
        for topic in topics:
            deployment.produce(topic, [b"three", b"four"])
        trim(deployment, deployment.memory, 3)
        worker = deployment.start_worker("sealer")
        wait_until(lambda: leaves(deployment, deployment.alerts) == 4, 30, "the third waits too")
        wait_until(lambda: len(worker.status().get("problems", [])) == 2, 30, "not both stopped")
        told = " ".join(worker.status()["problems"])
        assert "became" in told
        assert "retention took records nobody sealed" in told
        assert leaves(deployment, deployment.decisions) == 2
        assert leaves(deployment, deployment.memory) == 2


def leaves(deployment: Deployment, topic: str) -> int:
    rows = read_all(deployment.bootstrap, deployment.audit(topic), 0)
    return sum((m.value() or b"")[2:10] == bytes.fromhex("31939f51e3268559") for m in rows)


def recreate(deployment: Deployment, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    admin.delete_topics([topic])[topic].result()
    for attempt in range(50):
        try:
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
        except Exception:  # noqa: BLE001 - deletion goes on in the background
            assert attempt < 49
            time.sleep(0.1)
        else:
            return


def trim(deployment: Deployment, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    for done in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        done.result()
