"""The world of one history: servers, processes and weather, and the laws that watch them.

Everything is drawn from the seed and the name of the mix, so a history can be run again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.records import Record
from streams.anchors import Claim
from streams.audit.note import TrustedKeys, Vkey
from streams.audit.operations import EpochForked
from streams.audit.trust import TrustHistory
from streams.ports import Posted
from streams.sealer import SealerLimits
from streams.segments import claim_name
from tests.fault.simulator.adapters import (
    SimulatedClock,
    SimulatedObjects,
    SimulatedSigner,
    SimulatedTrust,
    immediate,
)
from tests.fault.simulator.archiving import archived_size
from tests.fault.simulator.group import Group
from tests.fault.simulator.laws import LogLaws, Signatures, Violation
from tests.fault.simulator.loop import Process, SimulatedLoop
from tests.fault.simulator.mixes import CELLS, Mix
from tests.fault.simulator.network import Network, Planned
from tests.fault.simulator.partition_log import PartitionLog
from tests.fault.simulator.transactions import Coordinator
from tests.fault.simulator.workers import Deployment, Worker
from tests.support.memory_objects import MemoryObjectStore

__all__ = ["WORKERS", "World"]

BASE_NAME, TOPIC = "simulated.example", "authz.decisions"
ORIGIN = f"{BASE_NAME}/{TOPIC}/0"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
WORKERS = 2
LIMITS = SealerLimits(records_max=3, tail_records_max=7)
# Writes that come once in a history; of the others the table tries several.
ONCE = {"claim", "genesis", "genesis commit", "confirm", "verdict"}


@dataclass(slots=True)
class World:
    """All servers, all processes and the weather of one history."""

    seed: int
    mix: Mix
    name: str
    trace: Callable[[str], None] | None = None
    loop: SimulatedLoop = field(init=False)
    chance: Random = field(init=False)
    network: Network = field(init=False)
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    deployments: list[Deployment] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    stops: int = 0
    restarts: bool = True

    def __post_init__(self) -> None:
        self.loop = SimulatedLoop(Random(f"{self.name}/{self.seed}/order"))
        self.chance = Random(f"{self.name}/{self.seed}/world")
        weather = Random(f"{self.name}/{self.seed}/weather")
        self.network = Network(self.loop, weather, self.mix.weather, self.aftermath, self.say)
        if self.mix.table:
            cell = CELLS[self.seed % len(CELLS)]
            number = 1 if cell.write in ONCE else 1 + self.seed // len(CELLS) % 3
            self.network.planned = [Planned(cell, number)]

    def say(self, text: str) -> None:
        if self.trace is not None:
            self.trace(f"{self.loop.time():9.4f} {text}")

    def blame(self, text: str) -> None:
        self.say(f"VIOLATION {text}")
        self.loop.fail(Violation(text))

    def build(self) -> None:
        """The servers' side, and nobody who asks them yet."""
        signatures = Signatures(self.blame)
        key = SimulatedSigner(KEY, self.network, lambda _message: None)
        vkeys = [Vkey(BASE_NAME, key.algorithm, key.public_key)]
        for number in range(2 if self.mix.twin else 1):
            source = PartitionLog(TOPIC, topic_id=f"source-{number}")
            audit = PartitionLog(f"audit.{TOPIC}", topic_id=f"audit-{number}")
            laws = self._laws(ORIGIN, source, audit, signatures)
            deployment = Deployment(
                origin=ORIGIN,
                source=source,
                audit=audit,
                coordinator=Coordinator(audit, self.loop, self.network.chance),
                group=Group(TOPIC, self.loop, self.network.chance),
                laws=laws,
                network=self.network,
                objects=SimulatedObjects(self.store, self.network),
                history=TrustHistory(vkeys),
                trust=lambda laws, history: SimulatedTrust(
                    self._signer(laws), history, self.network
                ),
                limits=LIMITS,
            )
            self._obey(deployment, deployment)
            self.deployments.append(deployment)

    def fork(self, d: Deployment, fork: EpochForked) -> None:
        """The operator's order is sealed: the open epoch of a deployment has ended."""
        root = next(one for one in self.deployments if one.open is d)
        d.laws.damages.add("forked")
        topic, number = f"audit.{TOPIC}.e{fork.epoch}", self.deployments.index(root)
        audit = PartitionLog(topic, topic_id=f"audit-{number}.e{fork.epoch}")
        laws = self._laws(fork.opens, d.source, audit, Signatures(self.blame))
        laws.source_lost(0, d.source.readable(d.source.start))
        later = replace(
            root,
            origin=fork.opens,
            audit=audit,
            coordinator=Coordinator(audit, self.loop, self.network.chance),
            laws=laws,
            fork=fork,
            later=[],
        )
        root.later.append(later)
        self._obey(root, later)
        root.history.apply(fork)

    def _laws(
        self, origin: str, source: PartitionLog, audit: PartitionLog, signatures: Signatures
    ) -> LogLaws:
        key = SimulatedSigner(KEY, self.network, lambda _message: None)
        return LogLaws(
            origin=origin,
            source=source,
            keys=TrustedKeys([Vkey(BASE_NAME, key.algorithm, key.public_key)]),
            signatures=signatures,
            tail_max=LIMITS.tail_records_max,
            blame=self.blame,
            has_twin=self.mix.twin,
            archived=lambda: archived_size(self.store, origin),
            claimed=lambda: self._claimed(origin, audit.topic_id),
        )

    def start(self, deployment: Deployment, slot: int) -> None:
        """Start a process where there is none that lives."""
        place = f"{self.deployments.index(deployment)}.{slot}"
        before = self.workers.get(place)
        if before is not None and not before.process.is_dead:
            return
        name = f"{place}#{len(self.processes)}"
        worker = Worker(deployment, name, SimulatedClock(self.loop))
        self.workers[place] = worker
        self.processes.append(worker.process)
        self.say(f"{name} starts")
        self.loop.spawn(worker.process, worker.run())

    @property
    def logs(self) -> list[Deployment]:
        """Every deployment with its open epoch."""
        return [d.open for d in self.deployments]

    def start_all(self) -> None:
        for deployment in self.deployments:
            for slot in range(WORKERS):
                self.start(deployment, slot)

    def crash_all(self) -> None:
        for worker in list(self.workers.values()):
            self.crash(worker)

    def crash(self, worker: Worker) -> None:
        """End a process where it stands; another one takes its place after a while."""
        self.say(f"{worker.process.name} is killed")
        worker.process.is_dead = True
        if self.restarts:
            slot = int(worker.process.name.split(".")[1].split("#")[0])
            delay = self.chance.uniform(0.1, 8.0)
            self.loop.later(delay, self.start, worker.deployment, slot)

    def pause(self, worker: Worker) -> None:
        """Stop a process; its group and its predecessor's locks know nothing of it."""
        if not worker.process.is_running:
            return
        self.say(f"{worker.process.name} is paused")
        worker.process.is_paused = True
        self.loop.later(self.chance.uniform(0.5, 40.0), self.wake, worker)

    def wake(self, worker: Worker) -> None:
        if worker.process.is_paused:
            self.say(f"{worker.process.name} wakes up")
            self.loop.wake(worker.process)

    def aftermath(self, kind: str, process: Process) -> None:
        """What follows a fault of a write."""
        for d in self.logs:
            d.laws.check(d.audit.readable())
        worker = next((w for w in self.workers.values() if w.process is process), None)
        if worker is None or kind == "retry":
            return
        if kind == "restart":
            self.crash(worker)
        elif kind == "zombie":
            self.pause(worker)
        if kind != "restart":
            self.loop.later(self.chance.uniform(0, 2.0), worker.deployment.group.move)

    def is_stopped(self, deployment: Deployment) -> bool:
        return any(
            w.stopped is not None
            for w in self.workers.values()
            if w.deployment is deployment and w.process.is_running
        )

    def reason(self, deployment: Deployment) -> str | None:
        """Why a deployment is stopped, None where it is not."""
        stopped = [
            w.stopped.partition(":")[0]
            for w in self.workers.values()
            if w.deployment is deployment and w.process.is_running and w.stopped
        ]
        return stopped[0] if stopped else None

    def is_settled(self) -> bool:
        return all(
            (d.open.laws.is_sealed and d.open.coordinator.is_idle) or self.is_stopped(d)
            for d in self.deployments
        )

    def _claimed(self, origin: str, audit_topic_id: str) -> int | None:
        stored = immediate(self.store.get(claim_name(origin)))
        claim = None if stored is None else Claim.parse(stored)
        return claim.first_offset if claim and claim.audit_topic_id == audit_topic_id else None

    def _signer(self, laws: LogLaws) -> SimulatedSigner:
        def recorded(message: bytes) -> None:
            text = laws.signatures.signed(message)
            self.say(f"signed: size {text.size}")
            laws.signing(text)

        return SimulatedSigner(KEY, self.network, recorded)

    def _obey(self, root: Deployment, at: Deployment) -> None:
        laws, coordinator = at.laws, at.coordinator

        def decided(rows: list[Record]) -> None:
            laws.decided(rows)
            first, last = (rows[0].offset, rows[-1].offset) if rows else (0, -1)
            sizes = f"{len(laws.leaves)} leaves, {laws.signed_size} of them signed"
            self.say(f"{laws.origin} committed: offsets {first} to {last}, now {sizes}")

        def accepted(new: Posted, old: Posted | None) -> None:
            self.say(f"posted: offset {new.offset}, size {new.size}, epoch {new.epoch}")
            if old is not None and old.epoch > new.epoch and not self.network.is_late:
                self.blame(f"a position of epoch {new.epoch} is posted over one of {old.epoch}")
            before = old if old is not None and old.epoch == new.epoch else None
            of = [root, *root.later][new.epoch].laws
            of.accepted(new, before, is_late=self.network.is_late)

        at.source.on_readable = laws.produced
        coordinator.decided = decided
        coordinator.marker_s = self.network.marker_s
        at.group.accepted = accepted
