"""The decision index of one log: its state in memory, its alerts published exactly once.

A start restores the newest snapshot that fits log, rules and output, or rebuilds the state from
leaf 0; alerts of leaves the output already speaks of are worked out again and not published again.
Scoring and learning are done on the event loop, in chunks of a few milliseconds: Python holds its
lock through nearly all of it, so a thread would not run beside the loop but make it wait 5 ms for
the lock, at each turn. So only the loop ever touches the state, and a search between two chunks
sees whole leaves. Adding rows to a graph needs no Python: a thread does it between two chunks,
while the loop is free for others and the next chunk waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.embedding import Features, embed_known
from projections.decision_index.fold import (
    Assessment,
    DecisionFold,
    Finding,
    MakeRows,
    Neighbour,
    Summary,
    Tallies,
)
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.saving import (
    TOLD,
    fold_of,
    parts_of,
    smoke_search,
    told_in,
)
from projections.decision_index.scoring import Rules
from projections.decision_index.shown import Shown
from projections.derived import (
    SINGLE_OBJECTS,
    DerivedPartition,
    DerivedWriter,
    Framing,
    MakeReader,
    MakeWriter,
    Output,
)
from projections.ports import Position, SealedBatch
from projections.snapshots.keeper import SnapshotKeeper
from projections.snapshots.manifest import SavedAt
from projections.snapshots.parts import LoadedParts, StateParts
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.world import Saveable
from schemas.codec import BUILT_IN, SchemaLookup, decode_alert, encode_alert
from schemas.errors import RejectedInput
from schemas.records import Record
from streams.ports import Clock
from streams.tasks import unhurried
from streams.telemetry import metrics

__all__ = ["DecisionIndex", "DecisionIndexWorld"]

CHUNK_EVALUATIONS = 32  # between two yields to the event loop: 3 ms
IDLE_MERGES = 16  # while nothing is appended, as after a restore
MERGE_S = 10.0
MERGE_ROWS = 64  # into a graph between two chunks, so that it catches up: 8 ms beside the loop


def _rows() -> DecisionRows:
    return DecisionRows(FoldedGraph)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionIndexWorld:
    """What the decision index of one log needs.

    Attributes:
        make_writer: a writer, not started, of the alert partition.
        make_reader: a reader of the same partition.
        rules: when a decision is alerted.
        clock: for metrics only; no verdict depends on it.
        schemas: schemas of producers.
        framing: of the alerts.
        replayed: the log is a copy that is replayed: its alerts say so, and page nobody.
        make_rows: the rows of one tenant; no verdict depends on how they are searched.
        make_snapshots: who keeps the snapshots of an index; None where there are none.
    """

    make_writer: MakeWriter
    make_reader: MakeReader
    rules: Rules
    clock: Clock
    schemas: SchemaLookup = BUILT_IN
    framing: Framing = SINGLE_OBJECTS
    replayed: bool = False
    make_rows: MakeRows = _rows
    make_snapshots: Callable[[Saveable], SnapshotKeeper] | None = None


class DecisionIndex:
    """Scores, learns and alerts on the decisions of one log."""

    def __init__(self, world: DecisionIndexWorld, origin: str) -> None:
        self._world = world
        self._fold = self._empty()
        self._stamp = Stamp.of(world.rules, replayed=world.replayed)
        output = DerivedPartition(world.make_writer, world.make_reader, world.framing)
        self._output = DerivedWriter(output, origin, alert_leaf)
        self._origin = origin
        self._size = 0
        self._told = -1
        self._shown = Shown(origin)
        self._snapshots = world.make_snapshots(self) if world.make_snapshots else None

    @property
    def size(self) -> int:
        """Leaves applied."""
        return self._size

    @property
    def tallies(self) -> Tallies:
        """What happened since the last start."""
        return self._fold.tallies

    async def resume(self) -> Position:
        """Fence other writers of the alerts, read how far they go, and restore what was learned.

        Raises:
            TransientError, FencedError, OutcomeUnknownError, SettingsError: open anew.
        """
        self.forget()
        await self._output.start()
        position = await self._snapshots.resume() if self._snapshots else Position(0, None, None)
        self._size = position.index
        self._shown.begin(self._fold)
        return position

    async def apply(self, batch: SealedBatch) -> None:
        """Score and learn one batch, and publish its alerts.

        Raises:
            FencedError, OutcomeUnknownError: open anew; nothing is published twice.
        """
        if self._snapshots and batch.records:
            self._snapshots.breaks_up()
        told = await self._fold_batch(batch)
        new = [item for item in told if item.leaf > self._output.published]
        if new:
            await self._publish(new, batch)
        self._size = batch.size
        self._told = told[-1].leaf if told else self._told
        self._shown.update(self._fold)
        if self._snapshots and batch.size:
            # Its alerts are committed now: whoever goes on from here owes none of them.
            self._snapshots.stands(SavedAt(self._origin, batch.size, batch.root, batch.checkpoint))

    async def idle(self) -> None:
        """Check that no alert speaks of a leaf the log does not have.

        Raises:
            TransientError: one does; what the log lost may come again.
        """
        self._output.check_within(self._size)
        for _ in range(IDLE_MERGES):
            await self._pause()

    async def close(self) -> None:
        """Idempotent, never raises."""
        if self._snapshots:
            await self._snapshots.close()
        self._shown.clear()
        await self._output.close()

    def search(self, query: Features, k: int) -> list[Neighbour]:
        """The `k` decisions of the query's tenant nearest to it, by the fields it names."""
        return self._fold.nearest(query.tenant, embed_known(query), k)

    def explain(self, features: Features) -> Assessment:
        """What would be said about a decision now; nothing is learned by asking."""
        return self._fold.assess(features)

    def content_digest(self) -> bytes:
        """SHA-256 of what was learned, as `DecisionFold.content_digest`."""
        return self._fold.content_digest()

    def export(self) -> StateParts:
        """As `Saveable` says."""
        parts = parts_of(self._fold)
        return parts._replace(changing={**parts.changing, TOLD: b"%d" % self._told})

    async def load(self, parts: LoadedParts) -> None:
        """As `Saveable` says.

        Raises:
            SnapshotRefusedError: no state, or one that published alerts which are gone.
        """
        told = told_in(parts)
        if told > self._output.published:
            raise SnapshotRefusedError(
                f"it published an alert of leaf {told}, and the alerts there are end at leaf "
                f"{self._output.published}: they are published again"
            )
        world = self._world
        self._fold = await asyncio.to_thread(
            fold_of, parts, world.rules, world.make_rows, world.schemas
        )
        self._told = told

    def prove(self) -> str:
        """As `Saveable` says."""
        return smoke_search(self._fold)

    def forget(self) -> None:
        """As `Saveable` says."""
        self._fold = self._empty()
        self._size, self._told = 0, -1

    def _empty(self) -> DecisionFold:
        return DecisionFold(self._world.rules, self._world.make_rows, self._world.schemas)

    async def _fold_batch(self, batch: SealedBatch) -> list[Finding | Summary]:
        fold, now = self._fold, self._world.clock.monotonic
        told: list[Finding | Summary] = []
        done = 0
        for number, record in enumerate(batch.records):
            began = now()
            scored = fold.score(record)
            learning = now()
            told += fold.learn(scored)
            ended = now()
            evaluations = len(scored.features)
            if evaluations:
                metrics.VECTOR_SEARCH.observe((learning - began) / evaluations)
                metrics.VECTOR_INSERT.observe((ended - learning) / evaluations)
                metrics.ANOMALY_CHECKS.inc(evaluations)
                metrics.EMBEDDING_PROCESSED.inc(evaluations)
            done += max(evaluations, 1)
            if done >= CHUNK_EVALUATIONS:
                done = 0
                self._shown.waits(len(batch.records) - number - 1)
                await self._pause()
        return told

    async def _pause(self) -> None:
        """Let others run; what a graph lacks is added meanwhile, where Python is not needed."""
        if self._fold.unmerged:
            # Whoever cancels this must not find the thread at work still.
            await unhurried(asyncio.to_thread(self._fold.merge, MERGE_ROWS), MERGE_S)
        else:
            await asyncio.sleep(0)

    async def _publish(self, new: Sequence[Finding | Summary], batch: SealedBatch) -> None:
        alerts = alerts_of(new, batch, self._stamp)
        first = batch.first
        outputs = [
            Output(
                item.leaf,
                batch.records[item.leaf - first].source.timestamp,
                encode_alert(alert, self._world.framing.schema_id),
            )
            for item, alert in zip(new, alerts, strict=True)
        ]
        await self._output.publish(outputs)
        for alert in alerts:
            metrics.ANOMALY_ALERTS.labels(alert.severity.value).inc()


def alert_leaf(record: Record, schemas: SchemaLookup) -> tuple[str, int] | None:
    """Origin and leaf of a published alert; None where the record is none."""
    try:
        alert = decode_alert(record, schemas)
    except RejectedInput:
        return None
    if not alert.evidence:
        return None
    return alert.evidence[0].origin, alert.evidence[0].index
