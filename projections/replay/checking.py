"""A staging place checked: every copy in it against its source, the decision index included."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from projections.replay.opening import Replay
from projections.replay.parity import CopyVerdict, check_copy
from streams.audit.checkpoint import LogName, parse_log_name
from streams.clock import SystemClock
from streams.engine import Engine
from streams.errors import SourceUnreadableError
from streams.ports import PartitionReader
from streams.settings import Settings

__all__ = ["Checked", "Rebuilt", "check_log"]


class Rebuilt(NamedTuple):
    """The decision index over a copy: its digest, rows and alerts, the same as over the log."""

    digest: str
    rows: int
    alerts: int


class Checked(NamedTuple):
    """One copy. `rebuilt` is None where no index was built; `why` says why not."""

    verdict: CopyVerdict
    rebuilt: Rebuilt | None
    why: str

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it is in the source."""
        return self.verdict.problems


async def check_log(
    replay: Replay, origin: str, settings: Settings, *, with_index: bool = True
) -> Checked:
    """Check the copy of one log.

    Raises:
        BreakError: it is no good log.
        SourceUnreadableError: it is not there.
        TransientError, SettingsError.
    """
    place, name = replay.place, parse_log_name(origin)
    assert place is not None, "a place is checked"
    audit = replay.sources.audit(name)
    if await place.partitions(audit) <= name.partition:
        raise SourceUnreadableError(f"{place.topic(audit)}/{name.partition}: no copy is there")
    async with replay.sources.log(origin) as source:
        reader = place.reader(audit, name.partition)
        try:
            verdict = await check_copy(reader, origin, replay.sources.keys, source.root_at)
        finally:
            await reader.close()
    why = _why_not(replay, name, verdict) if with_index else "not asked for"
    if why or replay.engine is None:
        return Checked(verdict, None, why)
    return await _with_index(replay, replay.engine, settings, verdict)


def _why_not(replay: Replay, name: LogName, verdict: CopyVerdict) -> str:
    if replay.engine is None:
        return "the deployment is not reachable"
    if name.topic != replay.engine.topology.decisions:
        return "no decisions"
    if verdict.first:
        return "the copy does not begin with the first leaf"
    return "the copy differs" if verdict.problems else ""


async def _with_index(
    replay: Replay, engine: Engine, settings: Settings, verdict: CopyVerdict
) -> Checked:
    from projections.decision_index.rules import rules_of  # noqa: PLC0415  # optional libraries
    from projections.replay.rebuilt import (  # noqa: PLC0415  # optional libraries
        IndexRun,
        differences,
        outcome_of,
        published_alerts,
    )
    from projections.schema_answers.answers import AnswersWorld, SchemaAnswers  # noqa: PLC0415

    origin, size, place = verdict.origin, verdict.size, replay.place
    assert place is not None
    name, keys = parse_log_name(origin), replay.sources.keys
    # What is recorded counts; nobody is asked, and nothing is recorded.
    answers = SchemaAnswers(AnswersWorld(engine=engine, keys=keys, clock=SystemClock()))
    run = IndexRun(rules=rules_of(settings), keys=keys, answers=answers)
    audit = replay.sources.audit(name)
    async with _closing(place.reader(audit, name.partition)) as reader:
        copy = await outcome_of(reader, origin, run, size)
    async with _closing(engine.reader(audit, name.partition)) as reader:
        log = await outcome_of(reader, origin, run, size)
    async with _closing(engine.reader(engine.topology.alerts, name.partition)) as reader:
        told = await published_alerts(reader, origin, run, size)
    problems = (*verdict.problems, *differences(copy, log, told))
    rebuilt = Rebuilt(copy.digest.hex(), copy.rows, len(copy.alerts))
    return Checked(verdict._replace(problems=problems), rebuilt, "")


@asynccontextmanager
async def _closing(reader: PartitionReader) -> AsyncIterator[PartitionReader]:
    try:
        yield reader
    finally:
        await reader.close()
