"""The logs of a deployment read once to find which threshold keeps to an alert budget.

Nothing is written. The logs are verified on the way like everywhere else.
"""

import asyncio
from typing import Any

from projections.decision_index.calibration import LogRisks
from projections.decision_index.rows import rows_of
from projections.decision_index.rules import rules_of
from projections.ports import Position
from projections.runner import SealedWalk
from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.schema_answers.projection import LogAnswers
from streams.app import deployment_keys
from streams.audit.trail import Trail
from streams.clock import SystemClock
from streams.engine import Engine
from streams.epochs import logs_there
from streams.history import pages
from streams.settings import Settings
from streams.topology import LogPlace

__all__ = ["calibrated"]

START = Position(0, None, None)


async def calibrated(engine: Engine, settings: Settings, budget: int) -> list[dict[str, Any]]:
    """What thresholds would have done, for every tenant of every log. Raises BreakError."""
    found = []
    async for place in logs_there(engine):
        if place.source == engine.topology.decisions:
            risks = await _risks(engine, settings, place)
            found += [
                {"origin": place.origin, **one._asdict()} for one in risks.calibrated(budget)
            ]
    return found


async def _risks(engine: Engine, settings: Settings, place: LogPlace) -> LogRisks:
    keys = await deployment_keys(settings, engine)
    answers = SchemaAnswers(AnswersWorld(engine=engine, keys=keys, clock=SystemClock()))
    schemas = LogAnswers(answers)
    risks = LogRisks(rules_of(settings), rows_of(settings), schemas)
    walk = SealedWalk(place.origin, Trail(place.origin, keys), START)
    reader = engine.reader(place.audit, place.partition)
    try:
        start, end, _ = await reader.bounds()
        async for page in pages(reader, start, end):
            for batch in walk.feed(page):
                await schemas.prepare(batch)
                for record in batch.records:
                    risks.apply(record)
                await asyncio.sleep(0)
    finally:
        await reader.close()
    return risks
