"""What one process runs: the sealer and the projections of its roles, on whichever engine.

The same services serve a Kafka worker and the embedded engine; only the ownership of partitions
differs, and that is the engine's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from projections.ports import Projection
from projections.runner import PartitionRunner, RunnerWorld
from streams.app import Deployment
from streams.jobs import PartitionJobs

__all__ = ["ProjectionService", "RoleSpec"]

Make = Callable[[str, int], Projection]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """One projection: its name, the source topics it reads, how its parts are made and left.

    `caught_up` is told of a part that has read what its log held when it was opened.
    """

    name: str
    sources: tuple[str, ...]
    make: Make
    caught_up: Callable[[str, int], None] = lambda _topic, _partition: None
    let_go: Callable[[str, int], None] = lambda _topic, _partition: None


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
        d = self._deployment
        source = d.engine.topology.source_of(topic)
        world = RunnerWorld(
            name=self._spec.name,
            origin=d.engine.topology.origin(source, partition),
            keys=d.keys,
            open_reader=lambda: d.engine.reader(topic, partition),
            make=lambda: self._spec.make(source, partition),
            still_owns=lambda: self._ownership.still_owns(topic, partition),
            lag_limit=d.settings.lag_limit,
            idle_s=d.settings.segment_idle_s,
            caught_up=lambda: self._spec.caught_up(source, partition),
        )
        try:
            await PartitionRunner(world, d.health, d.clock).run()
        finally:
            self._spec.let_go(source, partition)
