"""A staging log against what it was copied from: verified as any log is, then size and root."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from projections.replay.fold import beginning
from schemas.audit_values import decode_audit_value
from schemas.records import Checkpoint, Record
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import SourceUnreadableError
from streams.history import pages
from streams.ports import PartitionReader

__all__ = ["CopyVerdict", "RootAt", "check_copy"]

RootAt = Callable[[int], Awaitable[bytes | None]]
"""Which root a source had at a size, None where it has no checkpoint of it."""


class CopyVerdict(NamedTuple):
    """What stands in a staging log. `problems` is empty where it is what its source is."""

    origin: str
    first: int
    size: int
    root: bytes
    records: int
    checkpoints: int
    problems: tuple[str, ...]


async def check_copy(
    reader: PartitionReader, origin: str, keys: TrustedKeys, root_at: RootAt
) -> CopyVerdict:
    """Verify a staging log from the checkpoint it begins with, and compare it with its source.

    Raises:
        BreakError: it breaks a rule of formats §2.
        SourceUnreadableError: nothing is there.
        TransientError.
    """
    start, end, _ = await reader.bounds()
    trail, first = None, 0
    async for page in pages(reader, start, end):
        if trail is None and page:
            first = beginning(page[0])
            trail = Trail(origin, keys, _checkpoint(page[0]) if first else None)
            trail.feed_all(page[1:] if first else page)
        elif trail is not None:
            trail.feed_all(page)
    if trail is None:
        raise SourceUnreadableError(f"{reader.topic}/{reader.partition}: no copy is there")
    trail.finish()
    return CopyVerdict(
        origin=origin,
        first=first,
        size=trail.size,
        root=trail.root,
        records=trail.records,
        checkpoints=trail.checkpoints,
        problems=tuple(await _problems(trail, root_at)),
    )


async def _problems(trail: Trail, root_at: RootAt) -> list[str]:
    problems = []
    if trail.tail:
        problems.append(f"{trail.tail} records that no checkpoint covers: the copy is unfinished")
    expected = await root_at(trail.size)
    if expected is None:
        problems.append(f"its source has no checkpoint of size {trail.size}")
    elif expected != trail.root:
        has, should = trail.root.hex(), expected.hex()
        problems.append(f"at size {trail.size} it has the root {has}, its source has {should}")
    return problems


def _checkpoint(row: Record) -> Checkpoint:
    value = decode_audit_value(row.value or b"")
    assert isinstance(value, Checkpoint)
    return value
