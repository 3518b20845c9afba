"""The dead letters of one log, published exactly once beside it.

Nothing is kept but the output itself: a start walks the log from its beginning, and decodes what
lies behind the last dead letter.
"""

import asyncio
from dataclasses import dataclass

from projections.dead_letters.fold import Decode, dead_letter_of
from projections.derived import (
    SINGLE_OBJECTS,
    DerivedPartition,
    DerivedWriter,
    Framing,
    MakeReader,
    MakeWriter,
    Output,
)
from projections.ports import Position, SealedBatch
from schemas.codec import SchemaLookup, decode_dead_letter, encode_dead_letter
from schemas.errors import RejectedInput
from schemas.records import Record
from streams.telemetry.metrics import DEAD_LETTERS

__all__ = ["DeadLetterProjection", "DeadLetterWorld"]

CHUNK = 64  # records between two yields to the event loop: 3 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterWorld:
    """What one log's dead letters need.

    Attributes:
        make_writer: a writer, not started, of the dead-letter partition.
        make_reader: a reader of the same partition.
        decode: raises RejectedInput for what the readers of this source cannot use.
        framing: of the dead letters.
    """

    make_writer: MakeWriter
    make_reader: MakeReader
    decode: Decode
    framing: Framing = SINGLE_OBJECTS


class DeadLetterProjection:
    """Publishes the dead letters of one log."""

    def __init__(self, world: DeadLetterWorld, origin: str) -> None:
        self._world = world
        self._origin = origin
        output = DerivedPartition(world.make_writer, world.make_reader, world.framing)
        self._size = 0
        self._output = DerivedWriter(output, origin, dead_letter_leaf)

    async def resume(self) -> Position:
        """Fence other writers of the output and read how far it goes.

        Raises:
            TransientError, FencedError, OutcomeUnknownError, SettingsError: open anew.
        """
        self._size = 0
        await self._output.start()
        return Position(0, None, None)

    async def apply(self, batch: SealedBatch) -> None:
        """Publish the dead letters of one batch.

        Raises:
            FencedError, OutcomeUnknownError: open anew; nothing is published twice.
        """
        outputs: list[Output] = []
        reasons: list[str] = []
        for number, record in enumerate(batch.records):
            if record.index <= self._output.published:
                continue
            if number % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            letter = dead_letter_of(self._origin, record, self._world.decode)
            if letter is not None:
                value = encode_dead_letter(letter, self._world.framing.schema_id)
                outputs.append(Output(record.index, record.source.timestamp, value))
                reasons.append(letter.reason.value)
        if outputs:
            await self._output.publish(outputs)
            for reason in reasons:
                DEAD_LETTERS.labels(batch.records[0].source.topic, reason).inc()
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


def dead_letter_leaf(record: Record, schemas: SchemaLookup) -> tuple[str, int] | None:
    """Origin and leaf of a published dead letter; None where the record is none."""
    try:
        letter = decode_dead_letter(record, schemas)
    except RejectedInput:
        return None
    return letter.origin, letter.index
