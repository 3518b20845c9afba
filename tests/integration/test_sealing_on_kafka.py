"""Two workers, four partitions, a kill in the middle: every source offset has exactly one leaf."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, wait_until
from tests.support.independent import Counted, count
from tests.support.kafka_broker import KafkaBroker

EVENTS = 50_000
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


def test_records_of_every_shape_become_leaves(kafka: KafkaBroker, tmp_path: Path) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        odd = [b"", b"\x00", b"\xc3\x01", os.urandom(900_000), b"{}", b"\x00" * 40]
        deployment.produce(deployment.decisions, odd)
        deployment.start_worker("sealer")
        wait_until(lambda: sealed(deployment) == len(odd), 30, "not everything was sealed")
        (only,) = counted(deployment)
        assert only.leaves == len(odd)


def counted(deployment: Deployment) -> list[Counted]:
    names = (deployment.decisions, deployment.audit(deployment.decisions))
    return [
        count(deployment.bootstrap, names, partition, deployment.public_key)
        for partition in range(deployment.partitions)
    ]


def sealed(deployment: Deployment) -> int:
    """How many leaves a checkpoint covers, by the command line's own word."""
    import json

    heads = deployment.run("audit", "heads", "--json").stdout.splitlines()
    found = [json.loads(line) for line in heads]
    return sum(h["size"] for h in found if f"/{deployment.decisions}/" in h["origin"])
