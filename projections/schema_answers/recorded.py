"""The sealed answers of one deployment: every epoch of its operations log, each up to its fork.

An answer behind the size an operator accepted is void: it counts if the next epoch seals it again.
So the first answer about a reference is that of the earliest epoch which has one.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from projections.schema_answers.sealed import SealedAnswers
from schemas.codec import WriterSchema
from schemas.framing import SchemaReference
from streams.audit.note import TrustedKeys
from streams.audit.trust import TrustHistory
from streams.engine import Engine
from streams.epochs import epochs_of, newest_epoch
from streams.ports import PartitionReader
from streams.topology import LogPlace

__all__ = ["RecordedAnswers"]


class _Part(NamedTuple):
    """One epoch's answers, up to size `end` where that is known."""

    log: LogPlace
    end: int | None
    answers: SealedAnswers


class RecordedAnswers:
    """Follows the operations log through its epochs. One reading at a time."""

    def __init__(
        self,
        engine: Engine,
        keys: TrustedKeys | None,
        history: Callable[[], TrustHistory] | None,
    ) -> None:
        """Without `history` every epoch is read that has a topic, and to its end."""
        self._engine = engine
        self._keys = keys
        self._history = history
        self._parts: list[_Part] = []
        self._readers: dict[str, PartitionReader] = {}

    @property
    def origin(self) -> str:
        """The log that new answers are sealed in, as far as is known."""
        topology = self._engine.topology
        return (
            self._parts[-1].log.origin if self._parts else topology.origin(topology.operations, 0)
        )

    def __contains__(self, reference: SchemaReference) -> bool:
        return any(reference in part.answers.answers for part in self._parts)

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        """What the first answer about it says; None also where there is none yet."""
        return next((found[reference] for found in self._found() if reference in found), None)

    def id_of(self, schema_fingerprint: bytes) -> int | None:
        """The id first recorded for a schema of ours as it is today."""
        ids = (part.answers.id_of(schema_fingerprint) for part in self._parts)
        return next((number for number in ids if number is not None), None)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Within it `follow` keeps its readers open."""
        async with AsyncExitStack() as stack:
            try:
                yield
            finally:
                for reader in self._readers.values():
                    stack.push_async_callback(reader.close)
                self._readers = {}

    async def follow(self) -> None:
        """Read to where every epoch ends now; within `reading`. Raises TransientError."""
        known = {(part.log.origin, part.end): part for part in self._parts}
        parts = []
        for log, end in await self._logs():
            # One that was read beyond its fork is read once more, to where it counts.
            part = known.get((log.origin, end))
            parts.append(part or _Part(log, end, SealedAnswers(log.origin, self._keys, end)))
        self._parts = parts
        for part in parts:
            await part.answers.follow(self._reader(part.log))

    async def _logs(self) -> list[tuple[LogPlace, int | None]]:
        topology = self._engine.topology
        operations = topology.operations
        if self._history is None:
            newest = await newest_epoch(self._engine, operations)
            return [(topology.log(operations, 0, number), None) for number in range(newest + 1)]
        epochs = epochs_of(self._history(), topology, operations, 0)
        ends = [(epoch.log, epoch.ended.size if epoch.ended else None) for epoch in epochs]
        # Of one that was accepted at size 0 nothing counts, and perhaps it is gone.
        return [(log, end) for log, end in ends if end != 0]

    def _reader(self, log: LogPlace) -> PartitionReader:
        reader = self._readers.get(log.origin)
        if reader is None:
            reader = self._readers[log.origin] = self._engine.reader(log.audit, log.partition)
        return reader

    def _found(self) -> list[Mapping[SchemaReference, WriterSchema | None]]:
        return [part.answers.answers for part in self._parts]
