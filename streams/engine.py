"""A deployment's partitions behind one face: Kafka, or the embedded engine.

`streams.app.open_engine` chooses by the settings; nobody else knows which one it is.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from streams.ports import NewRecord, PartitionReader, PartitionWriter, SourcePartition
from streams.topology import Topology

__all__ = ["Engine", "EventSink", "Membership", "Ownership", "PartitionName"]

PartitionName = tuple[str, int]


class EventSink(Protocol):
    """Where `send` puts events; open as an async context, delivery is certain at its end."""

    async def send(self, record: NewRecord) -> None:
        """Hand over one record. Raises TransientError when an earlier one failed."""


class Ownership(Protocol):
    """What this process owns for one role; other workers own the rest."""

    def source(self, topic: str, partition: int) -> SourcePartition:
        """The owned partition, with its posted position."""

    async def still_owns(self, topic: str, partition: int) -> bool:
        """Ask whoever decides; True only on a clear yes. Raises TransientError."""

    async def run(self) -> None:
        """Take part until cancelled; raises whatever a callback raised."""


class Membership(Protocol):
    """Makes an `Ownership`; the callbacks are awaited before a change takes effect."""

    def __call__(
        self,
        role: str,
        topics: Sequence[str],
        on_assigned: Callable[[Sequence[PartitionName]], Awaitable[None]],
        on_revoked: Callable[[Sequence[PartitionName]], Awaitable[None]],
    ) -> Ownership:
        """Take part in the role's division of the partitions of `topics`."""


class Engine(Protocol):
    """Readers, writers and ownership of one deployment."""

    @property
    def topology(self) -> Topology:
        """Names of topics and origins."""

    @property
    def join(self) -> Membership:
        """How a role gets its partitions."""

    def reader(self, topic: str, partition: int) -> PartitionReader:
        """A reader of its own; close it."""

    def writer(self, topic: str, partition: int) -> PartitionWriter:
        """A writer that was not started yet; close it."""

    def sink(self, topic: str) -> AbstractAsyncContextManager[EventSink]:
        """Where events of a topic are sent to."""

    async def peers(self, role: str) -> list[str]:
        """The URLs of all workers that take part in a role now, this one's included."""

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 where there is no such topic."""

    async def open_epoch(self, source: str, epoch: int) -> None:
        """Make the audit topic of an epoch, with every partition of its source; once is enough.

        For an operator: a worker need not be allowed to.

        Raises:
            SettingsError: it is refused, or stands and is no audit topic as declared.
            TransientError: ask again.
        """
