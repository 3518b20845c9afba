"""A second opinion: reads source and audit topics with librdkafka, hashes by formats.md alone.

Shares no code with the project but the schema files, which are read as JSON.
"""

import io
import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import confluent_kafka
import fastavro
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

AVRO = Path(__file__).resolve().parents[2] / "schemas" / "avro"
RECORD, CHECKPOINT = bytes.fromhex("31939f51e3268559"), bytes.fromhex("8d3ad55c060df88d")


class Counted(NamedTuple):
    """What a partition holds: source records, leaves, checkpoints, and how many are sealed."""

    source: int
    leaves: int
    checkpoints: int
    sealed: int


def read_all(
    bootstrap: str, topic: str, partition: int, *, isolation: str = "read_committed"
) -> list[confluent_kafka.Message]:
    """Every record of a partition, in order; `read_uncommitted` shows aborted ones as well."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "second-opinion",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "auto.offset.reset": "error",
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0)])
    found: list[confluent_kafka.Message] = []
    try:
        while True:
            # The end of a partition does not end the wait: a long one would be waited out.
            for message in consumer.consume(5000, 0.1):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    return found
                else:
                    raise AssertionError(error)
    finally:
        consumer.close()


def count(bootstrap: str, names: tuple[str, str], partition: int, public_key: bytes) -> Counted:
    """Compare a source partition with its log; raises AssertionError at the first difference.

    `names` are the source topic and the audit topic. Each source record has exactly one leaf, in
    order, byte for byte; each checkpoint's root and signature are right.
    """
    events = read_all(bootstrap, names[0], partition)
    log = read_all(bootstrap, names[1], partition)
    leaves: list[bytes] = []
    sealed = checkpoints = 0
    tree = Tree()
    key = Ed25519PublicKey.from_public_bytes(public_key)
    for message in log:
        value = message.value()
        assert value is not None
        assert value[:2] == b"\xc3\x01"
        if value[2:10] == RECORD:
            leaves.append(_leaf(value, events[len(leaves)], len(leaves)))
        else:
            assert value[2:10] == CHECKPOINT
            size, root = signed_root(value, key)
            assert sealed < size <= len(leaves) or size == checkpoints == 0
            tree.grow(leaves, size)
            assert root == tree.root()
            sealed, checkpoints = size, checkpoints + 1
    assert len(leaves) == len(events), (len(leaves), len(events))
    return Counted(len(events), len(leaves), checkpoints, sealed)


def _leaf(value: bytes, event: confluent_kafka.Message, due: int) -> bytes:
    leaf, record = leaf_of(value)
    source = record["source"]
    assert record["index"] == due
    assert (source["topic"], source["partition"]) == (event.topic(), event.partition())
    assert seals(record, event)
    return leaf


def leaf_of(value: bytes) -> tuple[bytes, Any]:
    """The leaf hash of an AuditRecord, computed and compared with the stored one; the record."""
    record: Any = decoded("audit_record", value)
    source = record["source"]
    digest = b64encode(sha256(record["content"]).digest()).decode()
    entry = (
        f"attestream.leaf/v1\n{record['index']}\n{source['topic']} {source['partition']} "
        f"{source['offset']} {source['timestamp']}\n{digest}\n"
    )
    leaf = sha256(b"\0" + entry.encode()).digest()
    assert record["leaf"] == leaf
    return leaf, record


def seals(record: Any, event: confluent_kafka.Message) -> bool:
    """Whether an AuditRecord is of this event: its offset, its time, its bytes."""
    source = record["source"]
    content: Any = fastavro.schemaless_reader(
        io.BytesIO(record["content"]), _schema("content"), return_record_name=True
    )
    plain = content[1] if isinstance(content, tuple) else content
    if (source["offset"], source["timestamp"]) != (event.offset(), event.timestamp()[1]):
        return False
    if "length" in plain:
        # Too long to be kept: the length and the hash of what would have been.
        whole = _plain_bytes(event)
        return (plain["length"], plain["sha256"]) == (len(whole), sha256(whole).digest())
    return (plain["key"], plain["value"]) == (event.key(), event.value())


def signed_root(value: bytes, key: Ed25519PublicKey) -> tuple[int, bytes]:
    """Size and root of a Checkpoint whose first signature line verifies."""
    checkpoint: Any = decoded("checkpoint", value)
    text, _, signatures = checkpoint["note"].rpartition("\n\n")
    signature = b64decode(signatures.split("\n")[0].split(" ")[2])
    key.verify(signature[4:], (text + "\n").encode())
    _, size, root = text.split("\n")
    return int(size), b64decode(root)


def _plain_bytes(event: confluent_kafka.Message) -> bytes:
    """A Plain without its union branch, of an event without headers."""
    stream = io.BytesIO()
    members = {"key": event.key(), "value": event.value(), "headers": []}
    named = ("attestream.audit.v1.Plain", members)
    fastavro.schemaless_writer(stream, _schema("content"), named)
    return stream.getvalue()[1:]


class Tree:
    """RFC 6962 §2.1 by a stack of (height, hash)."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []

    def grow(self, leaves: list[bytes], size: int) -> None:
        for leaf in leaves[self.size : size]:
            top = (0, leaf)
            while self._stack and self._stack[-1][0] == top[0]:
                height, left = self._stack.pop()
                top = (height + 1, sha256(b"\1" + left + top[1]).digest())
            self._stack.append(top)
        self.size = max(self.size, size)

    def root(self) -> bytes:
        if not self._stack:
            return sha256(b"").digest()
        root = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            root = sha256(b"\1" + left + root).digest()
        return root


def decoded(name: str, value: bytes) -> object:
    """The body of a value in the single-object framing, by the schema of that name."""
    stream = io.BytesIO(value[10:])
    decoded: object = fastavro.schemaless_reader(stream, _schema(name))
    assert not stream.read(), "bytes behind the Avro body"
    return decoded


_SCHEMAS: dict[str, Any] = {}


def _schema(name: str) -> Any:
    if name not in _SCHEMAS:
        text = (AVRO / f"{name}.avsc").read_text(encoding="utf-8")
        _SCHEMAS[name] = fastavro.parse_schema(json.loads(text))
    return _SCHEMAS[name]
