"""One sealed partition of a real cluster: the sealer as a worker runs it, in this process.

    python -m tests.support.kafka_sealing BOOTSTRAP TOPIC FOLDER CALL NUMBER SIGNAL

is a process that seals, and sends itself SIGNAL right after the NUMBER-th CALL.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.anchors import AnchorStore
from streams.clock import SystemClock
from streams.errors import NotOwnerError
from streams.jobs import PartitionJobs
from streams.kafka.connection import KafkaConnection
from streams.kafka.engine import KafkaOwnership
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.writer import KafkaPartitionWriter
from streams.keys.local import LocalSigner
from streams.objects.directory import DirectoryObjectStore
from streams.recovery import LogWorld
from streams.sealer import PartitionSealer, SealerLimits
from streams.telemetry.health import Health
from streams.trust import GivenTrust
from tests.support.struck import LIFE, Calls
from tests.support.struck_kafka import client_classes, strikable

__all__ = ["BASE", "KEY", "KafkaSealing", "make_strikable"]

BASE = "calls.example"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
LIMITS = SealerLimits(linger_ms=0, records_max=3, retry_s=0.01, retry_max_s=0.1)


@dataclass(frozen=True, slots=True)
class KafkaSealing:
    """A source topic of one partition, its audit topic, and where the log is claimed."""

    connection: KafkaConnection
    topic: str
    folder: Path

    @property
    def audit(self) -> str:
        return f"audit.{self.topic}"

    @asynccontextmanager
    async def sealing(self) -> AsyncIterator[tuple["asyncio.Task[None]", Health]]:
        """A member of the group that seals what it is assigned, as a task."""
        health = Health()
        # Its end is the end of a worker: every client of it is closed.
        running = asyncio.create_task(self._run(health))
        try:
            yield running, health
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _run(self, health: Health) -> None:
        ownership = KafkaOwnership(self.connection, f"sealer-of-{self.topic}", [self.topic])

        async def seal(topic: str, partition: int) -> None:
            try:
                source = ownership.source(topic, partition)
            except NotOwnerError:
                return
            audit = KafkaPartitionReader(self.connection, self.audit, partition)
            world = LogWorld(
                origin=f"{BASE}/{topic}/{partition}",
                source=source,
                audit=audit,
                make_writer=lambda: KafkaPartitionWriter(self.connection, self.audit, partition),
                anchors=AnchorStore(DirectoryObjectStore(self.folder), retain_days=1),
                trust=GivenTrust([LocalSigner(KEY)], BASE),
            )
            try:
                await PartitionSealer(world, LIMITS, health, SystemClock()).run()
            finally:
                await source.close()
                await audit.close()

        jobs = PartitionJobs(seal, "sealer", health)
        ownership.bind(jobs.assigned, jobs.revoked)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ownership.run())
                group.create_task(jobs.failure())
        finally:
            await jobs.stop()


def make_strikable(setattr_of: object = None) -> None:
    """Put proxies in the place of every client class of the adapter."""
    put = setattr if setattr_of is None else setattr_of
    assert callable(put)
    for module, name in list(client_classes()):
        owner = importlib.import_module(module)
        put(owner, name, strikable(getattr(owner, name)))


async def _seal(bootstrap: str, topic: str, folder: str, done: Callable[[str, int], None]) -> None:
    LIFE.set(Calls(done=done))
    waits = {"session_timeout_ms": 1000, "heartbeat_interval_ms": 300}
    connection = KafkaConnection(bootstrap=bootstrap, **waits)  # type: ignore[arg-type]
    async with KafkaSealing(connection, topic, Path(folder)).sealing() as (running, _):
        await running


if __name__ == "__main__":
    make_strikable()
    bootstrap, topic, folder, call, number, to_itself = sys.argv[1:]

    def end_or_sleep(done: str, nth: int) -> None:
        if (done, nth) == (call, int(number)):
            os.kill(os.getpid(), int(to_itself))

    asyncio.run(_seal(bootstrap, topic, folder, end_or_sleep))
