"""The plan of one batch: source records in, audit records out (formats §2).

Pure, and never decodes anything: any bytes become a leaf. What is planned depends on the source
partition and the leaves before alone, so planning it again gives the same bytes.
"""

from binascii import b2a_base64
from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from schemas.audit_values import (
    AUDIT_RECORD_HEAD,
    PLAIN_BYTES_MAX,
    encode_audit_record,
    encode_checkpoint,
    encode_content,
    encode_plain,
)
from schemas.canonical import encode_bytes, encode_long
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.leaf import ENTRY_HEADER, LEAF_PREFIX, leaf_hash
from streams.audit.merkle import Frontier
from streams.ports import NewRecord

__all__ = [
    "CONTENT_MAX",
    "RECORD_OVERHEAD",
    "TAIL_BYTES_MAX",
    "TAIL_RECORDS_MAX",
    "TRANSACTION_BYTES_MAX",
    "TRANSACTION_RECORDS_MAX",
    "Plan",
    "checkpoint_record",
    "fitting",
    "plan_again",
    "plan_batch",
]

CONTENT_MAX = 1 + PLAIN_BYTES_MAX  # with the union branch
TRANSACTION_RECORDS_MAX = 4_096
TRANSACTION_BYTES_MAX = 4 * 1024 * 1024
TAIL_RECORDS_MAX = 65_536
TAIL_BYTES_MAX = 64 * 1024 * 1024
RECORD_OVERHEAD = 600  # bytes an audit record adds to its source record, generously
HEADER_OVERHEAD = 11  # bytes a header's lengths add


class Plan(NamedTuple):
    """Audit records for one transaction.

    Attributes:
        records: what is to be written.
        frontier: the tree after them.
        leaves: their leaf hashes, in order.
        bytes: how many bytes their values have.
    """

    records: list[NewRecord]
    frontier: Frontier
    leaves: list[bytes]
    bytes: int


def plan_batch(frontier: Frontier, topic: str, partition: int, records: Sequence[Record]) -> Plan:
    """Plan the audit records of consecutive source records.

    Args:
        frontier: the tree of all leaves before; it is not changed.
        topic: the source topic.
        partition: the source partition.
        records: at most what one transaction holds (`TRANSACTION_RECORDS_MAX` and, unless it is
            a single record, `TRANSACTION_BYTES_MAX`); the caller cuts.
    """
    # This is the sealer's hot path: per-batch prefixes, local names, tuples made directly.
    source = encode_bytes(topic.encode()) + encode_long(partition)
    coordinates = f"\n{topic} {partition} ".encode()
    entry_head = LEAF_PREFIX + ENTRY_HEADER
    new, digest, join = tuple.__new__, sha256, b"".join
    planned: list[NewRecord] = []
    leaves: list[bytes] = []
    total = 0
    index = frontier.size
    for offset, timestamp, key, sealed, headers in records:
        content = encode_plain(key, sealed, headers)
        if len(content) > CONTENT_MAX:
            content = encode_content(Record(offset, timestamp, key, sealed, headers))
        entry = b"%b%d%b%d %d\n%b" % (
            entry_head,
            index,
            coordinates,
            offset,
            timestamp,
            b2a_base64(digest(content).digest()),
        )
        leaf = digest(entry).digest()
        value = join(
            (
                AUDIT_RECORD_HEAD,
                encode_long(index),
                source,
                encode_long(offset),
                encode_long(timestamp),
                encode_long(len(content)),
                content,
                leaf,
            )
        )
        index += 1
        leaves.append(leaf)
        total += len(value)
        planned.append(new(NewRecord, (0 if timestamp == -1 else timestamp, value, None, ())))
    after = frontier.copy()
    after.extend(leaves)
    return Plan(planned, after, leaves, total)


def plan_again(frontier: Frontier, records: Sequence[AuditRecord]) -> Plan:
    """Plan records that were sealed before, as an archive kept them; the source is not needed.

    Their leaf hashes are computed here, whatever the records carry: who plans them compares the
    root they lead to with one that was signed or posted.

    Raises:
        ValueError: not the records of the indexes that follow `frontier`.
    """
    planned: list[NewRecord] = []
    leaves: list[bytes] = []
    for index, record in enumerate(records, frontier.size):
        if record.index != index:
            raise ValueError(f"expected the record of index {index}, found {record.index}")
        leaf = leaf_hash(index, record.source, record.content)
        value = encode_audit_record(record._replace(leaf=leaf))
        leaves.append(leaf)
        planned.append(NewRecord(max(record.source.timestamp, 0), value))
    after = frontier.copy()
    after.extend(leaves)
    return Plan(planned, after, leaves, sum(len(row.value) for row in planned))


def fitting(records: deque[Record], most: int) -> int:
    """How many records make one transaction: `most`, TRANSACTION_BYTES_MAX, and at least one."""
    total = 0
    for count, record in enumerate(islice(records, most)):
        total += RECORD_OVERHEAD + len(record.value or b"") + len(record.key or b"")
        for name, value in record.headers:
            total += HEADER_OVERHEAD + len(name) + len(value or b"")
        if total > TRANSACTION_BYTES_MAX:
            return max(count, 1)
    return min(most, len(records))


def checkpoint_record(note: str, frontier: Frontier, timestamp: int) -> NewRecord:
    """The record of a checkpoint; `timestamp` is that of leaf size - 1, 0 for genesis."""
    return NewRecord(timestamp, encode_checkpoint(Checkpoint(note, frontier.nodes)))
