"""The findings of one log of alerts, published exactly once beside it.

Nothing is kept but the output itself: each finding names the leaf of its alert, so a start reads
back how far the output goes, walks the log from its beginning, and goes on behind that leaf.
"""

import asyncio
from dataclasses import dataclass

from projections.derived import DerivedPartition, DerivedWriter, MakeReader, MakeWriter, Output
from projections.ocsf_alerts.fold import Decode, finding_of
from projections.ports import Position, SealedBatch
from schemas.codec import SchemaLookup
from schemas.ocsf import sealed_as
from schemas.records import Record

__all__ = ["OcsfAlerts", "OcsfAlertsWorld"]

CHUNK = 16  # records between two yields to the event loop: 3 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class OcsfAlertsWorld:
    """What the findings of one log need.

    Attributes:
        make_writer: a writer, not started, of the partition of findings.
        make_reader: a reader of the same partition.
        decode: raises RejectedInput for what is no alert.
    """

    make_writer: MakeWriter
    make_reader: MakeReader
    decode: Decode


class OcsfAlerts:
    """Publishes the alerts of one log as findings."""

    def __init__(self, world: OcsfAlertsWorld, origin: str) -> None:
        self._decode = world.decode
        self._origin = origin
        output = DerivedPartition(world.make_writer, world.make_reader)
        self._size = 0
        self._output = DerivedWriter(output, origin, _leaf_of)

    async def resume(self) -> Position:
        """Fence other writers of the output and read how far it goes.

        Raises:
            TransientError, FencedError, OutcomeUnknownError: open anew.
        """
        self._size = 0
        await self._output.start()
        return Position(0, None, None)

    async def apply(self, batch: SealedBatch) -> None:
        """Publish the findings of one batch.

        Raises:
            FencedError, OutcomeUnknownError: open anew; nothing is published twice.
        """
        outputs: list[Output] = []
        for number, record in enumerate(batch.records):
            if record.index <= self._output.published:
                continue
            if number % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            finding = finding_of(self._origin, record, self._decode)
            if finding is not None:
                outputs.append(Output(record.index, record.source.timestamp, finding))
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


def _leaf_of(record: Record, _schemas: SchemaLookup) -> tuple[str, int] | None:
    """Log and leaf of the alert a published finding was made of; None where it is none."""
    return sealed_as(record.value or b"")
