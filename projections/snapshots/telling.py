"""What was restored, told in the deployment's operations, beside everything else."""

import asyncio

from projections.snapshots.world import Restored
from schemas.operations import LogRoot, SnapshotRestored
from streams.engine import Engine
from streams.errors import AttestreamError
from streams.operation_events import publish_operation
from streams.ports import Clock
from streams.tasks import heard
from streams.telemetry.logs import get_log

__all__ = ["RestoresTold", "restored_event"]

log = get_log("snapshots")


def restored_event(restored: Restored, now_ms: int) -> SnapshotRestored:
    """The event that a projection goes on from a snapshot."""
    manifest = restored.manifest
    origin, size, root, _ = manifest.saved_at
    return SnapshotRestored(
        restored_at=now_ms * 1000,
        snapshot=manifest.snapshot,
        projection=manifest.projection,
        logs=(LogRoot(origin=origin, size=size, root=root),),
        seconds=restored.seconds,
    )


class RestoresTold:
    """Publishes each restore; nothing waits for it, and what fails is said."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._telling: set[asyncio.Task[None]] = set()

    def __call__(self, restored: Restored) -> None:
        """Begin to tell."""
        task = asyncio.create_task(self._tell(restored))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        task.add_done_callback(heard)

    async def _tell(self, restored: Restored) -> None:
        event = restored_event(restored, self._clock.now_ms())
        try:
            await publish_operation(self._engine, event, self._clock)
        except AttestreamError as error:
            log.warning("a restore is not told", snapshot=event.snapshot, why=str(error))
