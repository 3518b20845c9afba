"""Projections built in this process from a log as it stands, for one answer: nothing is written.

For the embedded engine's commands where no pipeline is running. The log is verified on the way
like everywhere else.
"""

import asyncio

from projections.ports import Position, SealedBatch
from projections.runner import SealedWalk
from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.schema_answers.projection import LogAnswers
from projections.search import LocalSearch
from streams.app import deployment_keys
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.clock import SystemClock
from streams.engine import Engine
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

    search, topology = LocalSearch(), engine.topology
    keys = await deployment_keys(settings, engine)
    answers = _answers(engine, keys)
    for partition in range(await engine.partitions(topology.decisions)):
        schemas = LogAnswers(answers)
        fold = DecisionFold(rules_of(settings), lambda: DecisionRows(FoldedGraph), schemas)
        for batch in await _batches(engine, topology.decisions, partition, keys):
            await schemas.prepare(batch)
            for record in batch.records:
                fold.apply(record)
        search.add(
            "decisions",
            topology.origin(topology.decisions, partition),
            DecisionSearch(FoldedLog(fold)),
        )
    return search


async def search_of_memories(engine: Engine, settings: Settings) -> LocalSearch:
    """The memory indexes of every log, for searching. Raises BreakError."""
    from projections.memory_index.projection import MemoryIndex  # noqa: PLC0415  # optional
    from projections.memory_index.search import MemorySearch  # noqa: PLC0415

    search, topology = LocalSearch(), engine.topology
    keys = await deployment_keys(settings, engine)
    answers = _answers(engine, keys)
    for partition in range(await engine.partitions(topology.memory)):
        schemas = LogAnswers(answers)
        index = MemoryIndex(schemas)
        for batch in await _batches(engine, topology.memory, partition, keys):
            await schemas.prepare(batch)
            await index.apply(batch)
        search.add("memory", topology.origin(topology.memory, partition), MemorySearch(index))
    return search


def _answers(engine: Engine, keys: TrustedKeys) -> SchemaAnswers:
    """The recorded ones: what is shown here asks nobody, and records nothing."""
    return SchemaAnswers(AnswersWorld(engine=engine, keys=keys, clock=SystemClock()))


async def _batches(
    engine: Engine, source: str, partition: int, keys: TrustedKeys
) -> list[SealedBatch]:
    topology = engine.topology
    reader = engine.reader(topology.audit(source), partition)
    origin = topology.origin(source, partition)
    walk = SealedWalk(origin, Trail(origin, keys), START)
    batches: list[SealedBatch] = []
    try:
        start, end, _ = await reader.bounds()
        async for page in pages(reader, start, end):
            batches += walk.feed(page)
            await asyncio.sleep(0)
    finally:
        await reader.close()
    return batches
