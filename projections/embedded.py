"""The embedded pipeline: every service of every role in one process, on one SQLite file."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from projections.api.search import SearchPages
from projections.api.server import serve
from projections.api.snapshots import SNAPSHOT_KINDS, SnapshotPages
from projections.drill.promise import DrillWatch
from projections.roles import projection_specs, schema_answers
from projections.search import LocalSearch
from projections.services import ProjectionService
from projections.snapshots.local import LocalSnapshots
from streams.app import Deployment, SealingService, open_deployment
from streams.clock import SystemClock
from streams.embedded.home import exclusive_home
from streams.engine import PartitionName
from streams.epochs import epochs_of
from streams.errors import TransientError, VerificationError
from streams.settings import Settings
from streams.telemetry.health import Health, PartState
from streams.telemetry.logs import get_log

__all__ = ["IDLE_ONCE_S", "Pipeline", "run_embedded", "until_settled"]

IDLE_ONCE_S = 0.2
POLL_S = 0.1
log = get_log("embedded")


class Pipeline:
    """The sealer and all projections of one embedded deployment."""

    def __init__(
        self,
        deployment: Deployment,
        search: LocalSearch | None = None,
        snapshots: LocalSnapshots | None = None,
    ) -> None:
        self._deployment = deployment
        answers = schema_answers(deployment)
        self._specs = projection_specs(deployment, search or LocalSearch(), answers, snapshots)
        self._sealing: SealingService | None = None

    async def run(self) -> None:
        """Until cancelled; raises what a service raised."""
        projections = [ProjectionService(self._deployment, spec) for spec in self._specs]
        self._sealing = SealingService(self._deployment)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sealing.run())
            group.create_task(DrillWatch(self._deployment).run())
            for projection in projections:
                group.create_task(projection.run())

    async def settled(self) -> bool:
        """Whether nothing is left to do of what was sent so far.

        Everything is sealed, and every projection has finished with it; or a verdict stopped it,
        which no order that was sealed meanwhile answers.
        """
        d = self._deployment
        if any(state.state == "stopped" for state in d.health.parts.values()):
            with suppress(TransientError):
                await d.trust.refresh()
        for source in d.engine.topology.sources:
            for partition in range(await d.engine.partitions(source)):
                if not await self._is_settled(source, partition):
                    return False
        return True

    async def _is_settled(self, source: str, partition: int) -> bool:
        d = self._deployment
        log = epochs_of(d.trust.history, d.engine.topology, source, partition)[-1].log
        if self._sealing is None or self._sealing.at(source, partition) != log:
            return False
        roles = tuple(spec.name for spec in self._specs if source in spec.sources)
        is_sealed = await _done(d, ("sealer",), (source, partition))
        return is_sealed and await _done(d, roles, (log.audit, partition))


async def run_embedded(settings: Settings, *, once: bool) -> None:
    """Run the pipeline in ATTESTREAM_HOME: for ever, or until everything there is worked off.

    Raises:
        SettingsError: the home is in use by another process, or cannot be used.
        VerificationError: `once`, and a partition was stopped by a verdict.
        TransientError: `once`, and the archive does not answer; otherwise it is waited for.
    """
    if once:
        settings = settings.model_copy(update={"segment_idle_s": IDLE_ONCE_S})
    health = Health()
    search, snapshots = LocalSearch(), LocalSnapshots()
    with exclusive_home(settings.home):
        async with open_deployment(settings, health, SystemClock()) as deployment:
            pipeline = Pipeline(deployment, search, snapshots)
            if once:
                await deployment.objects.check_bucket()
                await until_settled(pipeline, health)
                return
            host, port = settings.http_host, settings.http_port
            pages = SearchPages(search, lambda: deployment, settings.own_url)
            taking = SnapshotPages(snapshots, SNAPSHOT_KINDS)
            async with serve(host, port, health, pages, taking) as url:
                log.info("running", origin=deployment.engine.topology.base, url=url)
                await pipeline.run()


async def until_settled(pipeline: Pipeline, health: Health) -> None:
    """Run the pipeline until everything that was sent is sealed and derived.

    Raises:
        VerificationError: a partition was stopped by a verdict.
    """
    running = asyncio.create_task(pipeline.run())
    try:
        agreed = 0
        while agreed < 3:
            # Alerts are sealed too: what one look finds settled may have just fed the next.
            await asyncio.wait({running}, timeout=POLL_S)
            if running.done():
                running.result()
            agreed = agreed + 1 if await pipeline.settled() else 0
        _raise_stopped(health)
    finally:
        running.cancel()
        await asyncio.wait({running})


def _raise_stopped(health: Health) -> None:
    for (role, topic, partition), state in health.parts.items():
        if state.state == "stopped":
            raise VerificationError(f"{role} of {topic}/{partition} stopped: {state.why}")


async def _done(d: Deployment, roles: Sequence[str], name: PartitionName) -> bool:
    reader = d.engine.reader(*name)
    try:
        end = (await reader.bounds()).end
    finally:
        await reader.close()
    states = [d.health.parts.get((role, *name)) for role in roles]
    return all(state is not None and _is_over(state, end) for state in states)


def _is_over(state: PartState, end: int) -> bool:
    return state.state == "stopped" or (state.done is not None and state.done >= end)
