"""One history: things happen to a world, faults end, and all must be sealed.

Everything is drawn from the seed and the name of the mix, so a history can be run again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from tests.fault.simulator.actions import Actions
from tests.fault.simulator.laws import Violation
from tests.fault.simulator.loop import StuckError
from tests.fault.simulator.mixes import MIXES
from tests.fault.simulator.network import FAIR, Cell
from tests.fault.simulator.world import World

__all__ = ["Outcome", "logs_into", "run_history"]

SETTLE_S = 240.0
IDLES, IDLE_S = 0.3, 20.0
MINUTE_S = 70.0  # long enough for the checks of each minute
TURNS = 12
STOPPING = {"confirm", "verdict"}  # writes that come with a verdict alone
ANY_TIME, IDLE, DOWN = "any time", "idle", "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a history; `violation` is empty where every law held."""

    seed: int
    mix: str
    violation: str
    hit: Counter[Cell]
    steps: int
    leaves: int
    signed: int
    stops: int

    def __str__(self) -> str:
        replay = f"python -m tests.fault.simulator {self.seed} '{self.mix}'"
        return f"{self.violation or 'every law held'}\n    replay: {replay}"


def run_history(seed: int, mix: str, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run the history of a seed and a mix."""
    world = World(seed, MIXES[mix], mix, trace)
    history = _History(world)
    violation = ""
    with logs_into(world.say):
        try:
            world.loop.run_until_complete(history.run())
        except (Violation, StuckError) as found:
            violation = str(found)
        except Exception as error:  # noqa: BLE001 - a defect of the sealer is a violation too
            violation = f"raised {error!r}"
        world.network.is_over = True
        world.loop.bury(world.processes)
    return Outcome(
        seed=seed,
        mix=mix,
        violation=violation,
        hit=world.network.hit,
        steps=world.loop.steps,
        leaves=sum(len(d.laws.leaves) for d in world.logs),
        signed=world.deployments[0].laws.signatures.count,
        stops=history.stops,
    )


class _History:
    """The phases of a history. Damage comes at any time, when all is idle, or when all is down."""

    def __init__(self, world: World) -> None:
        self.stops = 0
        self._world, self._mix = world, world.mix
        self._actions = Actions(world)
        self._when = world.chance.choice((ANY_TIME, IDLE, DOWN)) if self._mix.damages else ""

    async def run(self) -> None:
        world, actions = self._world, self._actions
        world.build()
        world.network.retention = lambda: actions.trim(world.logs[0])
        for d in world.deployments:
            actions.begin(d)
        housekeeping = asyncio.create_task(self._expire_members())
        await self._faults()
        world.say("faults end")
        world.network.weather, world.network.planned = FAIR, []
        world.network.unreachable.clear()
        for worker in list(world.workers.values()):
            world.wake(worker)
        world.start_all()
        await self._settle(MINUTE_S if self._when == ANY_TIME else 0.0)
        if self._when == IDLE:
            actions.damage()
            await self._settle(MINUTE_S)
        await self._start_elsewhere()
        await self._settle(0.0)
        housekeeping.cancel()

    async def _faults(self) -> None:
        world, actions = self._world, self._actions
        actions.begin_to_choose(damages=self._when == ANY_TIME)
        for _ in range(world.chance.randint(*self._mix.count)):
            actions.any_one()
            await asyncio.sleep(actions.pause_s())
        if world.network.planned:
            await self._until_struck()

    async def _until_struck(self) -> None:
        """Give the planned fault an occasion, and then some time."""
        world, actions = self._world, self._actions
        (d,), cell = world.deployments, world.network.planned[0].cell
        if cell.write in STOPPING:
            actions.lose_records(d)
        for turn in range(TURNS):
            if world.network.hit:
                break
            if cell.write == "start":
                actions.rebalance(d)
            elif cell.write not in STOPPING:
                actions.records(d, 1 + turn % 4)
            await asyncio.sleep(2.0)
        await asyncio.sleep(world.chance.uniform(0, 5.0))

    async def _expire_members(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for d in self._world.deployments:
                d.group.expire()

    async def _settle(self, lasts_s: float) -> None:
        """Wait until all is sealed or stopped, then ask whether that was right."""
        world = self._world
        began = world.loop.time()
        await asyncio.sleep(0.5)  # markers and answers on their way
        while world.loop.time() < began + lasts_s or not self._is_settled():
            if world.loop.time() > began + SETTLE_S:
                break
            await asyncio.sleep(0.5)
        world.say("the end is judged")
        for root in world.deployments:
            is_stopped, d = world.is_stopped(root), root.open
            self.stops += is_stopped
            d.laws.check_end(d.audit.readable(), is_stopped=is_stopped)

    def _is_settled(self) -> bool:
        if self._mix.has_operator and any(map(self._actions.operate, self._world.deployments)):
            return False
        return self._world.is_settled()

    async def _start_elsewhere(self) -> None:
        """Perhaps retention passes all that was sealed long ago; then start on other machines."""
        world, actions = self._world, self._actions
        if world.chance.random() < IDLES:
            for d in world.logs:
                actions.leave_markers(d)
            await asyncio.sleep(IDLE_S)
            for d in world.logs:
                actions.trim_all_sealed(d)
        world.say("all start elsewhere")
        world.restarts = False
        world.crash_all()
        if self._when == DOWN:
            actions.damage()
        world.start_all()
        for d in world.logs:
            actions.records(d)


@contextmanager
def logs_into(say: Callable[[str], None]) -> Iterator[None]:
    before = structlog.get_config()

    def take(_logger: Any, _method: str, event: Any) -> Any:
        say(f"log: {dict(event)}")
        raise structlog.DropEvent

    structlog.configure(processors=[take])
    try:
        yield
    finally:
        structlog.configure(**before)
