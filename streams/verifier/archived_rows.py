"""The records of one archived log, segment by segment, each verified before it is handed out.

For whoever restores from an archive. Nothing is gone past: the first fault raises. A segment is
handed out only when its manifest follows the one before, its bytes are what that says, and every
record of it is covered by a signed checkpoint that the history before leads to. What comes later
may still be broken; what was handed out is not.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from io import BytesIO
from itertools import chain as chain_of
from typing import NamedTuple

from schemas.records import Checkpoint, Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import BreakError
from streams.ports import ObjectStore
from streams.segments import (
    ARCHIVE,
    SegmentReader,
    manifests_prefix,
    segments_prefix,
)
from streams.verifier.archive_walk import AHEAD, segment_body, segment_size
from streams.verifier.chain import ChainTerms, Link, read_chain
from streams.verifier.fetching import in_order
from streams.verifier.holdings import HeldLog, held_logs

__all__ = ["VerifiedSegment", "archived_origins", "verified_segments"]

NEVER = datetime.fromtimestamp(0, UTC)


class VerifiedSegment(NamedTuple):
    """One segment, verified.

    Attributes:
        first: index of its first record.
        size: of its closing checkpoint; the last record's index is one less.
        rows: the audit partition's records, verbatim and in order; offsets are those it had.
        checkpoint: what the closing checkpoint says.
        opening: the checkpoint that closed the segment before, None in the first.
        data_bytes: length of the file.
        sha256: of the file, lower-case hex.
        version_id: the store's id of the version that was read.
    """

    first: int
    size: int
    rows: list[Record]
    checkpoint: CheckpointText
    opening: Checkpoint | None
    data_bytes: int
    sha256: str
    version_id: str


class _Got(NamedTuple):
    data: bytes
    digest: str


async def archived_origins(store: ObjectStore) -> list[str]:
    """The logs of which an archive holds anything, in order. Raises TransientError."""
    return list(held_logs(await store.versions(ARCHIVE)))


async def verified_segments(
    store: ObjectStore,
    origin: str,
    keys: TrustedKeys,
    *,
    start: int = 0,
    anchors: Sequence[CheckpointText] = (),
) -> AsyncGenerator[VerifiedSegment, None]:
    """The segments of a log, in order, from the one that holds the index `start` on.

    Manifests are read from the first on; the segments before `start` are not. The last segment
    may lack its manifest. What is in memory besides the segment handed out: the next ones as
    stored, at most 64 MiB of them or one.

    Args:
        store: the archive.
        origin: the log.
        keys: whose checkpoints count.
        start: an index; at or above the log's size nothing is handed out.
        anchors: checkpoints kept elsewhere that the log must lead to.

    Raises:
        BreakError: the first fault; what was handed out before is good.
        TransientError, SettingsError: the store cannot be read.
    """
    prefixes = (manifests_prefix(origin), segments_prefix(origin))
    listed = [version for prefix in prefixes for version in await store.versions(prefix)]
    held = held_logs(listed).get(origin) or HeldLog.empty(origin)
    chain = await read_chain(store, held, ChainTerms(keys, locked=False, now=NEVER), _raise)
    wanted = [link for link in chain.links if link.closing is None or link.closing.size > start]
    before = chain.links[: len(chain.links) - len(wanted)]
    trail = Trail(origin, keys, anchors=anchors)
    due = before[-1].note if before else ""
    pages = in_order(wanted, partial(_fetch, store), segment_size, AHEAD)
    async with aclosing(pages) as fetched:
        async for link, got in fetched:
            segment = await asyncio.to_thread(_verified, trail, link, got, due)
            due = ""
            if segment.size > start:
                yield segment
    if wanted:
        trail.finish()


def _raise(found: BreakError) -> None:
    raise found


async def _fetch(store: ObjectStore, link: Link) -> _Got:
    data = await segment_body(store, link.kept, by_version=True)
    if data is None:
        raise BreakError("archive", link.first, f"the segment of {link.first} cannot be read")
    return _Got(data, await asyncio.to_thread(_digest, data))


def _verified(trail: Trail, link: Link, got: _Got, due: str) -> VerifiedSegment:
    if link.sha256 and got.digest != link.sha256:
        detail = f"the segment of {link.first} has the SHA-256 {got.digest}, by its manifest "
        raise BreakError("archive", link.first, detail + link.sha256)
    reader = SegmentReader(BytesIO(got.data), first=link.first)
    rows: list[Record] = []
    opening = reader.opening
    batches = reader.batches()
    begin = next(batches, [])
    if due and (opening is None or opening.note != due):
        detail = "the segment does not begin where the manifest before closes"
        raise BreakError("archive", link.first, detail)
    trail.begin_file(reader.first, opening)
    for batch in chain_of([begin], batches):
        trail.feed_all(batch)
        rows += batch
    trail.end_file()
    checkpoint = CheckpointText(trail.origin or "", trail.size, trail.root)
    if link.closing is not None and link.closing != checkpoint:
        detail = "the segment does not close as its manifest says"
        raise BreakError("archive", link.first, detail)
    assert link.kept is not None
    return VerifiedSegment(
        first=link.first,
        size=trail.size,
        rows=rows,
        checkpoint=checkpoint,
        opening=opening,
        data_bytes=len(got.data),
        sha256=got.digest,
        version_id=link.kept.version_id,
    )


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
