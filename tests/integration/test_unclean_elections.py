"""Three brokers and unclean elections: acknowledged records go, and the log stays true.

The follower of a partition is down while records are written; then the leader dies, and the
follower, that lacks them, leads. What was sealed of them stops the partition; what was not is
never missed. A log that lost its end is planned again from its source.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.chaos.judge import Judged, judge
from tests.support.damage import leaves, stops
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import read_all
from tests.support.local_kafka import LocalKafka

FOLLOWER, LEADER = 2, 1
UNCLEAN = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]


@contextmanager
def three(folder: Path) -> Iterator[tuple[LocalKafka, Deployment]]:
    with (
        LocalKafka(folder / "kafka", 3) as kafka,
        Deployment(kafka.bootstrap, folder, replicas=3) as deployment,
    ):
        yield kafka, deployment


def weaken(deployment: Deployment, topic: str) -> None:
    """Make a topic anew on two brokers only, that takes any leader."""
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    admin.delete_topics([topic])[topic].result()
    kept = {"retention.ms": "-1", "max.message.bytes": "8388608"}
    made = NewTopic(topic, 1, replica_assignment=[[LEADER, FOLLOWER]], config=UNCLEAN | kept)
    for attempt in range(50):
        try:
            admin.create_topics([made])[topic].result()
        except confluent_kafka.KafkaException:
            assert attempt < 49
            time.sleep(0.1)
        else:
            return


def leader_of(deployment: Deployment, topic: str) -> int:
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    return int(admin.list_topics(topic, timeout=10).topics[topic].partitions[0].leader)


def elect_unclean(kafka: LocalKafka, deployment: Deployment, topic: str) -> None:
    """The follower, back from before the last records, leads; the old leader follows it."""
    kafka.kill(LEADER)
    kafka.start(FOLLOWER)
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})

    def led() -> bool:
        with suppress(confluent_kafka.KafkaException):
            admin.elect_leaders(ElectionType.UNCLEAN, [TopicPartition(topic, 0)]).result()
        return leader_of(deployment, topic) == FOLLOWER

    wait_until(led, 40, "nobody leads")
    kafka.start(LEADER)


def seal(deployment: Deployment, topic: str, count: int) -> None:
    held = len(read_all(deployment.bootstrap, topic, 0))
    deployment.produce(topic, [b"event-%d" % n for n in range(held, count)])
    worker = deployment.start_worker("sealer")
    wait_until(lambda: leaves(deployment, topic) == count, 60, f"{worker.status()}")
    assert worker.end(signal.SIGTERM) == 0


def judged(deployment: Deployment, topic: str) -> Judged:
    names = (topic, deployment.audit(topic))
    return judge(deployment.bootstrap, names, 0, deployment.public_key)


def test_a_source_truncated_below_what_is_sealed_stops(tmp_path: Path) -> None:
    with three(tmp_path) as (kafka, deployment):
        topic = deployment.decisions
        weaken(deployment, topic)
        seal(deployment, topic, 3)
        kafka.kill(FOLLOWER)
        seal(deployment, topic, 6)
        elect_unclean(kafka, deployment, topic)
        deployment.produce(topic, [b"other-%d" % n for n in range(5)])
        worker = deployment.start_worker("sealer")
        stops(deployment, worker, {topic: ("source_changed", "")})
        assert leaves(deployment, topic) == 6


def test_a_source_truncated_under_a_running_sealer_stops_before_other_records_are_sealed(
    tmp_path: Path,
) -> None:
    with three(tmp_path) as (kafka, deployment):
        topic = deployment.decisions
        weaken(deployment, topic)
        seal(deployment, topic, 3)
        kafka.kill(FOLLOWER)
        deployment.produce(topic, [b"event-%d" % n for n in range(3)])
        worker = deployment.start_worker("sealer")
        wait_until(lambda: leaves(deployment, topic) == 6, 60, f"{worker.status()}")
        elect_unclean(kafka, deployment, topic)
        # More than were lost: the next offset to seal is there, of another history.
        deployment.produce(topic, [b"other-%d" % n for n in range(9)])
        stops(deployment, worker, {topic: ("source_changed", "")})
        assert leaves(deployment, topic) == 6


def test_a_source_truncated_behind_what_is_sealed_goes_on(tmp_path: Path) -> None:
    with three(tmp_path) as (kafka, deployment):
        topic = deployment.decisions
        weaken(deployment, topic)
        seal(deployment, topic, 3)
        kafka.kill(FOLLOWER)
        deployment.produce(topic, [b"lost-%d" % n for n in range(4)])
        elect_unclean(kafka, deployment, topic)
        seal(deployment, topic, 6)
        found = judged(deployment, topic)
        assert (found.faults, found.sealed) == (0, 6)


def test_a_log_truncated_by_an_election_is_planned_again_from_its_source(tmp_path: Path) -> None:
    with three(tmp_path) as (kafka, deployment):
        topic = deployment.decisions
        weaken(deployment, deployment.audit(topic))
        seal(deployment, topic, 3)
        kafka.kill(FOLLOWER)
        seal(deployment, topic, 6)
        elect_unclean(kafka, deployment, deployment.audit(topic))
        wait_until(lambda: leaves(deployment, topic) == 3, 20, "the log was not truncated")
        seal(deployment, topic, 8)
        found = judged(deployment, topic)
        assert (found.faults, found.sealed) == (0, 8)
