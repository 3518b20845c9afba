"""Snapshots of the decision index: `python -m bench snapshots`.

An index of 100,000 different decisions is saved into a directory while it goes on scoring, and
restored from it: manifest, checkpoint in the log, chunks, state, the first search. Incremental:
some more decisions later. Everything in this process and on this disk; the log is in memory.
"""

import asyncio
import statistics
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from projections.decision_index.embedding import Features
from projections.decision_index.projection import DecisionIndex, DecisionIndexWorld
from projections.decision_index.saving import parameters_of
from projections.decision_index.scoring import Rules
from projections.ports import SealedBatch
from schemas.records import Record
from streams.audit.checkpoint import CheckpointText, make_note
from streams.audit.merkle import Frontier
from streams.audit.note import ED25519
from streams.audit.sealing import checkpoint_record, plan_batch
from streams.clock import SystemClock
from streams.objects import DirectoryObjectStore
from streams.ports import Bounds, Fetched, TopicFacts
from tests.support.decision_log import decision
from tests.support.output_partition import OutputPartition
from tests.support.sealed_log import KEY, ORIGIN, PUBLIC_KEY, START_MS, TOPIC, batches_of
from tests.support.snapshot_states import SnapshotPlace

ROWS, MORE = 100_000, 4_000
BATCH = 1000
RULES = Rules(threshold=0.9)
ANYBODY = Features("", "", (), "ward", "", "", "", "ALLOW")


class Log:
    """Rows of an audit partition, and the reader of them."""

    topic, partition = f"audit.{TOPIC}", 0

    def __init__(self) -> None:
        self.rows: list[Record] = []
        self._offsets: list[int] = []
        self._frontier = Frontier()
        self.seal([])

    def seal(self, values: list[bytes]) -> None:
        first, offset = self._frontier.size, self._offsets[-1] + 2 if self._offsets else 0
        source = [
            Record(first + n, START_MS + first + n, None, value) for n, value in enumerate(values)
        ]
        plan = plan_batch(self._frontier, TOPIC, 0, source)
        self._frontier = plan.frontier
        text = CheckpointText(ORIGIN, plan.frontier.size, plan.frontier.root())
        note = make_note(text, ED25519, PUBLIC_KEY, KEY.sign(text.render().encode()))
        written = [*plan.records, checkpoint_record(note, plan.frontier, START_MS + first)]
        for place, new in enumerate(written):
            self.rows.append(Record(offset + place, new.timestamp, None, new.value))
            self._offsets.append(offset + place)

    async def bounds(self) -> Bounds:
        end = self._offsets[-1] + 1
        return Bounds(0, end, end)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        del max_wait_ms
        at = bisect_left(self._offsets, offset)
        page = self.rows[at : at + max_records]
        return Fetched(page, page[-1].offset + 1 if page else offset)

    async def facts(self) -> TopicFacts:
        return TopicFacts("cluster", "topic", "delete", 1)

    async def close(self) -> None:
        pass


class Figures(NamedTuple):
    """Seconds, of one index; `behind` of decisions scored meanwhile, a second."""

    taken: float
    copied: float
    alone: float
    behind: float
    stored: int
    incremental: float
    reused: int
    restored: float
    rebuilt: float


def report(*, quick: bool) -> list[str]:
    rows = 20_000 if quick else ROWS
    rounds = [asyncio.run(measured(rows)) for _ in range(1 if quick else 3)]
    middle = Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))
    return [
        f"{rows:,} different decisions, median of {len(rounds)}:",
        "",
        "| | |",
        "|---|---|",
        f"| snapshot beside the stream | {middle.taken:.2f} s, {middle.stored / 1e6:.1f} MB |",
        f"| of it the stream stands still | {middle.copied * 1000:.0f} ms |",
        f"| decisions/s scored alone, and meanwhile | {middle.alone:,.0f}, {middle.behind:,.0f} |",
        (
            f"| the next one, {MORE:,} decisions later | {middle.incremental:.2f} s, "
            f"{middle.reused:.0f} chunks named again |"
        ),
        f"| restored and searched | {middle.restored:.2f} s |",
        f"| rebuilt from leaf 0 instead | {middle.rebuilt:.1f} s |",
    ]


async def measured(rows: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        log = Log()
        for first in range(0, rows, BATCH):
            log.seal(list(values(first, first + BATCH)))
        place = SnapshotPlace(objects=DirectoryObjectStore(Path(folder)))
        output = OutputPartition()
        index = index_of(output, place, log)
        began = time.perf_counter()
        await index.resume()
        for batch in batches(log):
            await index.apply(batch)
        rebuilt = time.perf_counter() - began
        alone, _ = await scored(index, log, rows, None)
        copied = copy_seconds(index)
        saving = asyncio.create_task(taken(index))
        behind, seconds = await scored(index, log, rows + MORE, saving)
        _, stored, _ = await saving
        place.clock.ms += 3_600_000
        began = time.perf_counter()
        manifest_chunks, _, reused = await taken(index)
        incremental = time.perf_counter() - began
        assert manifest_chunks
        await index.close()
        again = index_of(output, place, log)
        began = time.perf_counter()
        position = await again.resume()
        assert again.search(ANYBODY, 1)
        restored = time.perf_counter() - began
        assert position.index >= rows
        await again.close()
    return Figures(seconds, copied, alone, behind, stored, incremental, reused, restored, rebuilt)


def values(first: int, end: int) -> Iterator[bytes]:
    for number in range(first, end):
        asked = (f"person-{number % 997}", f"role-{number % 13}", f"kind-{number % 31}", "do")
        yield decision(number, asked, resource=f"object-{number}")


def batches(log: Log, first: int = 0) -> Iterator[SealedBatch]:
    for batch in batches_of(log):  # type: ignore[arg-type]  # its rows are all that is read
        if batch.first >= first:
            yield batch


async def scored(
    index: DecisionIndex, log: Log, rows: int, until: "asyncio.Task[object] | None"
) -> tuple[float, float]:
    """New decisions a second while a snapshot is taken, or of some; and how long that took."""
    first, count = rows, 0
    for at in range(first, first + MORE, 100):
        log.seal(list(values(at, at + 100)))
    prepared = list(batches(log, first))
    began = time.perf_counter()
    for batch in prepared:
        await index.apply(batch)
        count += len(batch.records)
        if until is not None and until.done():
            break
    spent = time.perf_counter() - began
    if until is not None:
        await asyncio.wait({until})
        return count / spent, float(until.result()[0])  # type: ignore[index]
    return count / spent, spent


async def taken(index: DecisionIndex) -> tuple[float, int, int]:
    """Seconds, stored bytes, and chunks named again."""
    assert index._snapshots is not None
    began = time.perf_counter()
    manifest = await index._snapshots.create()
    reused = sum(chunk.writer != manifest.snapshot for chunk in manifest.chunks)
    return time.perf_counter() - began, manifest.size_bytes, reused


def copy_seconds(index: DecisionIndex) -> float:
    began = time.perf_counter()
    parts = index.export()
    for part in parts.growing:
        part.part(0, part.size)
    return time.perf_counter() - began


def index_of(output: OutputPartition, place: SnapshotPlace, log: Log) -> DecisionIndex:
    place = replace(place, projection="decision-index", parameters=parameters_of(RULES))
    return DecisionIndex(
        DecisionIndexWorld(
            make_writer=output.writer,
            make_reader=output.reader,
            rules=RULES,
            clock=SystemClock(),
            make_snapshots=place.keepers(lambda: log),
        ),
        ORIGIN,
    )
