"""`attestream verify kafka://…` against a real broker: partitions, tails, what is not there."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from schemas.codec import encode_head
from schemas.heads import LogHead
from schemas.records import Record
from streams.audit.checkpoint import parse_checkpoint
from streams.audit.operations import EpochForked, KeyAdded, Operation, operator_name
from streams.cli.verify import verify
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.writer import KafkaPartitionWriter
from streams.ports import NewRecord
from tests.support.kafka_broker import KafkaBroker
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.root_logs import root_log, sealed_at_once
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    PARTITION,
    TOPIC,
    Key,
    SignedLog,
    usual_log,
)
from tests.support.signed_logs import checkpoint_of as audit_checkpoint

pytestmark = pytest.mark.integration


EVENTS = [
    Record(0, 1_760_000_000_000 + n, b"k%d" % (n % 3), b"event %d " % n + bytes(200))
    for n in range(12)
]


async def put(kafka: KafkaBroker, topic: str, log: SignedLog) -> None:
    writer = KafkaPartitionWriter(kafka.connection(), topic, PARTITION)
    await writer.start()
    for row in log.rows:
        await writer.append([NewRecord(row.timestamp, row.value or b"")])
    await writer.close()
    await committed(kafka, topic, PARTITION)


async def committed(kafka: KafkaBroker, topic: str, partition: int = 0) -> None:
    """The answer to a commit may come before its marker stands in the partition."""
    reader = KafkaPartitionReader(kafka.connection(), topic, partition)
    bounds = await reader.bounds()
    while bounds.end < bounds.high_watermark:
        await asyncio.sleep(0.01)
        bounds = await reader.bounds()
    await reader.close()


def told(tmp_path: Path, *arguments: str, keys: str = KEY.vkey().render()) -> tuple[int, Any]:
    path = tmp_path / "keys.txt"
    path.write_text(keys)
    result = CliRunner().invoke(verify, [*arguments, "--keys", str(path), "--json"])
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


# --- with the source ---


class Pair(NamedTuple):
    """A source of twelve events, and the audit topic of its log."""

    source: str
    audit: str
    events: list[Record]


@pytest.fixture
async def pair(kafka: KafkaBroker) -> Pair:
    source = await kafka.create_topic(1)
    audit = await kafka.create_topic(1, name=f"audit.{source}")
    for event in EVENTS:
        await kafka.feed(source, 0, [event])
    return Pair(source, audit, [e._replace(offset=n) for n, e in enumerate(EVENTS)])


async def seal(kafka: KafkaBroker, pair: Pair, events: list[Record]) -> None:
    writer = KafkaPartitionWriter(kafka.connection(), pair.audit, 0)
    await writer.start()
    rows = sealed_at_once(pair.source, events)
    await writer.append([NewRecord(r.timestamp, r.value or b"") for r in rows])
    await writer.close()
    await committed(kafka, pair.audit)


async def compared(
    kafka: KafkaBroker, pair: Pair, tmp_path: Path
) -> tuple[int, str, list[tuple[str, int]]]:
    address = f"kafka://{kafka.bootstrap}/{pair.audit}"
    status, found = await asyncio.to_thread(told, tmp_path, address, "--source")
    (log,) = found["logs"]
    return status, log["source"], [(b["kind"], b["index"]) for b in log["breaks"]]


async def test_an_honest_log_is_that_of_its_topic(
    kafka: KafkaBroker, pair: Pair, tmp_path: Path
) -> None:
    await seal(kafka, pair, pair.events)
    assert await compared(kafka, pair, tmp_path) == (0, "checked", [])


async def test_a_record_the_sealer_left_out_is_missed(
    kafka: KafkaBroker, pair: Pair, tmp_path: Path
) -> None:
    await seal(kafka, pair, [e for e in pair.events if e.offset != 6])
    assert await compared(kafka, pair, tmp_path) == (21, "checked", [("sequence", 6)])


async def test_a_record_the_sealer_made_up_is_named(
    kafka: KafkaBroker, pair: Pair, tmp_path: Path
) -> None:
    made_up = pair.events[6]._replace(value=b"never sent" + bytes(200))
    await seal(kafka, pair, [made_up if e.offset == 6 else e for e in pair.events])
    assert await compared(kafka, pair, tmp_path) == (20, "checked", [("altered", 6)])


async def test_what_retention_took_from_the_topic_is_told_apart(
    kafka: KafkaBroker, pair: Pair, tmp_path: Path
) -> None:
    await seal(kafka, pair, pair.events)
    await kafka.trim(pair.source, 0, 5)
    assert await compared(kafka, pair, tmp_path) == (0, "checked", [])
    await kafka.trim(pair.source, 0, 12)
    assert await compared(kafka, pair, tmp_path) == (0, "missing", [])


async def test_a_topic_that_is_gone_is_missing(
    kafka: KafkaBroker, pair: Pair, tmp_path: Path
) -> None:
    await seal(kafka, pair, pair.events)
    await kafka.delete_topic(pair.source)
    assert await compared(kafka, pair, tmp_path) == (0, "missing", [])


# --- with the operations and heads beside it ---


async def test_orders_and_heads_of_the_same_deployment_are_followed(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    prefix = f"test-{secrets.token_hex(4)}."
    operations, heads = f"{prefix}attestream.operations", f"{prefix}attestream.heads"
    source = f"{prefix}events"
    lost = f"{BASE}/{source}/3"
    head = LogHead(origin=lost, note=KEY.note(8, bytes(32), lost))
    order = signed_order(KeyAdded(vkey=KEY.vkey(), prefix=BASE))
    logs = {
        operations: root_log(operations, [order]),
        heads: root_log(heads, [encode_head(head)]),
        source: sealed_at_once(source, EVENTS[:1]),
    }
    for topic, rows in logs.items():
        audit = await kafka.create_topic(1, name=f"{prefix}audit.{topic}")
        writer = KafkaPartitionWriter(kafka.connection(), audit, 0)
        await writer.start()
        await writer.append([NewRecord(r.timestamp, r.value or b"") for r in rows])
        await writer.close()
        await committed(kafka, audit)
    address = f"kafka://{kafka.bootstrap}/{prefix}audit.{source}"
    operator = OPERATOR.vkey(operator_name(BASE)).render()
    status, found = await asyncio.to_thread(told, tmp_path, address, keys=operator)
    logs_told = {log["origin"]: log for log in found["logs"]}
    assert status == 24
    assert [b["kind"] for b in logs_told[lost]["breaks"]] == ["shorter_than_anchor"]
    assert logs_told[f"{BASE}/{source}/0"]["breaks"] == []
    assert logs_told[f"{BASE}/{source}/0"]["roster"] == "missing"


# --- the epochs of a log ---


class Forked(NamedTuple):
    """The topics of a log that an operator forked at 4, and the next epoch of twelve records."""

    prefix: str
    source: str
    logs: dict[str, list[Record]]

    @property
    def audit(self) -> str:
        return f"{self.prefix}audit.{self.source}"

    @property
    def later(self) -> str:
        return f"{BASE}/{self.source}/0/e1"


def forked(*, operations_key: Key = KEY, opened: bool = True) -> Forked:
    prefix = f"test-{secrets.token_hex(4)}."
    sources = [event._replace(offset=n) for n, event in enumerate(EVENTS)]
    source, operations = f"{prefix}events", f"{prefix}attestream.operations"
    first = sealed_at_once(source, sources[:4])
    root = parse_checkpoint(audit_checkpoint(first[-1]).note)[0].root
    fork = EpochForked(
        origin=f"{BASE}/{source}/0",
        size=4,
        root=root,
        epoch=1,
        cluster_id="c",
        topic_id="t",
        offset=0,
    )
    orders: list[Operation] = [KeyAdded(vkey=KEY.vkey(), prefix=BASE), *([fork] if opened else [])]
    later = sealed_at_once(source, sources, origin=f"{BASE}/{source}/0/e1")
    audits = {
        f"{prefix}audit.{source}": first,
        f"{prefix}audit.{source}.e1": later,
        f"{prefix}audit.{operations}": root_log(
            operations, [signed_order(one) for one in orders], operations_key
        ),
    }
    return Forked(prefix, source, audits)


async def verified(
    kafka: KafkaBroker, tmp_path: Path, made: Forked, *more: str
) -> tuple[int, dict[str, Any]]:
    for audit, rows in made.logs.items():
        await kafka.create_topic(1, name=audit)
        writer = KafkaPartitionWriter(kafka.connection(), audit, 0)
        await writer.start()
        await writer.append([NewRecord(r.timestamp, r.value or b"") for r in rows])
        await writer.close()
        await committed(kafka, audit)
    address = f"kafka://{kafka.bootstrap}/{made.audit}"
    operator = OPERATOR.vkey(operator_name(BASE)).render()
    status, found = await asyncio.to_thread(told, tmp_path, address, *more, keys=operator)
    return status, {log["origin"]: [b["kind"] for b in log["breaks"]] for log in found["logs"]}


async def test_every_epoch_of_a_log_is_verified(kafka: KafkaBroker, tmp_path: Path) -> None:
    made = forked()
    found = await verified(kafka, tmp_path, made)
    assert found == (0, {f"{BASE}/{made.source}/0": [], made.later: []})


async def test_topic_of_an_epoch_that_was_deleted_is_not_intact(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    made = forked()
    rows = made.logs.pop(f"{made.audit}.e1")
    status, logs = await verified(kafka, tmp_path, made)
    assert (status, logs) == (3, {f"{BASE}/{made.source}/0": []})
    note = tmp_path / "anchor.note"
    await asyncio.to_thread(note.write_text, audit_checkpoint(rows[-1]).note)
    made = made._replace(logs={})
    status, logs = await verified(kafka, tmp_path, made, "--anchor", str(note))
    assert (status, logs[made.later]) == (24, ["shorter_than_anchor"])


async def test_epoch_behind_one_that_was_deleted_is_found(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    made = forked(opened=False)
    made.logs.pop(f"{made.audit}.e1")
    third = f"{BASE}/{made.source}/0/e3"
    made.logs[f"{made.audit}.e3"] = sealed_at_once(made.source, EVENTS[:1], origin=third)
    _, logs = await verified(kafka, tmp_path, made)
    assert logs[third] == ["sequence"], "no order of the operator opened it"


async def test_orders_in_a_log_that_nobody_trusted_signed_are_not_intact(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    made = forked(operations_key=Key("thief"))
    status, logs = await verified(kafka, tmp_path, made)
    operations = f"{BASE}/{made.prefix}attestream.operations/0"
    assert (status, logs[operations]) == (23, ["unknown_key"])
