"""Where segments are cut (formats §8), as a pure step over sealed batches.

A segment closes at a checkpoint, and every batch ends at one, so a batch is never divided. Where
exactly it closes is free: names follow from the first index, and an archiver that finds a segment
another one wrote goes on behind it. So rules here may differ between archivers, and a cut by idle
time or by age needs no agreement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from projections.ports import SealedBatch
from schemas.records import Checkpoint, Record
from streams.errors import BreakError

__all__ = ["ClosedSegment", "CutRules", "OpenSegment", "cut_after", "cut_before"]

DAY_MS = 86_400_000
ROW_BYTES = 16  # about what a row has besides its value


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRules:
    """When a segment closes, at the first checkpoint for which any of these holds.

    Attributes:
        bytes_max: of rows, before compression; a segment exceeds it by one batch at most if that
            batch alone is larger.
        records_max: audit records, likewise.
        span_ms_max: of record time.
        daily: a new day of record time (UTC) begins a new segment as well.
        age_s_max: of waiting in memory, in real time.
    """

    bytes_max: int = 32 * 2**20
    records_max: int = 100_000
    span_ms_max: int = DAY_MS
    daily: bool = True
    age_s_max: float = 300


class ClosedSegment(NamedTuple):
    """A segment ready to be written.

    Attributes:
        origin: the log.
        first: index of its first record.
        size: of its closing checkpoint; the last record's index is one less.
        opening: the checkpoint that closed the segment before, None for the first.
        closing: the checkpoint it closes at.
        rows: its records and checkpoints, in the order of the partition.
        leaves: leaf hashes of its records.
        offsets: audit offsets of its first and last record.
    """

    origin: str
    first: int
    size: int
    opening: Checkpoint | None
    closing: Checkpoint
    rows: list[Record]
    leaves: list[bytes]
    offsets: tuple[int, int]


class _Sealing(NamedTuple):
    size: int
    checkpoint: Checkpoint
    record: Record


class OpenSegment:
    """What was sealed since the last cut.

    `ahead` are leaf hashes from index `first` back that another archiver stored before this one
    saw the records: they are compared when they come, and not kept.
    """

    def __init__(
        self, first: int, opening: Checkpoint | None, ahead: Sequence[bytes] = ()
    ) -> None:
        self.first = first
        self.opening = opening
        self.bytes = 0
        self.watermark_ms = 0  # the latest record time: later than that only time goes on
        self.begun_ms = 0
        self._ahead = ahead
        self._origin = ""
        self._records: list[Record] = []
        self._leaves: list[bytes] = []
        self._sealings: list[_Sealing] = []

    @property
    def records(self) -> int:
        """How many audit records it holds."""
        return len(self._records)

    def add(self, batch: SealedBatch) -> None:
        """Take what one checkpoint sealed.

        Raises:
            BreakError: `fork`: the log differs from what is archived of it.
        """
        self._origin = batch.origin
        for record in batch.records:
            if record.index < self.first:
                self._compare(record.index, record.leaf)
                continue
            assert record.index == self.first + len(self._records)
            self._records.append(record.record)
            self._leaves.append(record.leaf)
            self.bytes += _bytes(record.record)
        is_closing = batch.size == self.first and batch.checkpoint == self.opening
        if batch.size >= self.first and not is_closing:
            self._sealings.append(_Sealing(batch.size, batch.checkpoint, batch.checkpoint_record))
            self.bytes += _bytes(batch.checkpoint_record)
        first_ms = _first_time(batch)
        self.begun_ms = self.begun_ms or max(self.watermark_ms, first_ms)
        self.watermark_ms = max(self.watermark_ms, first_ms, batch.checkpoint_record.timestamp)

    def close(self) -> ClosedSegment:
        """The segment, closed at the last checkpoint. There must be a record in it."""
        size, closing, _ = self._sealings[-1]
        assert size == self.first + len(self._records) > self.first
        rows = sorted([*self._records, *(s.record for s in self._sealings)], key=_offset)
        return ClosedSegment(
            origin=self._origin,
            first=self.first,
            size=size,
            opening=self.opening,
            closing=closing,
            rows=rows,
            leaves=self._leaves,
            offsets=(self._records[0].offset, self._records[-1].offset),
        )

    def rest(self, size: int, closing: Checkpoint, leaves: Sequence[bytes]) -> "OpenSegment":
        """What is left behind a segment that closes at `size` and begins where this one does.

        Args:
            size: of the stored segment's closing checkpoint.
            closing: that checkpoint.
            leaves: the leaf hashes of the stored segment, compared with ours so far.
        """
        held = size - self.first
        rest = OpenSegment(size, closing, leaves[len(self._records) :])
        rest._origin = self._origin
        rest._records, rest._leaves = self._records[held:], self._leaves[held:]
        rest._sealings = [
            s
            for s in self._sealings
            if s.size > size or (s.size == size and s.checkpoint != closing)
        ]
        rest.bytes = sum(map(_bytes, rest._records))
        rest.bytes += sum(_bytes(s.record) for s in rest._sealings)
        rest.watermark_ms = self.watermark_ms
        rest.begun_ms = self.watermark_ms if rest._records else 0
        return rest

    def _compare(self, index: int, leaf: bytes) -> None:
        at = index - self.first + len(self._ahead)
        if at >= 0 and self._ahead[at] != leaf:
            raise BreakError("fork", index, "the log has another leaf here than its archive")


def cut_before(segment: OpenSegment, batch: SealedBatch, rules: CutRules) -> bool:
    """Whether `segment` closes before `batch` is added to it."""
    if not segment.records:
        return False
    added = sum(_bytes(r.record) for r in batch.records) + _bytes(batch.checkpoint_record)
    first_ms = max(segment.watermark_ms, _first_time(batch))
    return (
        segment.bytes + added > rules.bytes_max
        or segment.records + len(batch.records) > rules.records_max
        or first_ms - segment.begun_ms >= rules.span_ms_max
        or (rules.daily and first_ms // DAY_MS > segment.begun_ms // DAY_MS)
    )


def cut_after(segment: OpenSegment, rules: CutRules) -> bool:
    """Whether `segment`, which just grew, closes now."""
    return bool(segment.records) and (
        segment.bytes >= rules.bytes_max or segment.records >= rules.records_max
    )


def _first_time(batch: SealedBatch) -> int:
    # A record without a timestamp has 0 in an audit partition.
    return batch.records[0].record.timestamp if batch.records else 0


def _bytes(row: Record) -> int:
    return len(row.value or b"") + ROW_BYTES


def _offset(row: Record) -> int:
    return row.offset
