"""What came of a storm, counted by a second opinion: librdkafka and hashing of its own.

Every signed root is looked at, also those in aborted transactions: whatever a sealer ever signed
under this origin must be a root of the one history.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import confluent_kafka
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.independent import (
    CHECKPOINT,
    RECORD,
    Tree,
    leaf_of,
    read_all,
    seals,
    signed_root,
)

__all__ = ["Judged", "judge", "judged", "sealed_size"]


class Judged(NamedTuple):
    """One log. `signed` counts signed roots, aborted ones included; the rest must be zero."""

    source: int
    leaves: int
    checkpoints: int
    sealed: int
    signed: int
    lost: int
    doubled: int
    out_of_order: int
    altered: int
    forks: int

    @property
    def faults(self) -> int:
        return self.lost + self.doubled + self.out_of_order + self.altered + self.forks


def judge(bootstrap: str, names: tuple[str, str], partition: int, public_key: bytes) -> Judged:
    """Read a source partition and its log, and count.

    `names` are the source topic and the audit topic.
    """
    # Sealing may go on meanwhile: what was signed is over leaves that are read after it, and
    # what is sealed was in the source before.
    everything = read_all(bootstrap, names[1], partition, isolation="read_uncommitted")
    log = read_all(bootstrap, names[1], partition)
    events = read_all(bootstrap, names[0], partition)
    return judged(events, log, everything, public_key)


def judged(
    events: Sequence[confluent_kafka.Message],
    log: Sequence[confluent_kafka.Message],
    everything: Sequence[confluent_kafka.Message],
    public_key: bytes,
) -> Judged:
    """Count what is wrong with a log, `everything` being its aborted records as well."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    found = [leaf_of(m.value() or b"") for m in log if _is(m, RECORD)]
    offsets = [record["source"]["offset"] for _, record in found]
    at = {event.offset(): event for event in events}
    history = [signed_root(m.value() or b"", key)[0] for m in log if _is(m, CHECKPOINT)]
    signed = [signed_root(m.value() or b"", key) for m in everything if _is(m, CHECKPOINT)]
    return Judged(
        source=len(events),
        leaves=len(found),
        checkpoints=len(history),
        sealed=history[-1] if history else 0,
        signed=len(signed),
        lost=len(at.keys() - set(offsets)),
        doubled=len(offsets) - len(set(offsets)),
        out_of_order=_out_of_order(log, found, history),
        altered=sum(not _seals(record, at) for _, record in found),
        forks=_forks([leaf for leaf, _ in found], signed),
    )


def _seals(record: Any, at: dict[int | None, confluent_kafka.Message]) -> bool:
    event = at.get(record["source"]["offset"])
    return event is not None and seals(record, event)


def _out_of_order(
    log: Sequence[confluent_kafka.Message], found: Sequence[tuple[bytes, Any]], sizes: list[int]
) -> int:
    """Indexes not dense, source offsets or checkpoints not rising, checkpoints too early."""
    wrong: int = not log or not _is(log[0], CHECKPOINT)
    wrong += sum(record["index"] != due for due, (_, record) in enumerate(found))
    offsets = [record["source"]["offset"] for _, record in found]
    wrong += sum(after <= before for before, after in pairwise(offsets))
    wrong += sum(after <= before for before, after in pairwise(sizes))
    leaves, checkpoints = 0, iter(sizes)
    for message in log:
        if _is(message, RECORD):
            leaves += 1
        elif next(checkpoints) > leaves:
            wrong += 1
    return wrong


def _forks(leaves: list[bytes], signed: list[tuple[int, bytes]]) -> int:
    """Signed roots that are none of the one history, whether or not they were committed."""
    tree, forks = Tree(), 0
    for size, root in sorted(set(signed)):
        tree.grow(leaves, min(size, len(leaves)))
        forks += tree.size != size or tree.root() != root
    return forks


def sealed_size(bootstrap: str, topic: str, partition: int) -> int:
    """The size of the last checkpoint of an audit partition, -1 where it has none yet."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "second-opinion",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    place = confluent_kafka.TopicPartition(topic, partition)
    try:
        low, high = consumer.get_watermark_offsets(place, timeout=10)
        back = 64
        while True:
            place.offset = max(low, high - back)
            consumer.assign([place])
            size = _last_size(consumer)
            if size >= 0 or place.offset == low:
                break
            back *= 16
        return size
    finally:
        consumer.close()


def _last_size(consumer: confluent_kafka.Consumer) -> int:
    size = -1
    while True:
        for message in consumer.consume(5000, 0.1):
            error = message.error()
            if error is not None:
                assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
                return size
            if _is(message, CHECKPOINT):
                note = (message.value() or b"").partition(b"\n")[2]
                size = int(note.partition(b"\n")[0])


def _is(message: confluent_kafka.Message, kind: bytes) -> bool:
    return (message.value() or b"")[2:10] == kind
