"""Sources that are recreated, trimmed, compacted or shared, on a real broker.

Each heals by the rule, or stops that partition alone with one sentence that readiness, metrics
and the doctor show.
"""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.damage import leaves, produce_transactions, recreate, stopped, stops, trim
from tests.support.deployment import Deployment, Worker, wait_until
from tests.support.kafka_broker import KafkaBroker

THREE = [b"one", b"two", b"three"]
pytestmark = [pytest.mark.integration, pytest.mark.slow]


def sealed_all(deployment: Deployment, counts: dict[str, int]) -> None:
    def whole() -> bool:
        return all(leaves(deployment, topic) == count for topic, count in counts.items())

    wait_until(whole, 40, f"not sealed: {[leaves(deployment, topic) for topic in counts]}")


def sealed_once(deployment: Deployment, *topics: str) -> Worker:
    """Three records of each topic sealed by a worker that has ended."""
    for topic in topics:
        deployment.produce(topic, THREE)
    worker = deployment.start_worker("sealer")
    sealed_all(deployment, dict.fromkeys(topics, 3))
    assert worker.end(signal.SIGTERM) == 0
    return worker


def test_recreated_topics_stop_whether_they_hold_fewer_as_many_or_more(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        counts = {deployment.decisions: 1, deployment.memory: 3, deployment.alerts: 5}
        sealed_once(deployment, *counts)
        for topic, count in counts.items():
            recreate(deployment, topic)
            deployment.produce(topic, [b"another"] * count)
        worker = deployment.start_worker("sealer")
        recreated = ("identity", "the topic was deleted and recreated")
        stops(deployment, worker, dict.fromkeys(counts, recreated))
        assert [leaves(deployment, topic) for topic in counts] == [3, 3, 3]


@pytest.mark.long
def test_topics_recreated_under_a_running_sealer_stop_and_nothing_of_them_is_sealed(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        counts = {deployment.decisions: 1, deployment.memory: 3, deployment.alerts: 5}
        for topic in counts:
            deployment.produce(topic, THREE)
        worker = deployment.start_worker("sealer")
        sealed_all(deployment, dict.fromkeys(counts, 3))
        for topic, count in counts.items():
            recreate(deployment, topic)
            deployment.produce(topic, [b"another"] * count)
        recreated = ("identity", "the topic was deleted and recreated")
        # The ids of topics are asked for once a minute.
        wait_until(lambda: len(stopped(worker)) == 3, 75, f"goes on: {worker.status()}")
        stops(deployment, worker, dict.fromkeys(counts, recreated))
        assert [leaves(deployment, topic) for topic in counts] == [3, 3, 3]


def test_retention_ahead_of_the_sealer_and_compaction_stop_their_partitions_alone(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        topics = (deployment.decisions, deployment.memory, deployment.alerts)
        sealed_once(deployment, *topics)
        for topic in topics:
            deployment.produce(topic, THREE)
        trim(deployment, deployment.decisions, 4)
        deployment.compact(deployment.memory)
        worker = deployment.start_worker("sealer")
        sealed_all(deployment, {deployment.alerts: 6})
        gap = ("gap", "retention took records nobody sealed")
        policy = ("policy", "set it to delete and start again")
        stops(deployment, worker, {deployment.decisions: gap, deployment.memory: policy})
        assert worker.end(signal.SIGTERM) == 0
        # What lasts is told without any worker: it is kept in the archive.
        assert "retention took records nobody sealed" in verdicts(deployment)
        assert [leaves(deployment, topic) for topic in topics] == [3, 3, 6]


def verdicts(deployment: Deployment) -> str:
    """What the doctor says of logs when no worker is asked."""
    done = deployment.run("doctor", "--json", check=False)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    return " ".join(f["says"] for f in findings if f["part"] == "logs" and f["good"] is False)


def test_an_audit_topic_that_is_compacted_or_emptied_stops_its_log_alone(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        topics = (deployment.decisions, deployment.memory, deployment.alerts)
        sealed_once(deployment, *topics)
        for topic in topics:
            deployment.produce(topic, THREE)
        deployment.compact(deployment.audit(deployment.decisions))
        trim(deployment, deployment.audit(deployment.memory), -1)
        worker = deployment.start_worker("sealer")
        sealed_all(deployment, {deployment.alerts: 6})
        policy = ("policy", "set it to delete and start again")
        emptied = ("rollback", "restore it")
        stops(deployment, worker, {deployment.decisions: policy, deployment.memory: emptied})


def test_a_log_start_on_the_marker_of_a_transaction_is_no_gap(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        topic = deployment.decisions
        worker = deployment.start_worker("sealer")
        # Offsets 0 and 2 are records, 1 and 3 their markers, 4 an aborted record, 5 its marker.
        produce_transactions(deployment, topic, [b"one", b"two"])
        produce_transactions(deployment, topic, [b"never"], commit=False)
        sealed_all(deployment, {topic: 2})
        wait_until(lambda: posted(kafka, deployment) == 6, 20, "markers are not passed")
        assert worker.end(signal.SIGTERM) == 0
        trim(deployment, topic, 5)
        worker = deployment.start_worker("sealer")
        produce_transactions(deployment, topic, [b"three"])
        sealed_all(deployment, {topic: 3})
        wait_until(worker.ready, 20, f"not ready: {worker.status()}")


def posted(kafka: KafkaBroker, deployment: Deployment) -> int:
    """The source offset the group has posted."""
    group = f"{deployment.prefix}attestream.sealer"
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "log_level": 0})
    try:
        place = TopicPartition(deployment.decisions, 0)
        return int(consumer.committed([place], timeout=10)[0].offset)
    finally:
        consumer.close()


def test_a_second_deployment_of_the_same_origin_stops_and_one_of_its_own_does_not(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as first:
        sealed_once(first, first.decisions)
        first.start_worker("sealer")
        same = {"ATTESTREAM_DECISIONS_TOPIC": first.decisions, "ATTESTREAM_ORIGIN": first.base}
        twin = sharing(first, "twin", same)
        own = {"ATTESTREAM_DECISIONS_TOPIC": first.decisions}
        other = sharing(first, "other", own)
        with twin, other:
            for one in (twin, other):
                create(one, one.audit(first.decisions))
            first.produce(first.decisions, THREE)
            worker = twin.start_worker("sealer")
            neighbour = other.start_worker("sealer")
            wait_until(lambda: stopped(worker), 40, f"the twin goes on: {worker.status()}")
            assert "another deployment uses this origin" in stopped(worker)[0]
            wait_until(neighbour.ready, 40, f"not ready: {neighbour.status()}")
            sealed_all(first, {first.decisions: 6})
            wait_until(lambda: leaves(other, first.decisions) == 6, 40, "each has its own log")
            assert leaves(twin, first.decisions) == 0


def create(deployment: Deployment, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(topic, 1, 1, config={"retention.ms": "-1"})])[topic].result()


def sharing(first: Deployment, prefix: str, extra: dict[str, str]) -> Deployment:
    """Another deployment over the same decisions; the archive is the first's."""
    return replace(first, prefix=f"{prefix}{first.prefix}", extra=extra, workers=[])
