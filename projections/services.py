"""What one process runs: the sealer and the projections of its roles, on whichever engine.

The same services serve a Kafka worker and the embedded engine; only the ownership of partitions
differs, and that is the engine's.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from projections.ports import Projection
from projections.runner import PartitionRunner, RunnerWorld
from streams.app import Deployment
from streams.engine import PartitionName
from streams.epochs import epochs_of
from streams.jobs import PartitionJobs
from streams.ports import SourcePartition
from streams.tasks import beside
from streams.topology import LogPlace

__all__ = ["ProjectionService", "RoleSpec"]

Make = Callable[[LogPlace], Projection]
Beside = Callable[[LogPlace, Callable[[], SourcePartition]], Coroutine[Any, Any, NoReturn]]


ORDERS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """One projection: its name, the source topics it reads, how its parts are made and left.

    A part is made of each log, and so of each epoch of a source partition: the next one when the
    log before has ended and the part has all of it. `let_go` is told of those of all epochs when
    the source partition is left.

    `caught_up` is told of a part that has read what its log held when it was opened. `beside` runs
    while a part does, also while its projection cannot be opened; it is given how to open the
    part's first log as this role owns it. `finishes`: nothing of a part may wait for more when
    its log has ended.
    """

    name: str
    sources: tuple[str, ...]
    make: Make
    caught_up: Callable[[LogPlace], None] = lambda _log: None
    let_go: Callable[[LogPlace], None] = lambda _log: None
    beside: Beside | None = None
    finishes: bool = False


class ProjectionService:
    """Runs one projection over every audit partition this process is assigned."""

    def __init__(self, deployment: Deployment, spec: RoleSpec) -> None:
        self._deployment = deployment
        self._spec = spec
        self._jobs = PartitionJobs(self._follow, spec.name, deployment.health)
        topology = deployment.engine.topology
        self._ownership = deployment.engine.join(
            spec.name,
            [topology.audit(source) for source in spec.sources],
            self._jobs.assigned,
            self._jobs.revoked,
        )

    async def run(self) -> None:
        """Until cancelled; raises what a projection raised unexpectedly."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ownership.run())
                group.create_task(self._jobs.failure())
        finally:
            await self._jobs.stop()

    async def _follow(self, topic: str, partition: int) -> None:
        """One epoch after the other, each to its end, and the open one for ever."""
        d, left = self._deployment, list[LogPlace]()
        topology = d.engine.topology
        source = topology.log_of(topic, partition).source
        try:
            while True:
                epochs = epochs_of(d.trust.history, topology, source, partition)
                if len(epochs) <= len(left):
                    # The order that opened it is void with an epoch of the orders, until that is
                    # sealed again in the next one.
                    await asyncio.sleep(ORDERS_S)
                    continue
                epoch = epochs[len(left)]
                left.append(epoch.log)
                if epoch.ended is not None and epoch.ended.size == 0:
                    continue  # nothing of it was accepted, and perhaps it is gone
                if not await self._follow_epoch(epoch.log, (topic, partition)):
                    return
        finally:
            for log in left:
                self._spec.let_go(log)

    async def _follow_epoch(self, log: LogPlace, owned: PartitionName) -> bool:
        """Whether the log has ended; else it is not ours any more."""
        d, spec = self._deployment, self._spec
        world = RunnerWorld(
            name=spec.name,
            origin=log.origin,
            keys=d.keys,
            open_reader=lambda: d.engine.reader(log.audit, log.partition),
            make=lambda: spec.make(log),
            still_owns=lambda: self._ownership.still_owns(*owned),
            lag_limit=d.settings.lag_limit,
            idle_s=d.settings.segment_idle_s,
            caught_up=lambda: spec.caught_up(log),
            fork=lambda: d.trust.history.fork(log.origin),
            finishes=spec.finishes,
        )
        following = PartitionRunner(world, d.health, d.clock).run()
        if spec.beside is None:
            return await following
        return await beside(following, spec.beside(log, partial(self._ownership.source, *owned)))
