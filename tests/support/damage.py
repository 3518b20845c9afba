"""What operators, accidents and attackers do to topics, and how a stopped partition is told of."""

import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.deployment import Deployment, Worker, wait_until
from tests.support.independent import RECORD, read_all

__all__ = ["leaves", "produce_transactions", "recreate", "stops", "trim"]


def recreate(deployment: Deployment, topic: str, **settings: str) -> None:
    """Delete a topic and create it anew under its name."""
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    admin.delete_topics([topic])[topic].result()
    made = NewTopic(topic, deployment.partitions, deployment.replicas, config=settings)
    for attempt in range(50):
        try:
            admin.create_topics([made])[topic].result()
        except Exception:  # noqa: BLE001 - deletion goes on in the background
            assert attempt < 49
            time.sleep(0.1)
        else:
            return


def trim(deployment: Deployment, topic: str, offset: int) -> None:
    """What retention does: records below `offset` are gone."""
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    for done in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        done.result()


def produce_transactions(
    deployment: Deployment, topic: str, values: Sequence[bytes], *, commit: bool = True
) -> None:
    """Each value in a transaction of its own, so that a marker follows it."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": deployment.bootstrap,
            "transactional.id": f"producer-of-{topic}",
            "log_level": 0,
        }
    )
    producer.init_transactions()
    for value in values:
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()


def leaves(deployment: Deployment, topic: str, partition: int = 0) -> int:
    """How many audit records of a source topic's log are committed."""
    rows = read_all(deployment.bootstrap, deployment.audit(topic), partition)
    return sum((m.value() or b"")[2:10] == RECORD for m in rows)


def stops(deployment: Deployment, worker: Worker, expected: dict[str, tuple[str, str]]) -> None:
    """Exactly these partitions 0 stop, for this reason and with these words, wherever it is told.

    `expected` maps a source topic to the reason and to words of the sentence. Told in readiness,
    in the metrics and by the doctor.
    """
    wait_until(lambda: len(stopped(worker)) >= len(expected), 40, f"stops: {stopped(worker)}")
    told = stopped(worker)
    assert len(told) == len(expected), told
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    url = {"ATTESTREAM_URL": f"http://127.0.0.1:{worker.port}"}
    asking = replace(deployment, extra=deployment.extra | url)
    doctor = asking.run("doctor", "--json", check=False)
    findings = [json.loads(line) for line in doctor.stdout.splitlines()]
    assert doctor.returncode == 1
    for topic, (reason, words) in expected.items():
        (sentence,) = [one for one in told if f" {topic}/0 " in one]
        assert words in sentence, sentence
        assert "\n" not in sentence
        label = f'partition="0",reason="{reason}",role="sealer",topic="{topic}"'
        assert f"attestream_partition_stopped{{{label}}} 1.0" in metrics
        assert [f for f in findings if f["good"] is False and f["says"] == sentence], findings


def stopped(worker: Worker) -> list[str]:
    """The sentences of stopped parts."""
    return [one for one in worker.status().get("problems", []) if " stopped: " in one]
