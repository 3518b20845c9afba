"""What the runner hands to a projection, and what a projection must keep (see `runner`)."""

from typing import NamedTuple, Protocol

from schemas.records import Checkpoint, Record, Source

__all__ = ["Position", "Projection", "SealedBatch", "SealedRecord"]


class SealedRecord(NamedTuple):
    """One audit record a checkpoint covers, verified; `record` is it verbatim, as stored."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    source: Source
    content: bytes
    leaf: bytes
    record: Record


class SealedBatch(NamedTuple):
    """The records [first, size) that one checkpoint newly covers, dense and in order.

    `before` is the compact range [0, first) (formats §2): with the leaves of the batch it gives
    the inclusion proof of each record under `checkpoint`, the first that covers it. A batch has
    no records for genesis and for a rotation's second checkpoint of one size.
    """

    origin: str
    first: int
    size: int
    root: bytes
    before: tuple[bytes, ...]
    records: list[SealedRecord]
    checkpoint: Checkpoint
    checkpoint_record: Record


class Position(NamedTuple):
    """How far a projection has applied a partition: all leaves below `index`.

    `opening` is the checkpoint of size `index` (None only at index 0) and `offset` an offset of
    the audit partition at or below the first record still to be applied: a hint, verified.
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    opening: Checkpoint | None
    offset: int | None


class Projection(Protocol):
    """One projection of one audit partition. Lives on one event loop, one call at a time."""

    async def resume(self) -> Position:
        """Open what is derived, fence other writers of it, and say where to go on."""

    async def apply(self, batch: SealedBatch) -> None:
        """Apply one batch; its position is saved in the same write as its result.

        A crash inside leaves all of it or none of it. Raises VerificationError when what is
        already derived contradicts the batch; TransientError, OutcomeUnknownError, FencedError
        when the projection must be opened anew.
        """

    async def idle(self) -> None:
        """Nothing was appended for a while: what waits for more may be finished now.

        Raises as `apply`.
        """

    async def close(self) -> None:
        """Idempotent, never raises."""
