"""Decision indexes of whole logs, made here to be saved, rehearsed or rotated.

What a worker does at its start, without its output: nothing is published, and no log is written.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.rules import rules_of
from projections.decision_index.saving import (
    TOLD,
    fold_of,
    parameters_of,
    parts_of,
    smoke_search,
    told_in,
)
from projections.decision_index.scoring import Rules
from projections.ports import Position, SealedBatch
from projections.runner import SealedWalk
from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.schema_answers.projection import LogAnswers
from projections.snapshots.containment import LogToFit
from projections.snapshots.keeper import SnapshotKeeper
from projections.snapshots.local import LocalSnapshots
from projections.snapshots.manifest import SavedAt
from projections.snapshots.opening import open_place, snapshot_world, why_no_snapshots
from projections.snapshots.parts import LoadedParts, StateParts
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.rekeying import rekey
from projections.snapshots.restoring import SnapshotReader, restore_into
from projections.snapshots.store import SnapshotStore
from projections.snapshots.world import OpenedPlace, SnapshotSubject
from schemas.codec import SchemaLookup
from schemas.operations import IndexKeyRotated
from streams.app import deployment_history, open_engine
from streams.audit.trail import Trail
from streams.audit.trust import TrustHistory
from streams.clock import SystemClock
from streams.engine import Engine
from streams.epochs import logs_there
from streams.errors import SettingsError
from streams.history import pages
from streams.keys.wrapping import WrappingKeys
from streams.operation_events import publish_operation
from streams.settings import Settings
from streams.topology import LogPlace

__all__ = ["PROJECTION", "Rehearsed", "Rotated", "rehearse", "rotate", "save_logs"]

PROJECTION = "decision-index"
START = Position(0, None, None)


class Rehearsed(NamedTuple):
    """What became of a snapshot that was restored here.

    `size` are the leaves it has, `leaves` those of the log; `same` whether a rebuild gave the
    same state, None where none was asked for; `problem` is empty where it was restored.
    """

    origin: str
    snapshot: str
    size: int
    leaves: int
    rows: int
    seconds: float
    same: bool | None
    problem: str

    def __str__(self) -> str:
        if self.problem:
            return f"{self.origin}  {self.snapshot}  refused: {self.problem}"
        compared = {None: "", True: "; a rebuild from leaf 0 gives the same"}.get(self.same, "")
        return (
            f"{self.origin}  {self.snapshot}  restored {self.size:,} leaves in "
            f"{self.seconds:.2f} s, carried on to {self.leaves:,}; {self.rows:,} rows{compared}"
        )


class Rotated(NamedTuple):
    """A rotation: `added` data keys are wrapped by `key` now, `before` were already."""

    key: str
    added: int
    before: int
    previous: list[str]
    searched: list[str]
    refused: list[str]

    def __str__(self) -> str:
        lines = [
            f"{self.key} wraps {self.added} data keys more, {self.before} it did before",
            *(f"restored with it alone, and searched in: {one}" for one in self.searched),
            *(f"refused: {one}" for one in self.refused),
        ]
        return "\n".join(lines)


class _FoldedIndex:
    """`Saveable` over a fold that publishes nothing."""

    def __init__(self, rules: Rules, schemas: SchemaLookup) -> None:
        self._rules = rules
        self._schemas = schemas
        self.fold = self._empty()
        self._told = -1

    def apply(self, batch: SealedBatch) -> None:
        """Score and learn one batch."""
        for record in batch.records:
            told = self.fold.apply(record)
            self._told = told[-1].leaf if told else self._told

    def export(self) -> StateParts:
        """As `Saveable` says."""
        parts = parts_of(self.fold)
        return parts._replace(changing={**parts.changing, TOLD: b"%d" % self._told})

    async def load(self, parts: LoadedParts) -> None:
        """As `Saveable` says."""
        told = told_in(parts)
        self.fold = fold_of(parts, self._rules, _rows, self._schemas)
        self._told = told

    def prove(self) -> str:
        """As `Saveable` says."""
        return smoke_search(self.fold)

    def forget(self) -> None:
        """As `Saveable` says."""
        self.fold, self._told = self._empty(), -1

    def _empty(self) -> DecisionFold:
        return DecisionFold(self._rules, _rows, self._schemas)


class _Rehearsal:
    """One deployment's decision logs, read here."""

    def __init__(self, settings: Settings, engine: Engine, history: TrustHistory) -> None:
        self._rules = rules_of(settings)
        self.engine = engine
        self._history = history
        self._keys = history.keys
        world = AnswersWorld(engine=engine, keys=history.keys, clock=SystemClock())
        self._answers = SchemaAnswers(world)

    async def logs(self) -> list[LogPlace]:
        """The decision logs of all epochs."""
        decisions = self.engine.topology.decisions
        return [log async for log in logs_there(self.engine) if log.source == decisions]

    def begun(self, log: LogPlace) -> tuple[_FoldedIndex, LogAnswers, SnapshotSubject]:
        """An empty index of a log, and how it is restored."""
        schemas = LogAnswers(self._answers)
        subject = SnapshotSubject(
            origin=log.origin,
            projection=PROJECTION,
            parameters=parameters_of(self._rules),
            log=LogToFit(
                lambda: self.engine.reader(log.audit, log.partition),
                self._keys,
                lambda: self._ended(log),
            ),
            beside={"schemas": schemas},
        )
        return _FoldedIndex(self._rules, schemas), schemas, subject

    def _ended(self, log: LogPlace) -> int | None:
        fork = self._history.fork(log.origin)
        return None if fork is None else fork.size

    async def follow(
        self, log: LogPlace, position: Position, index: _FoldedIndex, schemas: LogAnswers
    ) -> SavedAt | None:
        """Carry an index on to the log's end; where that is. Raises BreakError."""
        place = None
        async for batch in self._batches(log, position):
            await schemas.prepare(batch)
            index.apply(batch)
            place = SavedAt(log.origin, batch.size, batch.root, batch.checkpoint)
        return place

    async def _batches(self, log: LogPlace, position: Position) -> AsyncIterator[SealedBatch]:
        reader = self.engine.reader(log.audit, log.partition)
        trail = Trail(log.origin, self._keys, position.opening)
        walk, ended = SealedWalk(log.origin, trail, position), self._ended(log)
        try:
            start, end, _ = await reader.bounds()
            async for page in pages(reader, position.offset or start, end):
                for batch in walk.feed(page):
                    if ended is not None and batch.size > ended:
                        return
                    yield batch
                await asyncio.sleep(0)
        finally:
            await reader.close()


