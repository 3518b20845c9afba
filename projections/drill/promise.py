"""When the last good drill was, by the sealed operations: the promise of one a quarter.

A drill counts once it is sealed, unless it says that it ended more than a day from now. Whoever
may write to the operations can tell of one that never was, and is then on record with it; the
digest of its report is in the event, for whoever asks.
"""

import asyncio
from typing import NamedTuple, NoReturn

from projections.ports import Position
from projections.runner import SealedWalk
from schemas.operations import DrillFinished
from streams.app import Deployment
from streams.audit.trail import Trail
from streams.audit.trust import TrustHistory
from streams.engine import Engine
from streams.epochs import newest_epoch
from streams.errors import AttestreamError
from streams.history import pages
from streams.operation_events import event_of
from streams.telemetry.logs import get_log
from streams.telemetry.metrics import DRILL_AGE

__all__ = ["DrillWatch", "LastDrills", "last_drills"]

LOOK_S = 600.0
AHEAD_MS = 86_400_000  # clocks differ by less
START = Position(0, None, None)
log = get_log("drill")


class LastDrills(NamedTuple):
    """The newest drill that is sealed, and the newest of those that passed."""

    newest: DrillFinished | None = None
    passed: DrillFinished | None = None

    def age_s(self, now_ms: int) -> float:
        """Seconds since the last one that passed; infinite where none ever did."""
        if self.passed is None:
            return float("inf")
        return max(now_ms * 1000 - self.passed.finished_at, 0) / 1e6


async def last_drills(engine: Engine, history: TrustHistory, now_ms: int) -> LastDrills:
    """Read every epoch of the sealed operations up to its fork, verified as any log is.

    Raises:
        BreakError: they are no good log.
        TransientError.
    """
    found, topology = LastDrills(), engine.topology
    latest = (now_ms + AHEAD_MS) * 1000
    for epoch in range(await newest_epoch(engine, topology.operations) + 1):
        place = topology.log(topology.operations, 0, epoch)
        walk = SealedWalk(place.origin, Trail(place.origin, history.keys), START)
        fork = history.fork(place.origin)
        reader = engine.reader(place.audit, 0)
        try:
            start, end, _ = await reader.bounds()
            async for page in pages(reader, start, end):
                for batch in walk.feed(page):
                    if fork is not None and batch.size > fork.size:
                        break
                    for record in batch.records:
                        found = _later(found, record.content, latest)
                else:
                    continue
                break
        finally:
            await reader.close()
    return found


class DrillWatch:
    """Shows the age of the last good drill while a worker runs."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def run(self) -> NoReturn:
        """Look now and then, until cancelled."""
        # Until the first look succeeds nobody knows of a drill: 0 would mean one just now.
        DRILL_AGE.set_function(lambda: float("inf"))
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once. What cannot be read leaves what was seen before, growing older."""
        d = self._deployment
        try:
            found = await last_drills(d.engine, d.trust.history, d.clock.now_ms())
        except AttestreamError as error:
            log.warning("drills not read", why=str(error))
            return
        DRILL_AGE.set_function(lambda: found.age_s(d.clock.now_ms()))


def _later(found: LastDrills, content: bytes, latest: int) -> LastDrills:
    event = event_of(content)
    if not isinstance(event, DrillFinished) or event.finished_at > latest:
        return found
    newest = event if found.newest is None else max(found.newest, event, key=_finished)
    passed = found.passed
    if event.passed:
        passed = event if passed is None else max(passed, event, key=_finished)
    return LastDrills(newest, passed)


def _finished(event: DrillFinished) -> int:
    return event.finished_at
