"""Reading an audit partition from its end, from an index, or over a range of offsets.

Everything here is a read; what is read is checked by `streams.audit` alone.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.canonical import LONG_MAX
from schemas.errors import DecodeError
from schemas.records import AuditRecord, AuditValue, Checkpoint, Record
from streams.audit.checkpoint import parse_checkpoint
from streams.audit.note import TrustedKeys
from streams.audit.recovery import LogTail, log_tail
from streams.audit.trail import Trail
from streams.errors import BreakError, SourceChangedError, TransientError
from streams.ports import Bounds, Fetched, PartitionReader

__all__ = [
    "audit_value",
    "check_rules",
    "checkpoint_size",
    "find_record",
    "last_leaves",
    "last_records",
    "leaves_of",
    "pages",
    "read_page",
    "read_range",
    "read_tail",
]

FIRST_WINDOW = 64  # offsets read back at first; ×16 until enough is in hand
PAGE_RECORDS = 2000


async def read_page(
    reader: PartitionReader, low: int, end: int, *, most: int = PAGE_RECORDS
) -> Fetched:
    """Some records from `low` on, of a partition that was seen to reach to `end`.

    Raises:
        TransientError: it does not any more, so that waiting for the rest would have no end.
    """
    try:
        fetched = await reader.fetch(low, max_records=most, max_wait_ms=50)
    except SourceChangedError as error:
        now = await reader.bounds()
        if now.start <= low <= now.high_watermark:
            raise
        raise TransientError(f"read while it changed: {error}") from error
    if fetched.next_offset == low and (await reader.bounds()).end < end:
        raise TransientError(
            f"{reader.topic}/{reader.partition} reached to offset {end} and ends before it now"
        )
    return fetched


async def pages(
    reader: PartitionReader, low: int, end: int, *, most: int = PAGE_RECORDS
) -> AsyncGenerator[list[Record], None]:
    """The committed records of [low, end), up to `most` at a time. Raises as `read_page`."""
    while low < end:
        fetched = await read_page(reader, low, end, most=most)
        yield [row for row in fetched.records if row.offset < end]
        low = fetched.next_offset


async def read_range(reader: PartitionReader, low: int, end: int) -> list[Record]:
    """Every committed record of [low, end). Raises as `read_page`."""
    return [row async for page in pages(reader, low, end) for row in page]


async def read_tail(
    audit: PartitionReader, bounds: Bounds, origin: str, keys: TrustedKeys | None
) -> LogTail | None:
    """The end of a log, or None where the partition holds no record.

    Raises:
        BreakError: the end of the log breaks a rule of formats §2.
    """
    back = FIRST_WINDOW
    while True:
        low = max(bounds.start, bounds.end - back)
        rows = await read_range(audit, low, bounds.end)
        tail = log_tail(rows, origin, keys, whole=low == bounds.start)
        if tail is not None or low == bounds.start:
            return tail
        back *= 16


class _Opening(NamedTuple):
    """Where a walk begins: behind `checkpoint` of `size`, which stands at `offset`."""

    low: int
    checkpoint: Checkpoint | None
    size: int
    offset: int


async def check_rules(
    audit: PartitionReader, bounds: Bounds, log: tuple[str, TrustedKeys | None], size: int
) -> None:
    """Hold all of the log from its last checkpoint of at most `size` on to formats §2.

    Args:
        audit: the log's partition.
        bounds: of it.
        log: origin, and the keys its checkpoints must bear.
        size: how far something outside the log vouches for it; 0: from genesis on.

    Raises:
        BreakError: the first rule it breaks.
    """
    opening = await _opening(audit, bounds, size)
    trail = Trail(*log, opening.checkpoint)
    async for page in pages(audit, opening.low, bounds.end):
        for row in page:
            value = audit_value(row)
            is_later = isinstance(value, AuditRecord) and value.index >= opening.size
            if row.offset > opening.offset or is_later:
                trail.feed(row)


async def _opening(audit: PartitionReader, bounds: Bounds, size: int) -> _Opening:
    back = FIRST_WINDOW
    whole = _Opening(bounds.start, None, 0, bounds.start - 1)
    while size:
        low = max(bounds.start, bounds.end - back)
        found, indexes = None, set[int]()
        async for page in pages(audit, low, bounds.end):
            for row in page:
                value = audit_value(row)
                if isinstance(value, AuditRecord):
                    indexes.add(value.index)
                elif value and (reached := checkpoint_size(value)) <= size:
                    found = _Opening(bounds.end - back, value, reached, row.offset)
        if bounds.end - back <= bounds.start:
            return whole
        if found and found.size - 1 in indexes:
            return found
        back *= 16
    return whole


async def last_records(reader: PartitionReader, count: int) -> list[Record]:
    """The last `count` committed records of any partition, fewer where it has fewer."""
    bounds = await reader.bounds()
    back = max(count * 2, FIRST_WINDOW)
    while True:
        low = max(bounds.start, bounds.end - back)
        rows = await read_range(reader, low, bounds.end)
        if len(rows) >= count or low == bounds.start:
            return rows[-count:] if count else []
        back *= 16


def leaves_of(rows: Sequence[Record]) -> list[AuditRecord]:
    """The audit records among some rows; what is unreadable is no leaf."""
    values = [_audit_record(row) for row in rows]
    return [value for value in values if value is not None]


async def last_leaves(audit: PartitionReader, count: int) -> list[AuditRecord]:
    """The audit records among the last `count` records of a log; what is unreadable is no leaf."""
    return leaves_of(await last_records(audit, count))


async def find_record(audit: PartitionReader, index: int) -> tuple[Record, AuditRecord] | None:
    """The audit record of a leaf index, by jumps: an offset never runs behind its index."""
    bounds = await audit.bounds()
    offset = bounds.start
    while offset < bounds.end:
        rows = await read_page(audit, offset, bounds.end, most=256)
        offset = rows.next_offset
        for row in rows.records:
            found = _audit_record(row)
            if found is None:
                continue
            if found.index == index:
                return row, found
            if found.index > index:
                return None
            offset = max(rows.next_offset, row.offset + index - found.index)
    return None


def _audit_record(row: Record) -> AuditRecord | None:
    value = audit_value(row)
    return value if isinstance(value, AuditRecord) else None


def audit_value(row: Record) -> AuditValue | None:
    """What an audit partition's record says, unverified; None where it is no such value."""
    try:
        return decode_audit_value(row.value or b"")
    except DecodeError:
        return None


def checkpoint_size(checkpoint: Checkpoint) -> int:
    """The size a checkpoint names, unverified; beyond every log's where it cannot be read."""
    try:
        return parse_checkpoint(checkpoint.note)[0].size
    except BreakError:
        return LONG_MAX
