"""Output that is derived from a log and published exactly once: alerts, dead letters, findings.

A derived record goes to the partition of its input's number, which has one fenced, transactional
writer, and all records of one leaf go in one transaction. So the last committed record of the
output says up to which leaf everything was published, and nothing else needs to be remembered:
whoever takes over reads it back and goes on behind it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from projections.ports import Position, SealedBatch, SealedRecord
from schemas.codec import BUILT_IN, SchemaLookup, WriterSchema
from schemas.framing import SchemaReference
from schemas.records import Record
from streams.errors import TransientError
from streams.ports import NewRecord, PartitionReader, PartitionWriter

__all__ = [
    "SINGLE_OBJECTS",
    "DerivedPartition",
    "DerivedWriter",
    "Framing",
    "LeafByLeaf",
    "MakeReader",
    "MakeWriter",
    "Output",
]

PAGE_OFFSETS = 500  # read back at a time
WAIT_MS = 200
TRANSACTION_RECORDS = 500
TRANSACTION_BYTES = 2**20
SETTLE_S, SETTLE_TRIES = 0.05, 100
FETCH_TRIES = 25

MakeWriter = Callable[[], PartitionWriter]
MakeReader = Callable[[], PartitionReader]
LeafOf = Callable[[Record, SchemaLookup], tuple[str, int] | None]
Derive = Callable[[SealedRecord], bytes | None]


class Output(NamedTuple):
    """One record to be published for a leaf, of `timestamp` in ms (-1 for none)."""

    leaf: int
    timestamp: int
    value: bytes


class Framing(SchemaLookup, Protocol):
    """How records of a derived topic are framed, and how those that stand there are read."""

    @property
    def schema_id(self) -> int | None:
        """The registry's id of the record's schema, None for a single object; after `open`."""

    async def open(self) -> None:
        """Learn the id. Raises TransientError, SettingsError."""

    async def learn(self, records: list[Record]) -> None:
        """Make known what published records are framed with. Raises TransientError."""


class _SingleObjects:
    """Without a registry: Avro single objects, of schemas that are built in."""

    schema_id = None

    async def open(self) -> None:
        pass

    async def learn(self, records: list[Record]) -> None:
        pass

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        return BUILT_IN.find(reference)


SINGLE_OBJECTS: Framing = _SingleObjects()


class DerivedPartition(NamedTuple):
    """An output partition: makers of its writer, not started, and reader; how it is framed."""

    make_writer: MakeWriter
    make_reader: MakeReader
    framing: Framing = SINGLE_OBJECTS


class DerivedWriter:
    """The one writer of the derived output of one log."""

    def __init__(self, output: DerivedPartition, origin: str, leaf_of: LeafOf) -> None:
        """`leaf_of` tells origin and leaf index of a published record, None of a foreign one."""
        self._make_writer, self._make_reader, self._framing = output
        self._origin = origin
        self._leaf_of = leaf_of
        self._writer: PartitionWriter | None = None
        self._published = -1

    @property
    def published(self) -> int:
        """The last leaf with a record in the output; -1 where there is none."""
        return self._published

    async def start(self) -> None:
        """Fence every other writer, then read back how far the output goes.

        Raises:
            TransientError: a server failed, or a transaction stays open.
            SettingsError: the registry refuses the schema of the output.
            FencedError, OutcomeUnknownError: open anew.
        """
        await self.close()
        await self._framing.open()
        self._writer = self._make_writer()
        # Now nobody else can add to the output: what is read back below stays the last of it.
        await self._writer.start()
        reader = self._make_reader()
        try:
            self._published = await self._read_back(reader)
        finally:
            await reader.close()

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Publish outputs that lie behind `published`, rising by leaf, whole for each they name.

        After an error the writer is of no further use.

        Raises:
            FencedError, OutcomeUnknownError: open anew.
        """
        assert self._writer is not None, "published before start"
        for chunk in _transactions(outputs):
            assert chunk[0].leaf > self._published, "a leaf was published already"
            await self._writer.append(
                [NewRecord(max(output.timestamp, 0), output.value) for output in chunk]
            )
            # Now the chunk is committed: a crash here leads to no second one, by the read-back.
            self._published = chunk[-1].leaf

    def check_within(self, size: int) -> None:
        """Nothing published may speak of a leaf that a log of `size` sealed leaves does not have.

        Raises:
            TransientError: it does: the log lost its end, which may come again, or somebody else
                wrote to the output, and nothing would be published until the log is that long.
        """
        if self._published >= size:
            topic = self._writer.topic if self._writer else "the output"
            raise TransientError(
                f"{topic} speaks of leaf {self._published} of {self._origin}, which has {size} "
                "sealed leaves: the log lost its end, or somebody else may write to the topic"
            )

    async def close(self) -> None:
        """Idempotent, never raises."""
        if self._writer is not None:
            await self._writer.close()
            self._writer = None

    async def _read_back(self, reader: PartitionReader) -> int:
        """The last leaf of this log in the output, looked for from its end."""
        start, end = await _settled(reader)
        while start < end:
            first = max(start, end - PAGE_OFFSETS)
            found = await self._last_leaf(reader, first, end)
            if found is not None:
                return found
            end = first
        return -1

    async def _last_leaf(self, reader: PartitionReader, first: int, end: int) -> int | None:
        last: int | None = None
        offset, waited = first, 0
        while offset < end:
            fetched = await reader.fetch(offset, max_records=PAGE_OFFSETS, max_wait_ms=WAIT_MS)
            if fetched.next_offset <= offset:
                waited += 1
                if waited > FETCH_TRIES:
                    raise TransientError(f"{reader.topic}: nothing comes at offset {offset}")
            # Whoever wrote these had recorded what they are framed with before.
            await self._framing.learn(fetched.records)
            for record in fetched.records:
                leaf = self._leaf_of(record, self._framing) if record.offset < end else None
                if leaf is not None and leaf[0] == self._origin:
                    last = leaf[1]
            offset = fetched.next_offset
        return last


