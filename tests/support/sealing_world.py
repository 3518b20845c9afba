"""One log of the embedded engine with faults at every durable write, and a check of the whole.

A fault is a write and what becomes of it: `lost` (it never happened) or `applied` (it happened,
the answer was lost). Whatever is planned, the history must come out as if nothing had been.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.audit_values import encode_content
from schemas.records import AuditRecord, Record
from streams.anchors import AnchorStore
from streams.app import trusted_keys
from streams.audit.trail import Trail
from streams.clock import SystemClock
from streams.embedded.engine import EmbeddedEngine
from streams.engine import Ownership
from streams.errors import OutcomeUnknownError, TransientError
from streams.history import read_range
from streams.keys.local import LocalSigner
from streams.objects.directory import DirectoryObjectStore
from streams.ports import (
    Appended,
    NewRecord,
    ObjectStore,
    PartitionWriter,
    Posted,
    SourcePartition,
)
from streams.recovery import LogWorld
from streams.sealer import PartitionSealer, SealerLimits
from streams.settings import load_settings
from streams.telemetry.health import Health
from streams.trust import GivenTrust

BASE = "fault.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
FAST = SealerLimits(linger_ms=0, records_max=3, retry_s=0.001, retry_max_s=0.002)


@dataclass(slots=True)
class Faults:
    """`plan` maps (write, its how-manieth call) to `lost` or `applied`; `seen` counts calls."""

    plan: dict[tuple[str, int], str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    hit: set[tuple[str, str]] = field(default_factory=set)

    async def around(self, write: str, do: Callable[[], Any], error: type[Exception]) -> Any:
        number = self.seen[write] = self.seen.get(write, 0) + 1
        fate = self.plan.get((write, number))
        if fate is not None:
            self.hit.add((write, fate))
        if fate == "lost":
            raise error(f"{write} {number} was lost")
        done = await do()
        if fate == "applied":
            raise error(f"the answer to {write} {number} was lost")
        return done


class FaultyWriter:
    """A real writer whose calls may fail by plan."""

    def __init__(self, writer: PartitionWriter, faults: Faults) -> None:
        self._writer, self._faults = writer, faults
        self.topic, self.partition = writer.topic, writer.partition
        self.marker_offsets = writer.marker_offsets

    async def start(self) -> None:
        await self._faults.around("start", self._writer.start, TransientError)

    async def append(self, records: Sequence[NewRecord]) -> Appended:
        def do() -> Any:
            return self._writer.append(records)

        done: Appended = await self._faults.around("append", do, OutcomeUnknownError)
        return done

    async def confirm(self) -> None:
        await self._faults.around("confirm", self._writer.confirm, OutcomeUnknownError)

    async def close(self) -> None:
        await self._writer.close()


class FaultySource:
    """A real source partition whose posting may fail by plan."""

    def __init__(self, source: SourcePartition, faults: Faults) -> None:
        self._source, self._faults = source, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def post(self, posted: Posted) -> None:
        await self._faults.around("post", lambda: self._source.post(posted), TransientError)


class FaultyObjects:
    """A real object store whose creations may fail by plan."""

    def __init__(self, store: ObjectStore, faults: Faults) -> None:
        self._store, self._faults = store, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        def do() -> Any:
            return self._store.create(key, body, retain_days=retain_days)

        return str(await self._faults.around("claim", do, OutcomeUnknownError))


@dataclass(slots=True)
class SealingWorld:
    """A source partition, its log, and sealers over them."""

    engine: EmbeddedEngine
    ownership: Ownership
    objects: DirectoryObjectStore
    health: Health = field(default_factory=Health)

    @property
    def topic(self) -> str:
        return self.engine.topology.decisions

    @property
    def origin(self) -> str:
        return self.engine.topology.origin(self.topic, 0)

    async def produce(self, *values: bytes | None) -> None:
        async with self.engine.sink(self.topic) as sink:
            for number, value in enumerate(values):
                # A tombstone cannot be sent: the record of one has an empty value here.
                await sink.send(NewRecord(1_700_000_000_000 + number, value or b"", b"k"))

    def world(self, faults: Faults, signer: Any = None) -> LogWorld:
        audit = self.engine.topology.audit(self.topic)
        local = LocalSigner(KEY)
        return LogWorld(
            origin=self.origin,
            source=FaultySource(self.ownership.source(self.topic, 0), faults),
            audit=self.engine.reader(audit, 0),
            make_writer=lambda: FaultyWriter(self.engine.writer(audit, 0), faults),
            anchors=AnchorStore(FaultyObjects(self.objects, faults), retain_days=1),
            trust=GivenTrust([signer or local], BASE),
        )

    def sealer(self, faults: Faults | None = None, **changes: Any) -> PartitionSealer:
        limits, signer = changes.get("limits", FAST), changes.get("signer")
        world = self.world(faults or Faults(), signer)
        return PartitionSealer(world, limits, self.health, SystemClock())

    async def seal(self, size: int, faults: Faults | None = None, **changes: Any) -> None:
        """Run a sealer until `size` leaves are under a checkpoint."""
        task = asyncio.create_task(self.sealer(faults, **changes).run())
        try:
            async with asyncio.timeout(20):
                while (await self.sealed()) < size:
                    await asyncio.sleep(0.002)
                    if task.done():
                        task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def log(self) -> list[Record]:
        reader = self.engine.reader(self.engine.topology.audit(self.topic), 0)
        bounds = await reader.bounds()
        return await read_range(reader, bounds.start, bounds.end)

    async def sealed(self) -> int:
        """Checks the whole log and its source; how many leaves are sealed."""
        source = self.engine.reader(self.topic, 0)
        bounds = await source.bounds()
        events = await read_range(source, bounds.start, bounds.end)
        trail, leaves = Trail(self.origin, trusted_keys(LocalSigner(KEY), BASE)), 0
        for record in await self.log():
            fed = trail.feed(record)
            if isinstance(fed, AuditRecord):
                event = events[leaves]
                assert fed.source.offset == event.offset
                assert fed.content == encode_content(event)
                leaves += 1
        return trail.size


@asynccontextmanager
async def sealing_world(folder: Path) -> AsyncIterator[SealingWorld]:
    settings = load_settings({"ATTESTREAM_HOME": str(folder / "home"), "ATTESTREAM_ORIGIN": BASE})
    engine = await EmbeddedEngine.open(settings)
    assigned = asyncio.Event()

    async def on_assigned(_names: Sequence[tuple[str, int]]) -> None:
        assigned.set()

    async def on_revoked(_names: Sequence[tuple[str, int]]) -> None:
        return

    ownership = engine.join("sealer", [engine.topology.decisions], on_assigned, on_revoked)
    owning = asyncio.create_task(ownership.run())
    try:
        await asyncio.wait(
            {owning, waiting := asyncio.create_task(assigned.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )
        waiting.cancel()
        if owning.done():
            owning.result()
        world = SealingWorld(engine, ownership, DirectoryObjectStore(folder / "archive"))
        world.health.joined("sealer")
        yield world
    finally:
        owning.cancel()
        await asyncio.wait({owning})
        await engine.close()
