"""Where the microseconds of sealing go: each step by itself, in this process, on one core."""

import os
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.records import Record
from streams.audit.checkpoint import CheckpointText, make_note, open_note
from streams.audit.merkle import Frontier
from streams.audit.note import TrustedKeys, Vkey
from streams.audit.sealing import plan_batch
from streams.kafka.batches import Batches

COUNT, ROUNDS = 500, 40
ORIGIN = "bench.example/authz.decisions/0"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)


def report(*, quick: bool) -> list[str]:
    """Markdown lines: the best of many rounds, a record and a commit of 500."""
    times = ROUNDS // 4 if quick else ROUNDS
    lines = ["| step | µs a record | µs a commit of 500 |", "|---|---|---|"]
    for name, work in steps().items():
        best = min(spent(work) for _ in range(times)) * 1e6
        lines.append(f"| {name} | {best / COUNT:.2f} | {best:.0f} |")
    return lines


def steps() -> dict[str, Callable[[], Any]]:
    """What a sealer does of its own for 500 records of 300 bytes."""
    value = os.urandom(300)
    records = [
        Record(n, 1_700_000_000_000 + n, b"k%d" % (n % 97), value, ()) for n in range(COUNT)
    ]
    fetched = batch([(r.timestamp, r.key, r.value) for r in records])
    plan = plan_batch(Frontier(), "authz.decisions", 0, records)
    rows = [(row.timestamp, None, row.value) for row in plan.records]
    return {
        "decode what was fetched": lambda: Batches(fetched, 0, dense=True).take(COUNT),
        "plan: contents, leaf entries, leaves, audit records, tree": lambda: plan_batch(
            Frontier(), "authz.decisions", 0, records
        ),
        "– of it the three hashes of a record": lambda: hashes(value),
        "build the batch that is sent": lambda: batch(rows),
        "sign a checkpoint, check the signature": lambda: signed(plan.frontier),
    }


def batch(rows: list[tuple[int, bytes | None, bytes | None]]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**22,
    )
    for offset, (timestamp, key, value) in enumerate(rows):
        builder.append(offset, timestamp, key, value, [])
    return bytes(builder.build())


def hashes(value: bytes) -> None:
    entry, node = value[:110], value[:65]
    for _ in range(COUNT):
        sha256(value).digest()
        sha256(entry).digest()
        sha256(node).digest()


def signed(frontier: Frontier) -> None:
    public = KEY.public_key().public_bytes_raw()
    text = CheckpointText(ORIGIN, frontier.size, frontier.root())
    note = make_note(text, 1, public, KEY.sign(text.render().encode()))
    open_note(note, ORIGIN, TrustedKeys([Vkey("bench.example", 1, public)]))


def spent(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