async def save_logs(settings: Settings) -> list[dict[str, Any]]:
    """Take a snapshot of every decision log, from its newest snapshot on. As JSON values.

    Raises:
        AttestreamError: why there is none.
    """
    from projections.api.snapshots import told  # noqa: PLC0415  # the form a worker answers in

    world = snapshot_world(settings, SystemClock(), LocalSnapshots())
    if world is None:
        raise SettingsError([why_no_snapshots(settings)])
    made = []
    async with _rehearsal(settings) as rehearsal:
        for log in await rehearsal.logs():
            index, schemas, subject = rehearsal.begun(log)
            keeper = SnapshotKeeper(world, subject, index)
            try:
                position = await keeper.resume()
                place = await rehearsal.follow(log, position, index, schemas)
                if place is not None and place.size:
                    keeper.stands(place)
                    made.append(told(await keeper.create()))
            finally:
                await keeper.close()
    return made


async def rehearse(settings: Settings, wanted: str | None, *, compare: bool) -> list[Rehearsed]:
    """Restore the newest snapshot of every decision log, or `wanted`, and carry it on.

    Raises:
        SettingsError: there is no such snapshot.
        AttestreamError: a log, the store or a key cannot be read.
    """
    done = []
    async with _rehearsal(settings) as rehearsal, open_place(settings) as place:
        for log in await rehearsal.logs():
            there = await _store(place, log.origin).snapshots()
            chosen = [one for one in there if one == wanted] if wanted else there[:1]
            done += [
                await _rehearsed(rehearsal, place, (log, snapshot), compare=compare)
                for snapshot in chosen
            ]
    if not done:
        raise SettingsError([f"no such snapshot: {wanted}" if wanted else "there is no snapshot"])
    return done


