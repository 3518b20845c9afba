"""Processes of the Kafka deployment: members of one group, each sealing while it owns.

`Deployment` is what one deployment has on the servers; a `Worker` is one process of it, from its
start to its end. What runs in it is the real `PartitionSealer` under the real `PartitionJobs`, and
a keeper of anchors as the archive is one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streams.anchors import AnchorStore
from streams.audit.operations import EpochForked
from streams.audit.trust import TrustHistory
from streams.errors import NotOwnerError, ObjectExistsError, OutcomeUnknownError, TransientError
from streams.jobs import PartitionJobs
from streams.ports import PartitionWriter
from streams.recovery import LogWorld
from streams.sealer import PartitionSealer, SealerLimits
from streams.telemetry.health import Health, Part
from streams.trust import Trust
from tests.fault.simulator.adapters import (
    SimulatedClock,
    SimulatedObjects,
    SimulatedReader,
    SimulatedSource,
    SimulatedWriter,
    Tenure,
)
from tests.fault.simulator.archiving import Archiver
from tests.fault.simulator.group import HEARTBEAT_S, Group
from tests.fault.simulator.laws import LogLaws
from tests.fault.simulator.loop import Process
from tests.fault.simulator.network import Network, NoAnswerError
from tests.fault.simulator.partition_log import PartitionLog
from tests.fault.simulator.transactions import Coordinator

__all__ = ["Deployment", "Worker"]

ANCHORS_S = (0.5, 4.0)
HALVES_END_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One source partition, its audit partition, the group of its sealers, and their laws.

    `later`: the same with the log of each epoch that an operator's fork opened, in order.
    """

    origin: str
    source: PartitionLog
    audit: PartitionLog
    coordinator: Coordinator
    group: Group
    laws: LogLaws
    network: Network
    objects: SimulatedObjects
    history: TrustHistory
    trust: Callable[[LogLaws, TrustHistory], Trust]
    limits: SealerLimits
    fork: EpochForked | None = None
    later: "list[Deployment]" = field(default_factory=list)

    @property
    def open(self) -> "Deployment":
        """With the log of the epoch that is open."""
        return self.later[-1] if self.later else self


