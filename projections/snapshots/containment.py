"""Whether a log holds the checkpoint a state was saved at, and where it goes on behind it.

A state of another history, or of a longer one, would be carried on as if it were this one's. So
the log itself is asked: the checkpoint of that size must stand in it with that root, signed by the
keys that are trusted now. Nothing is remembered of offsets: after a restore from the archive the
same leaves have others.
"""

from collections.abc import Callable
from typing import NamedTuple

from projections.snapshots.manifest import SavedAt
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import Checkpoint, Record
from streams.audit.checkpoint import CheckpointText, parse_checkpoint
from streams.audit.note import MalformedError, TrustedKeys
from streams.audit.trail import Trail
from streams.errors import BreakError
from streams.history import find_record, pages
from streams.ports import PartitionReader

__all__ = ["LogToFit", "check_ended", "check_opening", "place_behind"]


def _goes_on() -> int | None:
    return None


class LogToFit(NamedTuple):
    """The log a state must belong to: how it is opened, and whose signatures count.

    `ended`: at how many leaves the operator ended it; None where it goes on. What comes behind is
    void, and no state may have it.
    """

    open_reader: Callable[[], PartitionReader]
    keys: TrustedKeys
    ended: Callable[[], int | None] = _goes_on


def check_ended(saved_at: SavedAt, log: LogToFit) -> None:
    """A state must not have leaves that became void when its log was ended.

    Raises:
        SnapshotRefusedError: it has.
    """
    ended = log.ended()
    if ended is not None and saved_at.size > ended:
        raise SnapshotRefusedError(
            f"it has {saved_at.size} leaves of {saved_at.origin}, which its operator ended at "
            f"{ended}"
        )


def check_opening(saved_at: SavedAt, keys: TrustedKeys) -> None:
    """The checkpoint must be the one the state says, well formed and signed by a trusted key.

    Raises:
        SnapshotRefusedError: it is not.
    """
    origin, size, root, opening = saved_at
    try:
        Trail(origin, keys, opening)
        text, _ = parse_checkpoint(opening.note)
    except (BreakError, MalformedError) as error:
        raise SnapshotRefusedError(f"its checkpoint does not verify: {error}") from error
    if text != CheckpointText(origin, size, root):
        raise SnapshotRefusedError(
            f"its checkpoint is of size {text.size}, its state of {size}, or their roots differ"
        )


async def place_behind(saved_at: SavedAt, reader: PartitionReader) -> int:
    """The offset behind the last saved record: at or below that of the first one behind it.

    Raises:
        SnapshotRefusedError: the log does not hold that checkpoint.
        TransientError: no answer.
    """
    origin, size, root, _ = saved_at
    last = await find_record(reader, size - 1)
    found = None if last is None else await _checkpoint_behind(reader, last[0].offset + 1, size)
    if last is None or found is None or found.size != size:
        raise SnapshotRefusedError(
            f"it is of {size} leaves of {origin}, and the log holds no checkpoint of that size: "
            "the log is another, or lost its end"
        )
    if found.root != root:
        raise SnapshotRefusedError(
            f"it is of another history of {origin}: at size {size} its root is {root.hex()}, "
            f"the log's {found.root.hex()}"
        )
    return last[0].offset + 1


async def _checkpoint_behind(
    reader: PartitionReader, offset: int, size: int
) -> CheckpointText | None:
    """The first checkpoint of at least this size from an offset on."""
    end = (await reader.bounds()).end
    async for page in pages(reader, offset, end):
        for record in page:
            text = _checkpoint_text(record)
            if text is not None and text.size >= size:
                return text
    return None


def _checkpoint_text(record: Record) -> CheckpointText | None:
    try:
        value = decode_audit_value(record.value or b"")
        return parse_checkpoint(value.note)[0] if isinstance(value, Checkpoint) else None
    except (DecodeError, BreakError):
        # Whether the log is intact is for its readers to say.
        return None