async def rotate(settings: Settings) -> Rotated:
    """Wrap every data key by the first key, then restore and search with that key alone.

    It is published where every search succeeded.

    Raises:
        AttestreamError: a log, the store or a key cannot be read.
    """
    clock = SystemClock()
    async with _rehearsal(settings) as rehearsal, open_place(settings) as place:
        alone = OpenedPlace(place.objects, WrappingKeys([place.keys.first]))
        rotated = Rotated(place.keys.first.key_id, 0, 0, [], [], [])
        previous: set[str] = set()
        for log in await rehearsal.logs():
            store = _store(place, log.origin)
            done = await rekey(store, place.keys, clock)
            previous |= set(done.previous)
            rotated = rotated._replace(
                added=rotated.added + done.added,
                before=rotated.before + done.before,
                refused=[*rotated.refused, *done.refused],
            )
            for snapshot in (await store.snapshots())[:1]:
                found = await _rehearsed(rehearsal, alone, (log, snapshot), compare=False)
                told = f"{snapshot}: {found.problem}" if found.problem else snapshot
                (rotated.refused if found.problem else rotated.searched).append(told)
        rotated = rotated._replace(previous=sorted(previous))
        if rotated.added and not rotated.refused:
            event = IndexKeyRotated(
                rotated_at=clock.now_ms() * 1000,
                key_id=rotated.key,
                previous_key_ids=tuple(rotated.previous),
                snapshots=rotated.added,
            )
            await publish_operation(rehearsal.engine, event, clock)
    return rotated


async def _rehearsed(
    rehearsal: _Rehearsal, place: OpenedPlace, what: tuple[LogPlace, str], *, compare: bool
) -> Rehearsed:
    log, snapshot = what
    clock = SystemClock()
    reader = SnapshotReader(store=_store(place, log.origin), keys=place.keys)
    index, schemas, subject = rehearsal.begun(log)
    nothing = Rehearsed(log.origin, snapshot, 0, 0, 0, 0.0, None, "")
    began = clock.monotonic()
    try:
        fitting = await reader.fitting(snapshot, subject)
        restored = await restore_into(index, reader, fitting, subject)
    except SnapshotRefusedError as error:
        return nothing._replace(problem=str(error))
    seconds = clock.monotonic() - began
    size = restored.position.index
    reached = await rehearsal.follow(log, restored.position, index, schemas)
    found = nothing._replace(
        size=size,
        leaves=reached.size if reached else size,
        rows=index.fold.rows,
        seconds=seconds,
    )
    if not compare:
        return found
    rebuilt, answers, _ = rehearsal.begun(log)
    await rehearsal.follow(log, START, rebuilt, answers)
    same = rebuilt.fold.content_digest() == index.fold.content_digest()
    problem = "" if same else "a rebuild from leaf 0 gives another state"
    return found._replace(same=same, problem=problem)


@asynccontextmanager
async def _rehearsal(settings: Settings) -> AsyncIterator[_Rehearsal]:
    async with open_engine(settings) as engine:
        yield _Rehearsal(settings, engine, await deployment_history(settings, engine))


def _store(place: OpenedPlace, origin: str) -> SnapshotStore:
    return SnapshotStore(objects=place.objects, origin=origin, projection=PROJECTION)


def _rows() -> DecisionRows:
    return DecisionRows(FoldedGraph)