class Worker:
    """One process: its member of the group, its sealer, its keeper of anchors."""

    def __init__(self, deployment: Deployment, name: str, clock: SimulatedClock) -> None:
        self.process = Process(name)
        self.deployment = deployment
        self._at = deployment  # with the epoch that it seals
        self.stopped: str | None = None
        self._clock = clock
        self._health = _PagingHealth(self)
        self._writers: list[SimulatedWriter] = []
        self._tenure: Tenure | None = None
        self._began_at: float | None = None

    async def run(self) -> None:
        """Until the process ends."""
        d, name = self.deployment, [(self.deployment.source.topic, 0)]
        jobs = PartitionJobs(self._seal, "sealer", self._health)
        async with asyncio.TaskGroup() as group:
            group.create_task(jobs.failure())
            group.create_task(self._keep_anchors())
            while True:
                if not await self._is_member():
                    await jobs.revoked(name)
                    if self._tenure is not None:
                        self._tenure.ended = True
                    self._tenure = None
                    if await self._joined():
                        await jobs.assigned(name)
                await asyncio.sleep(HEARTBEAT_S * d.network.chance.uniform(0.5, 1.0))

    def page(self, reason: str, why: str) -> None:
        """The sealer of this process is stopped by a verdict."""
        self.stopped = f"{reason}: {why}"
        d = self._at
        d.network.say(f"{self.process.name} stops: {self.stopped}")
        epoch = self._writers[-1].epoch if self._writers else None
        confirmed = self._writers[-1].is_confirmed if self._writers else False
        d.laws.stopped(reason, why, by_writer=confirmed or epoch == d.coordinator.epoch)

    def began(self) -> None:
        """The sealer of this process recovers."""
        self.stopped = None
        self._began_at = self._clock.monotonic()

    def resumed(self) -> None:
        """It is sealing; told more than once."""
        began_at, self._began_at = self._began_at, None
        d = self._at
        if began_at is not None and self._writers[-1].epoch == d.coordinator.epoch:
            d.laws.resumed(began_at)

    def let_go(self) -> None:
        """The sealer of this process ended."""
        self.stopped = None

    async def _is_member(self) -> bool:
        tenure, group = self._tenure, self.deployment.group
        generation = -1 if tenure is None else tenure.generation
        try:
            return await self.deployment.network.read(
                "heartbeat", lambda: group.heartbeat(self.process.name, generation)
            )
        except NoAnswerError:
            return True

    async def _joined(self) -> bool:
        """Join again; whether the partition is ours now."""
        network, group = self.deployment.network, self.deployment.group
        try:
            given = await network.read("join", lambda: group.join(self.process.name))
        except NoAnswerError:
            return False
        self._tenure = Tenure(self.process.name, given.generation)
        network.say(f"{self.process.name} joined {given}")
        return given.owns

    def _make_writer(self) -> PartitionWriter:
        tenure = self._tenure
        if tenure and tenure.must_ask:
            self._at.laws.blame("fenced, and started again without asking the group")

        def fenced() -> None:
            if tenure is not None:
                tenure.must_ask = tenure.can_ask

        d = self._at
        self._writers.append(SimulatedWriter(d.coordinator, d.network, fenced))
        return self._writers[-1]

    async def _seal(self, _topic: str, _partition: int) -> None:
        """As `streams.app.SealingService`: one epoch after the other."""
        while True:
            root = self.deployment
            self._at = [root, *root.later][len(root.history.forks(root.origin))]
            if not await self._seal_epoch(self._at):
                return

    async def _seal_epoch(self, d: Deployment) -> bool:
        assert self._tenure is not None
        source = SimulatedSource(d.source, d.network, d.group, self._tenure)
        world = LogWorld(
            origin=d.origin,
            source=source,
            audit=SimulatedReader(d.audit, d.network),
            make_writer=self._make_writer,
            anchors=AnchorStore(d.objects, retain_days=1),
            trust=d.trust(d.laws, d.history),
            fork=d.fork,
        )
        sealer = PartitionSealer(world, d.limits, self._health, self._clock)
        try:
            await sealer.run()
        except NotOwnerError as error:
            raise AssertionError("the sealer did not let go") from error
        finally:
            tasks = d.network.loop.tasks_of(self.process)
            halves = [task for task in tasks if "PartitionSealer._" in repr(task.get_coro())]
            d.network.loop.later(HALVES_END_S, self._check_ended, halves)
        return sealer.is_forked

    def _check_ended(self, halves: list[asyncio.Task[Any]]) -> None:
        if self.process.is_running and any(not half.done() for half in halves):
            self.deployment.laws.blame("a half of the sealer outlived it")

    async def _keep_anchors(self) -> None:
        d = self.deployment
        archiver = Archiver(AnchorStore(d.objects, retain_days=1), d.origin)
        while True:
            await asyncio.sleep(d.network.chance.uniform(*ANCHORS_S))
            if d is not self.deployment.open:
                d = self.deployment.open
                archiver = Archiver(AnchorStore(d.objects, retain_days=1), d.origin)
            try:
                await archiver.archive(await d.network.read("tail", d.audit.readable))
            except (NoAnswerError, ObjectExistsError, OutcomeUnknownError, TransientError):
                continue


class _PagingHealth(Health):
    """The health of one process, which tells its pages to the laws."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def starting(self, part: Part, *, lag_limit: int | None = None) -> None:
        super().starting(part, lag_limit=lag_limit)
        self._worker.began()

    def running(self, part: Part, *, lag: int | None = None, done: int | None = None) -> None:
        super().running(part, lag=lag, done=done)
        self._worker.resumed()

    def stopped(self, part: Part, kind: str, why: str) -> None:
        super().stopped(part, kind, why)
        self._worker.page(kind, why)

    def released(self, part: Part) -> None:
        super().released(part)
        self._worker.let_go()
