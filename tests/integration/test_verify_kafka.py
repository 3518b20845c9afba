"""`attestream verify kafka://…` against a real broker: partitions, tails, what is not there."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli.verify import verify
from streams.kafka.writer import KafkaPartitionWriter
from streams.ports import NewRecord
from tests.support.kafka_broker import KafkaBroker
from tests.support.signed_logs import KEY, ORIGIN, PARTITION, TOPIC, SignedLog, usual_log

pytestmark = pytest.mark.integration


async def put(kafka: KafkaBroker, topic: str, log: SignedLog) -> None:
    writer = KafkaPartitionWriter(kafka.connection(), topic, PARTITION)
    await writer.start()
    for row in log.rows:
        await writer.append([NewRecord(row.timestamp, row.value or b"")])
    await writer.close()


def told(tmp_path: Path, *arguments: str) -> tuple[int, Any]:
    keys = tmp_path / "keys.txt"
    keys.write_text(KEY.vkey().render())
    result = CliRunner().invoke(verify, [*arguments, "--keys", str(keys), "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
async def audit_topic(kafka: KafkaBroker) -> str:
    name = f"test-{secrets.token_hex(4)}.audit.{TOPIC}"
    topic = await kafka.create_topic(PARTITION + 1, name=name)
    await put(kafka, topic, usual_log())
    return topic


def test_every_partition_of_a_topic_is_verified(
    kafka: KafkaBroker, audit_topic: str, tmp_path: Path
) -> None:
    status, found = told(tmp_path, f"kafka://{kafka.bootstrap}/{audit_topic}")
    (log,) = found["logs"]
    assert (status, log["origin"], log["size"], log["tail"]) == (0, ORIGIN, 12, 2)
    status, alone = told(tmp_path, f"kafka://{kafka.bootstrap}/{audit_topic}/{PARTITION}")
    assert (status, alone) == (0, found)


def test_partition_and_topic_that_are_not_there_are_unreadable(
    kafka: KafkaBroker, audit_topic: str, tmp_path: Path
) -> None:
    for address in (f"{audit_topic}/9", "no-such-topic"):
        status, found = told(tmp_path, f"kafka://{kafka.bootstrap}/{address}")
        assert (status, found["verdict"]) == (3, "unreadable")


async def test_trimmed_audit_partition_misses_its_beginning(
    kafka: KafkaBroker, audit_topic: str, tmp_path: Path
) -> None:
    await kafka.trim(audit_topic, PARTITION, 4)
    address = f"kafka://{kafka.bootstrap}/{audit_topic}"
    status, found = await asyncio.to_thread(told, tmp_path, address)
    assert status == 21
    assert found["logs"][0]["breaks"][0]["index"] == 0
