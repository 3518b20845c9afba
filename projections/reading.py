"""Projections built in this process from a log as it stands, for one answer: nothing is written.

For the embedded engine's commands where no pipeline is running. The log is verified on the way
like everywhere else.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from projections.ports import Position, SealedBatch
from projections.runner import SealedWalk
from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.schema_answers.projection import LogAnswers
from projections.search import LocalSearch
from streams.app import deployment_history
from streams.audit.note import TrustedKeys
from streams.audit.operations import EpochForked
from streams.audit.trail import Trail
from streams.audit.trust import TrustHistory
from streams.clock import SystemClock
from streams.engine import Engine
from streams.epochs import Epoch, epochs_of
from streams.errors import BreakError, TransientError
from streams.history import pages
from streams.settings import Settings

__all__ = ["search_of_decisions", "search_of_memories"]

START = Position(0, None, None)


async def search_of_decisions(engine: Engine, settings: Settings) -> LocalSearch:
    """The decision indexes of every log, for searching. Raises BreakError."""
    from projections.decision_index.fold import DecisionFold  # noqa: PLC0415  # optional
    from projections.decision_index.graph import FoldedGraph  # noqa: PLC0415
    from projections.decision_index.index import DecisionRows  # noqa: PLC0415
    from projections.decision_index.rules import rules_of  # noqa: PLC0415
    from projections.decision_index.search import DecisionSearch, FoldedLog  # noqa: PLC0415

    search, history = LocalSearch(), await deployment_history(settings, engine)
    answers = _answers(engine, history)
    async for epochs in _logs(engine, engine.topology.decisions, history):
        for epoch in epochs:
            schemas = LogAnswers(answers)
            fold = DecisionFold(rules_of(settings), lambda: DecisionRows(FoldedGraph), schemas)
            async for batch in _batches(engine, epoch, history.keys):
                await schemas.prepare(batch)
                for record in batch.records:
                    fold.apply(record)
            search.add("decisions", epoch.log.origin, DecisionSearch(FoldedLog(fold)))
    return search


async def search_of_memories(engine: Engine, settings: Settings) -> LocalSearch:
    """The memory indexes of every log, for searching. Raises BreakError."""
    from projections.memory_index.projection import MemoryIndex  # noqa: PLC0415  # optional
    from projections.memory_index.search import MemorySearch  # noqa: PLC0415

    search, history = LocalSearch(), await deployment_history(settings, engine)
    answers = _answers(engine, history)
    async for epochs in _logs(engine, engine.topology.memory, history):
        index: MemoryIndex | None = None
        for epoch in epochs:
            schemas = LogAnswers(answers)
            # What is remembered goes on over the seam; only the open epoch's index answers.
            index = MemoryIndex(schemas, origin=epoch.log.origin, before=index)
            await index.resume()
            async for batch in _batches(engine, epoch, history.keys):
                await schemas.prepare(batch)
                await index.apply(batch)
        if index is not None:
            search.add("memory", epochs[-1].log.origin, MemorySearch(index))
    return search


def _answers(engine: Engine, history: TrustHistory) -> SchemaAnswers:
    """The recorded ones: what is shown here asks nobody, and records nothing."""
    return SchemaAnswers(
        AnswersWorld(
            engine=engine, keys=history.keys, clock=SystemClock(), history=lambda: history
        )
    )


async def _logs(
    engine: Engine, source: str, history: TrustHistory
) -> AsyncIterator[Sequence[Epoch]]:
    """The epochs of each partition of which anything was accepted, in order."""
    topology = engine.topology
    for partition in range(await engine.partitions(source)):
        epochs = epochs_of(history, topology, source, partition)
        yield [one for one in epochs if one.ended is None or one.ended.size]


async def _batches(engine: Engine, epoch: Epoch, keys: TrustedKeys) -> AsyncIterator[SealedBatch]:
    """What is sealed of one epoch, to where the operator ended it.

    Raises:
        BreakError: the log fails, or is not the one that was accepted.
        TransientError: no answer, or what was accepted is not there.
    """
    log, ended, size = epoch.log, epoch.ended, 0
    reader = engine.reader(log.audit, log.partition)
    walk = SealedWalk(log.origin, Trail(log.origin, keys), START)
    try:
        start, end, _ = await reader.bounds()
        async for page in pages(reader, start, end):
            for batch in walk.feed(page):
                if ended is not None and batch.size >= ended.size:
                    _check_end(batch, ended)
                    yield batch
                    return
                yield batch
                size = batch.size
            await asyncio.sleep(0)
    finally:
        await reader.close()
    if ended is not None:
        raise TransientError(
            f"{ended.size} records of {log.origin} were accepted when it was forked, and {size} "
            "are sealed in its audit topic: restore it from the archive"
        )


def _check_end(batch: SealedBatch, ended: EpochForked) -> None:
    if (batch.size, batch.root) != (ended.size, ended.root):
        detail = f"the operator accepted root {ended.root.hex()} at size {ended.size}"
        raise BreakError("fork", ended.size, f"{detail}, and the log has another")
