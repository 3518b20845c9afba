"""One task for each partition this process owns in one role, started and ended by assignment."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from streams.engine import PartitionName
from streams.tasks import cancelled
from streams.telemetry.health import Health

__all__ = ["PartitionJobs"]


class PartitionJobs:
    """Runs `make(topic, partition)` while the partition is ours, for `role`.

    A job that returns has let its partition go and may be assigned again. A job that raises is a
    defect: `failure` raises it, so that the process ends instead of living on half dead.
    """

    def __init__(
        self, make: Callable[[str, int], Coroutine[Any, Any, None]], role: str, health: Health
    ) -> None:
        self._make = make
        self._role = role
        self._health = health
        self._tasks: dict[PartitionName, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None
        health.joining(role)

    async def assigned(self, partitions: Sequence[PartitionName]) -> None:
        """Start a job for each partition that has none."""
        for name in partitions:
            task = self._tasks.get(name)
            if task is None or task.done():
                task = asyncio.create_task(self._make(*name), name=f"{name[0]}/{name[1]}")
                task.add_done_callback(self._ended)
                self._tasks[name] = task
        self._health.joined(self._role)

    async def revoked(self, partitions: Sequence[PartitionName]) -> None:
        """End the jobs of these partitions and wait until they have let go."""
        ending = [self._tasks.pop(name) for name in partitions if name in self._tasks]
        await cancelled(*ending)
        if not self._tasks:
            self._health.joining(self._role)

    async def stop(self) -> None:
        """End every job."""
        await self.revoked(list(self._tasks))

    async def failure(self) -> None:
        """Wait for ever, or raise what a job raised."""
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        for task in self._tasks.values():
            if task.done():
                self._ended(task)
        await self._failed

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        if not self._failed.done():
            self._failed.set_exception(error)
