"""The findings of one log of alerts, published exactly once beside it."""

from dataclasses import dataclass

from projections.derived import (
    DerivedPartition,
    DerivedWriter,
    LeafByLeaf,
    MakeReader,
    MakeWriter,
)
from projections.ocsf_alerts.fold import Decode, finding_of
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


class OcsfAlerts(LeafByLeaf):
    """Publishes the alerts of one log as findings; each names the leaf of its alert."""

    def __init__(self, world: OcsfAlertsWorld, origin: str) -> None:
        output = DerivedPartition(world.make_writer, world.make_reader)
        super().__init__(
            DerivedWriter(output, origin, _leaf_of),
            lambda record: finding_of(origin, record, world.decode),
            chunk=CHUNK,
        )


def _leaf_of(record: Record, _schemas: SchemaLookup) -> tuple[str, int] | None:
    """Log and leaf of the alert a published finding was made of; None where it is none."""
    return sealed_as(record.value or b"")
