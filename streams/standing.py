"""What of a stopped log is good, and from where its source has to be sealed anew.

An operator who forks a log accepts a checkpoint of it. Here the newest one is found that a walk
over the whole log leads to, with every rule of formats §2, and that no anchor contradicts; and the
first source offset that the log up to there does not hold as the source has it now. Sealing the
next epoch from that offset leaves nothing out: at worst it seals again what was sealed before.

All anchors are compared, not the newest alone: whoever holds a log's key can add one of a history
of his own, and none of them takes an older one back.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from schemas.audit_values import encode_content
from schemas.records import AuditRecord, Record
from streams.anchors import AnchorStore
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import TrustedKeys
from streams.audit.trail import Seal, Trail
from streams.errors import BreakError
from streams.history import leaves_of, pages, read_range
from streams.ports import PartitionReader

__all__ = ["LogAtRest", "Standing", "first_unsealed", "what_stands"]

WINDOWS = (1_000, 16_000, 100_000)  # leaves compared with the source, backwards


class LogAtRest(NamedTuple):
    """A log that nobody seals now: `audit` is its partition, None where that is gone."""

    origin: str
    keys: TrustedKeys
    anchors: AnchorStore
    audit: PartitionReader | None


class Standing(NamedTuple):
    """The good part of a log.

    Attributes:
        size: of the checkpoint that is its end, 0 where nothing is good.
        root: of that size.
        offset: the source offset behind its last leaf, None without a leaf.
        records: records that stand in the partition, those behind `size` included.
        end: the audit offset up to which it was read: the partition's, or that of the break.
        broken: why the log is not good further on; empty where it is.
        kind: of that break.
        is_born: a genesis stands in the partition.
        anchored: the largest size that is anchored, 0 without an anchor.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    offset: int | None = None
    records: int = 0
    end: int = 0
    broken: str = ""
    kind: str = ""
    anchored: int = 0
    is_born: bool = False


class _Sealed(NamedTuple):
    size: int
    root: bytes
    offset: int | None


async def what_stands(log: LogAtRest, most: int | None = None) -> Standing:
    """Walk all of a log. `most`: accept no larger checkpoint than of this size.

    Raises:
        TransientError: the log or its anchors cannot be read.
    """
    anchors = await log.anchors.all_kept(log.origin, log.keys)
    anchored = max((anchor.size for anchor in anchors), default=0)
    if log.audit is None:
        return Standing(anchored=anchored)
    trail = Trail(log.origin, log.keys, anchors=anchors)
    sealed, end, broken = await _walked(log.audit, trail)
    is_born = bool(sealed)
    if broken is not None and broken.kind == "fork":
        # From where on the log is another history nothing in it can tell. The anchors can: the
        # break is named by the largest one that agrees below the first that does not.
        sealed = [one for one in sealed if one.size <= broken.index]
    if most is not None:
        sealed = [one for one in sealed if one.size <= most]
    size, root, offset = sealed[-1] if sealed else _Sealed(0, EMPTY_ROOT, None)
    kind = "" if broken is None else broken.kind
    return Standing(
        size, root, offset, trail.records, end, str(broken or ""), kind, anchored, is_born
    )


async def first_unsealed(
    audit: PartitionReader, source: PartitionReader, standing: Standing, begin: int
) -> int:
    """The first offset of the source from which on it holds what the good part does not.

    Args:
        audit: the log's partition.
        source: the partition it was sealed from, under whatever leader.
        standing: the good part.
        begin: where the log began.

    Raises:
        TransientError: one of them cannot be read.
    """
    if standing.offset is None:
        return begin
    bounds, low = await source.bounds(), (await audit.bounds()).start
    behind = min(standing.offset, bounds.end)
    for count in WINDOWS:
        first = max(low, standing.end - 2 * count)
        leaves = leaves_of(await read_range(audit, first, standing.end))
        kept = [leaf for leaf in leaves if leaf.index < standing.size]
        compared = [leaf for leaf in kept if leaf.source.offset >= bounds.start]
        if not kept:
            continue  # all of the window lies behind the good part
        if not compared:
            return behind  # retention took everything that could be compared
        differing = await _differing(source, compared, behind)
        if differing is None:
            return behind
        is_whole = first == low or len(compared) < len(kept)
        if is_whole or differing > compared[0].source.offset:
            return differing
    return max(begin, bounds.start)


async def _walked(
    audit: PartitionReader, trail: Trail
) -> tuple[list[_Sealed], int, BreakError | None]:
    """Every checkpoint before the first break, the offset where the walk ended, and the break."""
    sealed: list[_Sealed] = []
    waiting: deque[tuple[int, int]] = deque()
    last: int | None = None
    bounds = await audit.bounds()
    async for page in pages(audit, bounds.start, bounds.end):
        for row in page:
            try:
                fed = trail.feed(row)
            except BreakError as found:
                return sealed, row.offset, found
            if isinstance(fed, AuditRecord):
                waiting.append((fed.index, fed.source.offset))
            elif isinstance(fed, Seal):
                while waiting and waiting[0][0] < fed.size:
                    last = waiting.popleft()[1] + 1
                sealed.append(_Sealed(fed.size, fed.root, last))
    return sealed, bounds.end, None


async def _differing(
    source: PartitionReader, leaves: Sequence[AuditRecord], end: int
) -> int | None:
    """The first record of the source, from the first leaf's on, that is none of these leaves."""
    sealed = {leaf.source.offset: leaf for leaf in leaves}
    async for page in pages(source, leaves[0].source.offset, end):
        for row in page:
            if not _is_leaf(row, sealed.get(row.offset)):
                return row.offset
    return None


def _is_leaf(row: Record, leaf: AuditRecord | None) -> bool:
    if leaf is None:
        return False
    return (leaf.source.timestamp, leaf.content) == (row.timestamp, encode_content(row))