class LeafByLeaf:
    """A projection that publishes at most one record about each leaf, made of that leaf alone.

    Nothing is kept but the output itself: a start walks the log from its beginning, and derives
    from what lies behind the last leaf the output speaks of.
    """

    def __init__(self, output: DerivedWriter, derive: Derive, *, chunk: int) -> None:
        """`derive` makes a record of a leaf, or None; `chunk` of them between two yields."""
        self._output = output
        self._derive = derive
        self._chunk = chunk
        self._size = 0

    async def resume(self) -> Position:
        """Fence other writers of the output and read how far it goes.

        Raises:
            TransientError, FencedError, OutcomeUnknownError, SettingsError: open anew.
        """
        self._size = 0
        await self._output.start()
        return Position(0, None, None)

    async def apply(self, batch: SealedBatch) -> None:
        """Publish what is derived from one batch.

        Raises:
            FencedError, OutcomeUnknownError: open anew; nothing is published twice.
        """
        outputs: list[Output] = []
        for number, record in enumerate(batch.records):
            if record.index <= self._output.published:
                continue
            if number % self._chunk == self._chunk - 1:
                await asyncio.sleep(0)
            value = self._derive(record)
            if value is not None:
                outputs.append(Output(record.index, record.source.timestamp, value))
        if outputs:
            await self._output.publish(outputs)
        self._size = batch.size

    async def idle(self) -> None:
        """Check that nothing published speaks of a leaf the log does not have.

        Raises:
            TransientError: it does; what the log lost may come again.
        """
        self._output.check_within(self._size)

    async def close(self) -> None:
        """Idempotent, never raises."""
        await self._output.close()


async def _settled(reader: PartitionReader) -> tuple[int, int]:
    """Start and end with no transaction open: the last commit's marker may still be on its way."""
    for _ in range(SETTLE_TRIES):
        start, end, high_watermark = await reader.bounds()
        if end == high_watermark:
            return start, end
        await asyncio.sleep(SETTLE_S)
    raise TransientError(f"{reader.topic}/{reader.partition}: a transaction stays open")


def _transactions(outputs: Sequence[Output]) -> list[list[Output]]:
    """Cut between leaves, within the limits; one leaf stays whole whatever its size."""
    chunks: list[list[Output]] = []
    chunk: list[Output] = []
    size = 0
    for output in outputs:
        full = len(chunk) >= TRANSACTION_RECORDS or size >= TRANSACTION_BYTES
        if chunk and full and output.leaf > chunk[-1].leaf:
            chunks.append(chunk)
            chunk, size = [], 0
        chunk.append(output)
        size += len(output.value)
    if chunk:
        chunks.append(chunk)
    return chunks
