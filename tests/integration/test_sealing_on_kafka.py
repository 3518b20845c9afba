"""Two workers, four partitions, a kill in the middle: every source offset has exactly one leaf."""

import json
import os
import signal
from pathlib import Path

import pytest

from schemas.codec import decode_dead_letter, encode_event
from schemas.events import AuthorizationDecision, MemoryMutation, Operation
from schemas.records import Record
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import Counted, count, read_all
from tests.support.kafka_broker import KafkaBroker

EVENTS = 50_000
MEMORY = MemoryMutation(event_id="m", namespace="s", node_id="n", operation=Operation.DELETE)
pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_worker_killed_in_the_middle_loses_and_doubles_nothing(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, partitions=4) as deployment:
        first, _second = deployment.start_worker("sealer"), deployment.start_worker("sealer")
        wait_until(lambda: any(w.ready() for w in deployment.workers), 30, "no worker got ready")
        padding = os.urandom(100).hex().encode()
        values = [b"event-%08d-%b" % (i, padding) for i in range(EVENTS)]
        deployment.produce(deployment.decisions, values[: EVENTS // 2])
        first.end(signal.SIGKILL)
        deployment.produce(deployment.decisions, values[EVENTS // 2 :], first=EVENTS // 2)
        deployment.start_worker("sealer")
        wait_until(lambda: sealed(deployment) == EVENTS, 90, "not everything was sealed")
        counts = counted(deployment)
        assert sum(c.source for c in counts) == sum(c.leaves for c in counts) == EVENTS


def test_records_of_every_shape_are_sealed_and_dead_lettered(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    good = encode_event(AuthorizationDecision(event_id="good"))
    odd = {
        b"": "UNKNOWN_FRAMING",
        None: "UNKNOWN_FRAMING",
        b"{}": "UNKNOWN_FRAMING",
        b"\x00" * 40: "UNKNOWN_SCHEMA",
        b"\xc3\x01" + bytes(8) + b"body": "UNKNOWN_SCHEMA",
        good[:12]: "UNDECODABLE",
        good + b"more": "TRAILING_BYTES",
        b"\xff" + os.urandom(900_000): "UNKNOWN_FRAMING",
        encode_event(MEMORY): "WRONG_TYPE",
    }
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        deployment.produce(deployment.decisions, [*odd, good])
        deployment.start_worker("sealer,dead-letters")
        wait_until(lambda: sealed(deployment) == len(odd) + 1, 40, "not everything was sealed")
        (only,) = counted(deployment)
        assert only.leaves == len(odd) + 1
        topic = f"{deployment.prefix}dead-letters.{deployment.decisions}"
        wait_until(
            lambda: len(read_all(deployment.bootstrap, topic, 0)) == len(odd), 20, "no dead letter"
        )
        letters = [
            decode_dead_letter(Record(m.offset(), 0, None, m.value()))
            for m in read_all(deployment.bootstrap, topic, 0)
        ]
        assert [letter.reason.value for letter in letters] == list(odd.values())
        assert [letter.index for letter in letters] == list(range(len(odd)))


def counted(deployment: Deployment) -> list[Counted]:
    names = (deployment.decisions, deployment.audit(deployment.decisions))
    return [
        count(deployment.bootstrap, names, partition, deployment.public_key)
        for partition in range(deployment.partitions)
    ]


def sealed(deployment: Deployment) -> int:
    """How many leaves a checkpoint covers, by the command line's own word."""
    heads = deployment.run("audit", "heads", "--json").stdout.splitlines()
    found = [json.loads(line) for line in heads]
    return sum(h["size"] for h in found if f"/{deployment.decisions}/" in h["origin"])
