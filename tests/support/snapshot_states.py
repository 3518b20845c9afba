"""A projection as snapshots see it, and a place to keep them whose clock and faults one sets."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from projections.snapshots.containment import LogToFit
from projections.snapshots.keeper import SnapshotKeeper
from projections.snapshots.manifest import SavedAt
from projections.snapshots.parts import Growing, LoadedParts, StateParts
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.world import (
    Beside,
    OpenedPlace,
    Saveable,
    Schedule,
    SnapshotSubject,
    SnapshotWorld,
)
from streams.audit.note import TrustedKeys
from streams.keys.wrapping import AesWrappingKey, WrappingKeys
from streams.objects.disposal import DisposableStore
from streams.ports import PartitionReader
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog, batches_of
from tests.support.static_logs import RowsReader

__all__ = [
    "DAY_MS",
    "KEY",
    "PROJECTION",
    "Ledger",
    "Said",
    "SetClock",
    "SnapshotPlace",
    "saved_at",
]

PROJECTION = "ledger"
KEY = bytes(range(32))
DAY_MS = 86_400_000
NEVER = Schedule(period_s=1e6, leaves=10**9)


class Said(list[dict[str, Any]]):
    """Log lines, as their events and values; stands where `keeper.log` does."""

    def info(self, event: str, **values: Any) -> None:
        self.append({"event": event, **values})

    def warning(self, event: str, **values: Any) -> None:
        self.append({"event": event, **values})


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Ledger(Saveable):
    """A state of bytes that grow with each leaf, and a count that changes."""

    def __init__(self) -> None:
        self.lines = b""
        self.leaves = 0
        self.wrong = ""

    def learn(self, leaves: int, text: bytes = b"plainly legible ") -> None:
        for _ in range(leaves):
            self.lines += text + b"%06d\n" % self.leaves
            self.leaves += 1

    def export(self) -> StateParts:
        lines = self.lines
        growing = Growing("lines", len(lines), lambda first, end: lines[first:end])
        return StateParts((growing,), {"count": b"%d" % self.leaves})

    async def load(self, parts: LoadedParts) -> None:
        if parts.growing.keys() | parts.changing.keys() != {"lines", "count"}:
            raise SnapshotRefusedError("another state")
        self.lines, self.leaves = parts.growing["lines"], int(parts.changing["count"])

    def prove(self) -> str:
        return self.wrong

    def forget(self) -> None:
        self.lines, self.leaves = b"", 0

    @property
    def content(self) -> tuple[bytes, int]:
        return self.lines, self.leaves


def saved_at(log: SealedLog) -> SavedAt:
    """The place of a log's newest checkpoint."""
    *_, last = batches_of(log)
    return SavedAt(last.origin, last.size, last.root, last.checkpoint)


@dataclass(kw_only=True)
class SnapshotPlace:
    """A store of snapshots, its clock, and the keys of who opens it."""

    clock: SetClock = field(default_factory=SetClock)
    keys: tuple[bytes, ...] = (KEY,)
    objects: DisposableStore | None = None
    schedule: Schedule = NEVER
    ended: int | None = None
    trusted: TrustedKeys = KEYS
    projection: str = PROJECTION
    parameters: Mapping[str, str] = field(default_factory=lambda: {"rules": "one"})
    beside: Mapping[str, Beside] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.objects is None:
            self.objects = MemoryObjectStore(
                now=lambda: datetime.fromtimestamp(self.clock.ms / 1000, UTC)
            )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OpenedPlace]:
        assert self.objects is not None
        yield OpenedPlace(self.objects, WrappingKeys([AesWrappingKey(key) for key in self.keys]))

    @contextmanager
    def alone(self, root: str) -> Iterator[None]:
        assert root.endswith("/")
        yield

    def keeper(self, target: Saveable, log: SealedLog) -> SnapshotKeeper:
        return self.keepers(lambda: RowsReader(log.rows))(target)

    def keepers(
        self, open_reader: Callable[[], PartitionReader]
    ) -> Callable[[Saveable], SnapshotKeeper]:
        """What makes the keeper of a projection of the log that is read so."""
        world = SnapshotWorld(
            open=self.open,
            exclusive=self.alone,
            clock=self.clock,
            schedule=self.schedule,
        )
        subject = SnapshotSubject(
            origin=ORIGIN,
            projection=self.projection,
            parameters=self.parameters,
            log=LogToFit(open_reader, self.trusted, lambda: self.ended),
            beside=self.beside,
        )
        return partial(SnapshotKeeper, world, subject)
