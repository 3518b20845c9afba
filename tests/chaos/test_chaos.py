"""Everything that can end a worker or a broker, at random, on real brokers: one history comes out.

A storm prints its seed; `CHAOS_SEED=… CHAOS_SECONDS=… make test-long` repeats its acts.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.feeder import Feeder, numbered
from tests.chaos.judge import Judged, judge, sealed_size
from tests.chaos.storm import Plan, Storm
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import read_all
from tests.support.local_kafka import LocalKafka

PARTITIONS = 4
SESSION_MS = 2000
WORKERS = ("worker SIGKILL", "worker SIGSTOP, SIGCONT", "worker SIGTERM", "one worker more")
SHORT = Plan(
    8, (*WORKERS, *WORKERS[:2], "one worker fewer", "broker restart"), (2.5, 4), (0.3, 1.2)
)
OFTEN = 2 * WORKERS
LONG = Plan(
    float(os.environ.get("CHAOS_SECONDS", "240")),
    (*OFTEN, *OFTEN, "one worker fewer", "one worker fewer", "broker restart", "broker SIGKILL"),
    (2.5, 7),
    (0.5, 4),
)
SEED = os.environ.get("CHAOS_SEED")
pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Outcome(NamedTuple):
    """What was done, what the workers told, and each log as it was found in the end."""

    storm: Storm
    feeder: Feeder
    seconds: float
    logs: list[Judged]

    def table(self, seed: int) -> str:
        acts = _rows({**self.storm.tally, **{f"log: {k}": n for k, n in self._heard().items()}})
        fed = sum(self.feeder.acknowledged.values())
        totals = [sum(column) for column in zip(*self.logs, strict=True)]
        first = (
            f"chaos, CHAOS_SEED={seed}, {len(self.storm.kafka.nodes)} brokers, "
            f"{self.seconds:.0f} s, {fed} events acknowledged, {self.feeder.failed} failed"
        )
        counts = _rows(dict(zip(Judged._fields, totals, strict=True)))
        return "\n".join([first, *acts, *counts, *self.storm.died])

    def _heard(self) -> Counter[str]:
        return self.storm.heard()


def test_a_short_storm_leaves_one_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tmp_path, capsys, SHORT, nodes=1, rate=800)


@pytest.mark.long
@pytest.mark.parametrize(("nodes", "rate"), [(3, 2000)])
def test_a_long_storm_leaves_one_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nodes: int, rate: int
) -> None:
    # A lone broker killed between a commit and its marker may forget the marker: three do not.
    check(tmp_path, capsys, LONG, nodes=nodes, rate=rate)


def check(
    folder: Path, capsys: pytest.CaptureFixture[str], plan: Plan, *, nodes: int, rate: int
) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(2**32)
    with raging(folder, plan, random.Random(seed), nodes=nodes, rate=rate) as outcome:
        with capsys.disabled():
            print(f"\n{outcome.table(seed)}")
        logs, feeder = outcome.logs, outcome.feeder
        assert sum(log.faults for log in logs) == 0
        assert all(log.sealed == log.leaves == log.source for log in logs)
        # Each act was done, and what was asked for happened: no worker ended otherwise.
        assert outcome.storm.tally.keys() == set(plan.deck)
        assert outcome.storm.died == []
        assert "partition stopped" not in outcome.storm.heard()
        assert feeder.failed == 0
        for partition in range(PARTITIONS):
            check_fed(outcome.storm.deployment, partition, feeder.acknowledged[partition])


def check_fed(deployment: Deployment, partition: int, acknowledged: int) -> None:
    """Whatever a producer was told is written is there, once and in order."""
    events = read_all(deployment.bootstrap, deployment.decisions, partition)
    assert [m.value() for m in events] == [numbered(partition, n) for n in range(acknowledged)]


@contextmanager
def raging(
    folder: Path, plan: Plan, dice: random.Random, *, nodes: int, rate: int
) -> Iterator[Outcome]:
    began = time.monotonic()
    waits = {"ATTESTREAM_SESSION_TIMEOUT_MS": str(SESSION_MS)}
    with (
        LocalKafka(folder / "kafka", nodes) as kafka,
        Deployment(
            kafka.bootstrap, folder, partitions=PARTITIONS, replicas=nodes, extra=waits
        ) as deployment,
    ):
        feeder = Feeder(kafka.bootstrap, deployment.decisions, PARTITIONS, rate)
        storm = Storm(kafka, deployment, plan, dice)
        feeder.start()
        try:
            storm.start(2)
            wait_until(lambda: any(w.ready() for w in storm.running), 60, "no worker got ready")
            storm.rage()
        finally:
            feeder.stop()
        wait_drained(storm, feeder)
        storm.died += [str(status) for status in deployment.end_all(signal.SIGTERM) if status]
        names = (deployment.decisions, deployment.audit(deployment.decisions))
        logs = [
            judge(deployment.bootstrap, names, partition, deployment.public_key)
            for partition in range(PARTITIONS)
        ]
        yield Outcome(storm, feeder, time.monotonic() - began, logs)


def wait_drained(storm: Storm, feeder: Feeder) -> None:
    """Until everything acknowledged is sealed; who still runs may not need a minute for it."""
    deployment = storm.deployment
    audit = deployment.audit(deployment.decisions)

    def drained() -> bool:
        return all(
            sealed_size(deployment.bootstrap, audit, partition) >= feeder.acknowledged[partition]
            for partition in range(PARTITIONS)
        )

    try:
        wait_until(drained, 120, "not all was sealed")
        wait_until(lambda: all(w.ready() for w in storm.running), 60, "not all are ready")
    except AssertionError as failure:
        for worker in storm.running:
            failure.add_note(f"{worker.log.name}: {worker.status().get('problems')}")
        raise


def _rows(counts: Mapping[str, int]) -> list[str]:
    return [f"  {name:<28} {number:>8}" for name, number in sorted(counts.items())]
