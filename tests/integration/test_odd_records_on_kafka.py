"""Records no producer should send, on a real broker: each becomes one leaf, as any other."""

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from schemas.records import Record
from streams.clock import SystemClock
from tests.chaos.judge import judge
from tests.support.damage import leaves
from tests.support.deployment import Deployment, Worker, wait_until
from tests.support.kafka_broker import KafkaBroker

DAY_MS = 86_400_000
HUGE = 20 * 2**20
ZSTD = 4
AHEAD, LARGEST = "message.timestamp.after.max.ms", "max.message.bytes"
pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def test_odd_records_are_sealed_and_what_follows_them(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    now = SystemClock().now_ms()
    strange = Record(0, now, b"k", b"header", ((b"\xff\xfe", b"not UTF-8"), (b"", None)))
    huge = Record(0, now, b"k", bytes(HUGE))
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        topic = deployment.decisions
        let(deployment, topic, LARGEST, 2**20)
        await kafka.feed(topic, 0, [strange])
        # Compressed it is small: a topic of 1 MiB takes it.
        await kafka.feed(topic, 0, [huge], codec=ZSTD)
        worker = deployment.start_worker("sealer")
        wait_until(lambda: leaves(deployment, topic) == 2, 60, f"stuck: {worker.status()}")
        deployment.produce(topic, [b"what follows"])
        check(deployment, worker, 3)


async def test_a_day_ahead_is_sealed_where_the_audit_topic_may_hold_it_and_waits_elsewhere(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    ahead = Record(0, SystemClock().now_ms() + DAY_MS, b"k", b"a day ahead")
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        topic, audit = deployment.decisions, deployment.audit(deployment.decisions)
        let(deployment, topic, AHEAD, 2**63 - 1)
        await kafka.feed(topic, 0, [ahead])
        worker = deployment.start_worker("sealer")
        wait_until(lambda: refused(worker, audit), 40, f"not told: {worker.status()}")
        assert leaves(deployment, topic) == 0
        # As `attestream topics apply` sets it; what waits goes on by itself.
        let(deployment, audit, AHEAD, 2**63 - 1)
        deployment.produce(topic, [b"what follows"])
        check(deployment, worker, 2)


def check(deployment: Deployment, worker: Worker, count: int) -> None:
    """All is sealed, once and in order, and nobody waits for anything."""
    topic = deployment.decisions
    names = (topic, deployment.audit(topic))
    wait_until(lambda: leaves(deployment, topic) == count, 40, f"stuck: {worker.status()}")
    wait_until(worker.ready, 20, f"not ready: {worker.status()}")
    found = judge(deployment.bootstrap, names, 0, deployment.public_key)
    assert (found.faults, found.leaves) == (0, count)
    keys = deployment.folder / "keys.txt"
    keys.write_text(deployment.run("keys", "show").stdout)
    log = f"kafka://{deployment.bootstrap}/{deployment.audit(topic)}"
    deployment.run("verify", log, "--keys", str(keys))


def refused(worker: Worker, audit: str) -> bool:
    problems = worker.status().get("problems", [])
    return any(f"{audit}/0: the topic does not take the record" in one for one in problems)


def let(deployment: Deployment, topic: str, setting: str, value: int) -> None:
    """Change a setting of a topic."""
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap, "log_level": 0})
    entry = ConfigEntry(setting, str(value), incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([change]).values():
        done.result()
