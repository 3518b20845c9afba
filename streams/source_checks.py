"""Comparing what was sealed with what the source holds now.

Only what retention left can be compared. Where the source gives no clear answer because it
changed between two questions, it is asked again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.audit_values import encode_content
from schemas.records import AuditRecord, Record
from streams.errors import SourceChangedError
from streams.ports import Bounds, PartitionReader, SourcePartition

__all__ = ["NO_EPOCH", "Compared", "compare_with_source"]

PAGE_RECORDS = 2000
NO_EPOCH = -1


class Compared(NamedTuple):
    """The source's bounds when it was compared, and the leader epoch its records came under."""

    bounds: Bounds
    epoch: int


class _Held(NamedTuple):
    rows: list[Record]
    epoch: int


async def compare_with_source(
    origin: str, source: SourcePartition, records: Sequence[AuditRecord]
) -> Compared:
    """Compare what retention left of consecutive sealed `records` with the source.

    Raises:
        SourceChangedError: a record is gone above the log start, another one, or was left out.
        TransientError: the source gives no answer.
    """
    while True:
        bounds = await source.bounds()
        kept = [r for r in records if r.source.offset >= bounds.start]
        found = await _still_held(source, kept, bounds) if kept else _Held([], NO_EPOCH)
        if found is not None:
            break
        # Retention passed, or the source was cut, between two questions: ask again.
    held = {row.offset: row for row in found.rows}
    for record in kept:
        row = held.get(record.source.offset)
        if row is None or not _same(record, row):
            what = "is gone" if row is None else "is another record now"
            raise SourceChangedError(
                f"{origin}: what was sealed as leaf {record.index} {what} at offset "
                f"{record.source.offset} of {source.topic}/{source.partition}: the source was "
                "truncated or rewritten; keep the log as evidence and fork it"
            )
    _check_none_left_out(origin, source, kept, held)
    return Compared(bounds, found.epoch)


def _check_none_left_out(
    origin: str,
    source: PartitionReader,
    kept: Sequence[AuditRecord],
    held: Mapping[int, Record],
) -> None:
    """Between sealed records the source holds no other: a foreign writer may have skipped some."""
    sealed = {record.source.offset for record in kept}
    left_out = [o for o in held if o not in sealed and kept and o < kept[-1].source.offset]
    if left_out:
        raise SourceChangedError(
            f"{origin}: the record at offset {left_out[0]} of {source.topic}/"
            f"{source.partition} has no leaf, and records behind it have: somebody else wrote "
            "to the audit topic; see who may, keep the log as evidence and fork it"
        )


async def _still_held(
    reader: PartitionReader, kept: Sequence[AuditRecord], bounds: Bounds
) -> _Held | None:
    """The records at the offsets of `kept`, None where `bounds` are not true any more."""
    low, end = kept[0].source.offset, min(kept[-1].source.offset + 1, bounds.end)
    rows: list[Record] = []
    epoch = NO_EPOCH
    try:
        while low < end:
            fetched = await reader.fetch(low, max_records=PAGE_RECORDS, max_wait_ms=50)
            if fetched.next_offset == low:
                return None
            rows += fetched.records
            epoch = max(epoch, fetched.epoch)
            low = fetched.next_offset
    except SourceChangedError:
        if low >= (await reader.bounds()).start:
            raise
        return None
    return _Held(rows, epoch)


def _same(record: AuditRecord, row: Record) -> bool:
    return row.timestamp == record.source.timestamp and encode_content(row) == record.content
