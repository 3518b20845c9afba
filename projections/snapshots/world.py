"""What snapshots of a running projection need of it, and of the world."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from projections.snapshots.containment import LogToFit
from projections.snapshots.local import LocalSnapshots
from projections.snapshots.manifest import Manifest
from projections.snapshots.parts import LoadedParts, StateParts
from projections.snapshots.retention import KEPT, Kept
from streams.keys.wrapping import WrappingKeys
from streams.objects.disposal import DisposableStore
from streams.ports import Clock

__all__ = [
    "Beside",
    "OpenedPlace",
    "Restored",
    "Saveable",
    "Schedule",
    "SnapshotSubject",
    "SnapshotWorld",
]


class Saveable(Protocol):
    """A projection's state as its snapshots see it. One event loop, between two batches."""

    def export(self) -> StateParts:
        """The state as it is now; copied before the loop goes on."""

    async def load(self, parts: LoadedParts) -> None:
        """Take this state over. Raises SnapshotRefusedError."""

    def prove(self) -> str:
        """Search for some of what was loaded: what is wrong, or nothing."""

    def forget(self) -> None:
        """Begin with nothing."""


class Beside(Protocol):
    """Something small that belongs to a state and lives beside it."""

    def export(self) -> bytes:
        """It, as bytes."""

    async def load(self, data: bytes) -> None:
        """Take it over, whole or not at all. Raises SnapshotRefusedError, TransientError."""


class Schedule(NamedTuple):
    """A snapshot every so many seconds or leaves, whichever comes first, if there are new ones."""

    period_s: float
    leaves: int


class Restored(NamedTuple):
    """What a start restored, and in how many seconds."""

    manifest: Manifest
    seconds: float


class OpenedPlace(NamedTuple):
    """A store of snapshots, and the keys that wrap their data keys."""

    objects: DisposableStore
    keys: WrappingKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWorld:
    """What all snapshots of a process share.

    Attributes:
        open: the store and the keys, opened whenever they are needed: they may be remote.
        exclusive: held while one is written; raises TransientError while another process does.
        clock: for their ids, and how long things take.
        schedule: when they are taken.
        kept: how many the clean-up keeps.
        local: where those that run here are found.
    """

    open: Callable[[], AbstractAsyncContextManager[OpenedPlace]]
    exclusive: Callable[[str], AbstractContextManager[None]]
    clock: Clock
    schedule: Schedule
    kept: Kept = KEPT
    local: LocalSnapshots = field(default_factory=LocalSnapshots)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSubject:
    """Whose snapshots.

    Attributes:
        origin: the log.
        projection: its name in manifests.
        parameters: what the state depends on beside the log.
        log: to look for the snapshot's checkpoint in.
        beside: what else belongs to the state, by name.
        restored: told of a restored one.
    """

    origin: str
    projection: str
    parameters: Mapping[str, str]
    log: LogToFit
    beside: Mapping[str, Beside] = field(default_factory=dict)
    restored: Callable[[Restored], None] = lambda _restored: None
