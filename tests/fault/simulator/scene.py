"""One log in fair weather, and a script that says what happens: histories by name.

    @on_stage
    async def test_something(scene: Scene) -> None:
        await scene.start()
        ...

The laws watch as in a seeded history; a violation fails the script.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps

from schemas.audit_values import decode_audit_value
from schemas.records import AuditRecord, Checkpoint
from streams.audit.operations import EpochForked, GapAccepted
from streams.ports import NewRecord
from tests.fault.simulator.actions import PRODUCER, START_MS
from tests.fault.simulator.adapters import SimulatedSigner
from tests.fault.simulator.history import logs_into
from tests.fault.simulator.laws import LogLaws
from tests.fault.simulator.mixes import STILL, Mix
from tests.fault.simulator.network import Weather
from tests.fault.simulator.workers import Deployment, Worker
from tests.fault.simulator.world import World

__all__ = ["STEADY", "Scene", "on_stage"]

STEADY = Weather(slow=0.0, marker_s=0.001)
ENOUGH_S = 200.0


class _WaitingSigner(SimulatedSigner):
    """Signs while `may_sign` is set; the empty tree always."""

    def __init__(self, may_sign: asyncio.Event, signer: SimulatedSigner) -> None:
        super().__init__(signer._key, signer._network, signer._recorded)
        self._may_sign = may_sign

    async def sign(self, message: bytes) -> bytes:
        if b"\n0\n" not in message:
            await self._may_sign.wait()
        return await super().sign(message)


class _StagedWorld(World):
    may_sign: asyncio.Event

    def _signer(self, laws: LogLaws) -> SimulatedSigner:
        return _WaitingSigner(self.may_sign, super()._signer(laws))


class Scene:
    """A world without chance, and what a script may do to it."""

    def __init__(self) -> None:
        # Always with room for a second deployment of the same origin, that no script need start.
        self.world = _StagedWorld(0, Mix(actions=STILL, weather=STEADY, twin=True), "scene")
        self.world.restarts = False
        self.world.may_sign = asyncio.Event()
        self.world.may_sign.set()
        self.world.build()
        self._serial = 0

    @property
    def log(self) -> Deployment:
        """With the log of the open epoch."""
        return self.first.open

    @property
    def first(self) -> Deployment:
        """With the log of the first epoch."""
        return self.world.deployments[0]

    @property
    def may_sign(self) -> asyncio.Event:
        return self.world.may_sign

    # Processes

    async def start(self, slot: int = 0, *, log: Deployment | None = None) -> Worker:
        """Start a process; it is under way when this returns."""
        deployment = log or self.first
        self.world.start(deployment, slot)
        await asyncio.sleep(0.5)
        return self.world.workers[f"{self.world.deployments.index(deployment)}.{slot}"]

    def kill(self) -> None:
        self.world.crash_all()

    async def restart(self) -> Worker:
        """Kill all, wait until the group forgot them, start one."""
        self.kill()
        await asyncio.sleep(8.0)
        self.log.group.expire()
        return await self.start()

    # What happens outside

    def produce(self, count: int = 1) -> None:
        self.log.source.append(self._rows(count))

    def produce_in_transaction(self) -> None:
        """A record that no marker decides yet."""
        self.log.source.append(self._rows(1), PRODUCER)

    def produce_aborted(self) -> None:
        """A record and an abort marker: two offsets that nobody reads."""
        self.produce_in_transaction()
        self.log.source.mark(PRODUCER, commits=False)

    def trim(self, start: int) -> None:
        if start > self.log.laws.next_offset:
            self.log.laws.damages.add("trimmed")
        self.log.source.trim(start)

    def cut_source(self, end: int, regrow: int = 0) -> None:
        """Another leader has only the first `end` offsets; producers go on."""
        d = self.log
        d.laws.damages.add("cut")
        d.laws.damaged_at = self.world.loop.time()
        d.source.cut(end)
        d.laws.source_lost(d.source.start, d.source.readable(d.source.start))
        self.produce(regrow)

    def cut_audit(self, end: int) -> None:
        """Another leader has less of the audit partition."""
        d = self.log
        d.laws.damages.add("audit cut")
        d.laws.sent(d.coordinator.open_rows())
        d.audit.cut(end)
        d.laws.rebuilt(d.audit.readable())

    def accept_gap(self, size: int, expected: int, left: int) -> None:
        """The operator gives up what the source lost."""
        self.note_gap(size, expected, left)
        self.log.laws.accepted_gap(expected, left)

    def recreate_source(self, regrow: int = 0) -> None:
        """The topic is deleted and made again, under the same name."""
        d = self.log
        d.laws.damages.add("recreated")
        d.source.recreate()
        d.laws.truth.clear()
        self.produce(regrow)

    def fork(self, size: int, offset: int, *, topic_id: str = "") -> None:
        """The operator ends the log at a size; the next epoch begins at a source offset."""
        log = self.log
        fork = EpochForked(
            origin=log.origin,
            size=size,
            root=log.laws.roots[size],
            epoch=len(self.first.later) + 1,
            cluster_id="cluster",
            topic_id=topic_id or log.source.topic_id,
            offset=offset,
        )
        self.world.fork(log, fork)

    def note_gap(self, size: int, expected: int, left: int) -> None:
        """A note is sealed, of whatever use."""
        gap = GapAccepted(origin=self.log.origin, size=size, expected=expected, left=left)
        self.log.history.apply(gap)

    # What is to be seen

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for it, in virtual time, and not for ever."""
        deadline = self.world.loop.time() + ENOUGH_S
        while not holds():
            if self.world.loop.time() > deadline:
                raise AssertionError(f"never: {what}; {self.stopped() or 'nothing stopped'}")
            await asyncio.sleep(0.05)

    async def posted(self, *, size: int = 0, offset: int = 0) -> None:
        def reached() -> bool:
            posted = self.log.group.posted
            return posted is not None and posted.size >= size and posted.offset >= offset

        await self.until(reached, f"size {size} and offset {offset} posted")

    async def leaves(self, count: int) -> None:
        await self.until(lambda: len(self.log.laws.leaves) >= count, f"{count} leaves")

    async def sealed(self) -> None:
        """All there is is under a checkpoint, and nothing is stopped; looked at for a while."""
        await self.until(lambda: self.log.laws.is_sealed, "all sealed")
        await asyncio.sleep(2.0)
        assert self.stopped() is None
        self.log.laws.check_end(self.log.audit.readable(), is_stopped=False)

    async def stops(self) -> str:
        """The reason for which the partition stops."""
        await self.until(lambda: self.stopped() is not None, "stopped")
        return (self.stopped() or "").partition(":")[0]

    def stopped(self) -> str | None:
        """Reason and sentence of a process that runs and is stopped."""
        running = [w for w in self.world.workers.values() if w.process.is_running]
        return next((w.stopped for w in running if w.stopped), None)

    def shape(self) -> str:
        """The committed log: C and its size, R and its index."""
        values = [decode_audit_value(r.value or b"") for r in self.log.audit.readable()]
        return " ".join(
            f"R{value.index}" if isinstance(value, AuditRecord) else f"C{_size(value)}"
            for value in values
        )

    def _rows(self, count: int) -> list[NewRecord]:
        self._serial += count
        first = self._serial - count
        return [
            NewRecord(START_MS + number, b"event %d" % number, b"k")
            for number in range(first, self._serial)
        ]


def on_stage(script: Callable[[Scene], Awaitable[None]]) -> Callable[[], None]:
    """Make a test of a script; nothing of it depends on chance or time."""

    @wraps(script)
    def test() -> None:
        scene = Scene()
        world = scene.world
        trace: list[str] = []
        world.trace = trace.append
        with logs_into(world.say):
            try:
                world.loop.run_until_complete(script(scene))
            except BaseException:
                print("\n".join(trace))
                raise
            finally:
                world.network.is_over = True
                world.loop.bury(world.processes)

    del test.__wrapped__  # or it would seem to need a fixture
    return test


def _size(checkpoint: Checkpoint) -> int:
    return int(checkpoint.note.split("\n")[1])
