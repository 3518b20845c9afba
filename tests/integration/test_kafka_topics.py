"""`attestream topics` on a real broker: planned, made, found as declared."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from streams.kafka.facts import topic_settings
from streams.kafka.link import KafkaLink
from streams.kafka.topic_admin import apply_plan, plan_topics
from streams.kafka.topics import TopicOptions, declared_topics
from streams.topology import Topology
from tests.support.kafka_broker import KafkaBroker

pytestmark = pytest.mark.integration
COMMAND = Path(sys.executable).with_name("attestream")


def topology() -> Topology:
    prefix = f"t{secrets.token_hex(4)}."
    return Topology(base="o", decisions=f"{prefix}d", memory=f"{prefix}m", prefix=prefix)


async def settings_of(kafka: KafkaBroker, topic: str) -> Mapping[str, str]:
    link = KafkaLink(kafka.connection())
    try:
        return await topic_settings(link, topic)
    finally:
        await link.close()


async def test_a_plan_carried_out_leaves_nothing_to_do(kafka: KafkaBroker) -> None:
    names, connection = topology(), kafka.connection()
    declared = declared_topics(names, TopicOptions(partitions=3))
    planned = await plan_topics(connection, declared)
    assert {one.topic for one in planned} == {topic.name for topic in declared}
    assert await apply_plan(connection, planned) == []
    assert await plan_topics(connection, declared) == []
    found = await settings_of(kafka, names.audit(names.decisions))
    assert found["cleanup.policy"] == "delete"
    assert found["retention.ms"] == found["retention.bytes"] == "-1"
    assert found["message.timestamp.after.max.ms"] == str(2**63 - 1)

    # A live topic gets partitions, and all that follow it.
    await kafka.add_partitions(names.decisions, 5)
    grown = await plan_topics(connection, declared)
    assert {one.kind for one in grown} == {"partitions"}
    assert await apply_plan(connection, grown) == []
    assert await plan_topics(connection, declared) == []


async def test_a_setting_is_set_back_and_the_others_stay(kafka: KafkaBroker) -> None:
    names, connection = topology(), kafka.connection()
    declared = declared_topics(names, TopicOptions(partitions=1))
    audit = names.audit(names.memory)
    await kafka.create_topic(name=audit, retention_ms="1000", segment_ms="123456")
    await apply_plan(connection, await plan_topics(connection, declared))
    found = await settings_of(kafka, audit)
    assert (found["retention.ms"], found["segment.ms"]) == ("-1", "123456")
    assert await plan_topics(connection, declared) == []


def run(
    kafka: KafkaBroker, names: Topology, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    kept = {name: to for name, to in os.environ.items() if not name.startswith("ATTESTREAM_")}
    ours = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "ATTESTREAM_DECISIONS_TOPIC": names.decisions,
        "ATTESTREAM_MEMORY_TOPIC": names.memory,
        "ATTESTREAM_TOPIC_PREFIX": names.prefix,
    }
    return subprocess.run(
        [COMMAND, "topics", *arguments],
        env=kept | ours,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_command_says_what_differs_and_exits_with_it(kafka: KafkaBroker) -> None:
    names = topology()
    await kafka.create_topic(name=names.decisions, cleanup_policy="compact")
    before = run(kafka, names, "plan", "--json")
    kinds = {one["topic"]: one["kind"] for one in map(json.loads, before.stdout.splitlines())}
    assert (before.returncode, kinds[names.decisions]) == (1, "refused")
    assert kinds[names.memory] == kinds[names.audit(names.memory)] == "missing"
    applied = run(kafka, names, "apply", "--partitions", "1")
    assert applied.returncode == 1
    (left,) = applied.stdout.splitlines()
    assert left.startswith("refused")
    assert "cleanup.policy is compact" in left
    assert (await settings_of(kafka, names.decisions))["cleanup.policy"] == "compact"


def test_done_twice_is_done_once(kafka: KafkaBroker) -> None:
    names = topology()
    first = run(kafka, names, "apply", "--partitions", "2", "--replication", "1")
    assert (first.returncode, first.stdout) == (0, "every topic is as declared\n")
    again = run(kafka, names, "apply", "--partitions", "2")
    assert (again.returncode, again.stderr) == (0, "")
    assert run(kafka, names, "plan", "--json").stdout == ""


def test_replicas_no_cluster_has_are_refused_with_its_reason(kafka: KafkaBroker) -> None:
    done = run(kafka, topology(), "apply", "--partitions", "1", "--replication", "90")
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert "eplication" in done.stdout
