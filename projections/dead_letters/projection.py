"""The dead letters of one log, published exactly once beside it."""

from dataclasses import dataclass

from projections.dead_letters.fold import Decode, dead_letter_of
from projections.derived import (
    SINGLE_OBJECTS,
    DerivedPartition,
    DerivedWriter,
    Framing,
    LeafByLeaf,
    MakeReader,
    MakeWriter,
)
from projections.ports import SealedBatch, SealedRecord
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


class DeadLetterProjection(LeafByLeaf):
    """Publishes the dead letters of one log."""

    def __init__(self, world: DeadLetterWorld, origin: str) -> None:
        self._world = world
        self._origin = origin
        self._reasons: list[str] = []
        output = DerivedPartition(world.make_writer, world.make_reader, world.framing)
        writer = DerivedWriter(output, origin, dead_letter_leaf)
        super().__init__(writer, self._letter, chunk=CHUNK)

    async def apply(self, batch: SealedBatch) -> None:
        """Publish the dead letters of one batch, and count them once they are. Raises as there."""
        self._reasons.clear()
        await super().apply(batch)
        for reason in self._reasons:
            DEAD_LETTERS.labels(batch.records[0].source.topic, reason).inc()

    def _letter(self, record: SealedRecord) -> bytes | None:
        letter = dead_letter_of(self._origin, record, self._world.decode)
        if letter is None:
            return None
        self._reasons.append(letter.reason.value)
        return encode_dead_letter(letter, self._world.framing.schema_id)


def dead_letter_leaf(record: Record, schemas: SchemaLookup) -> tuple[str, int] | None:
    """Origin and leaf of a published dead letter; None where the record is none."""
    try:
        letter = decode_dead_letter(record, schemas)
    except RejectedInput:
        return None
    return letter.origin, letter.index
