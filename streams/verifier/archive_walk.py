"""What is read of an archived log: which segments, and what they say.

Segments are fetched ahead and read in order. Those that follow each other are one history, walked
as any log; behind a gap that was not read, the next one begins at its opening, which must be the
checkpoint that the manifest before closes at. Where reading goes on behind what was verified
before, the last segment of that is read again, so that the seam is walked too.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import EMPTY_ROOT
from streams.errors import BreakError
from streams.ports import ObjectStore, ObjectVersion
from streams.segments import schema_digests
from streams.verifier.chain import Chain, Link
from streams.verifier.digesting import Digests
from streams.verifier.faults import Faults
from streams.verifier.fetching import Ahead, in_order
from streams.verifier.progress import Progress
from streams.verifier.remembered import Remembered, Verified
from streams.verifier.replica import ComparedReplica
from streams.verifier.sampling import Sample
from streams.verifier.verdicts import LogVerdict, Trust
from streams.verifier.walk import LogWalk

__all__ = [
    "AHEAD",
    "SEGMENT_FILE_MAX",
    "ArchiveWalk",
    "ArchivedLog",
    "Reading",
    "forgotten",
    "segment_body",
    "segment_size",
]

SEGMENT_FILE_MAX = 256 * 2**20  # four times what an archiver writes
AHEAD = Ahead()


class Reading(NamedTuple):
    """How segments are read; as in `ArchiveRequest`.

    `replica` is a place to be read too. `by_version`: the store has versions to be read by.
    """

    level: str
    sample: Sample | None
    remembered: Remembered | None
    replica: ObjectStore | None
    progress: Progress
    digests: Digests
    now_ms: int
    by_version: bool


def forgotten(seen: Verified) -> str:
    """What is wrong where the chain does not lead to what was verified before."""
    return (
        f"what was verified before, up to {seen.first} and its manifest {seen.manifest}, is not "
        "here any more; where that is as it should be, remove the file of --resume"
    )


class ArchivedLog(NamedTuple):
    """A log as it was found before any segment is read."""

    origin: str
    chain: Chain
    replica: ComparedReplica | None


class _Got(NamedTuple):
    data: bytes | None
    digest: str
    in_replica: str | None  # the digest there; None where it is not read


class ArchiveWalk:
    """Reads one log of an archive."""

    def __init__(
        self,
        store: ObjectStore,
        trust: Trust,
        reading: Reading,
        log: ArchivedLog,
        faults: Faults,
    ) -> None:
        origin, self._chain, self._replica = log
        self._store = store
        self._trust = trust
        self._origin = origin
        self._reading = reading
        self._links: Sequence[Link] = self._chain.links
        self._faults = faults
        self._walk: LogWalk | None = None
        self._walked: list[LogVerdict] = []
        self._compared: set[CheckpointText] = set()
        self._begun_at = 0  # the first index of the walk
        self._limits: list[int] = []  # sizes up to which walks that broke were good
        self._is_at_end = False  # the last walk went over the last segment
        self._before = self._known = 0  # leading segments that were verified before
        self._since_ms = reading.now_ms
        self._chosen: list[int] = []
        self._size_read = 0

    @property
    def told(self) -> dict[str, Any]:
        """Members of the archive's report."""
        sample, chosen = self._reading.sample, set(self._chosen)
        remembered = sum(at not in chosen for at in range(self._before))
        return {
            "level": self._reading.level,
            "segments": len(self._links),
            "read": len(chosen),
            "without_manifest": sum(not link.manifest for link in self._links),
            "remembered": remembered,
            "remembered_ms": self._since_ms if remembered else None,
            "size": sum(segment_size(link) for link in self._links),
            "size_read": self._size_read,
            "percent": sample and sample.percent,
            "seed": sample and sample.seed,
        }

    async def verify(self) -> LogVerdict:
        """Read what is to be read. Raises TransientError, SettingsError."""
        self._recall()
        if self._reading.level != "list":
            self._chosen = self._plan()
            await self._read()
        self._compare_closings()
        return self._verdict()

    def _recall(self) -> None:
        memory = self._reading.remembered
        if memory is None:
            return
        there = {(link.first, link.manifest) for link in self._links}
        for seen in memory.all_of(self._origin):
            if (seen.first, seen.manifest) not in there:
                self._faults.note(BreakError("archive", seen.first, forgotten(seen)))
        verified = memory.of(self._origin, self._reading.level)
        if verified is None:
            return
        for at, link in enumerate(self._links):
            if link.first in self._chain.faulty:
                return
            if (link.first, link.manifest) == (verified.first, verified.manifest):
                self._before = at + 1
                self._since_ms = verified.at_ms
                return

    def _plan(self) -> list[int]:
        """The positions of the segments to be read.

        Always among them: the last one, what no manifest vouches for, and where an anchor ends.
        """
        links, sample = self._links, self._reading.sample
        self._known = max(self._before - 1, 0)
        chosen = set(range(self._known, len(links)))
        if sample is not None:
            chosen = sample.of(self._origin, [link.first for link in links])
            chosen |= {at for at, link in enumerate(links) if not link.manifest}
            chosen |= {len(links) - 1} if links else set()
        if self._reading.level == "record":
            chosen |= set(self._anchored_inside())
        return sorted(chosen)

    def _anchored_inside(self) -> Iterable[int]:
        sizes = sorted({anchor.size for anchor in self._trust.known} - self._chain.closings.keys())
        firsts = [link.first for link in self._links]
        inside = {bisect_left(firsts, size) - 1 for size in sizes}
        return (at for at in inside if at >= 0)

    async def _read(self) -> None:
        sizes = [segment_size(self._links[at]) for at in self._chosen]
        self._reading.progress.begin(self._origin, sum(sizes))
        ends = _runs(self._chosen)
        pages = in_order(
            self._chosen, self._fetch, lambda at: segment_size(self._links[at]), AHEAD
        )
        async with aclosing(pages) as fetched:
            async for at, got in fetched:
                if self._reading.level == "record" and at in ends:
                    self._begin_walk(at, ends[at])
                elif self._is_next(self._links[at]):
                    # No manifest says yet what it is: its records alone can.
                    self._begin_walk(at, at)
                await self._take(at, got, is_joined=at not in ends)
        self._end_walk()

    def _is_next(self, link: Link) -> bool:
        """Whether, at level `file`, it is the one behind the last manifest, and lacks its own."""
        is_next = link.first == max(self._chain.closings, default=0)
        return self._reading.level == "file" and is_next and not link.manifest

    def _begin_walk(self, start: int, end: int) -> None:
        self._end_walk()
        self._begun_at = self._links[start].first if start else 0
        self._is_at_end = end == len(self._links) - 1
        self._walk = LogWalk(
            self._trust_between(start, end),
            self._origin,
            progress=self._reading.progress,
            digests=self._reading.digests,
        )

    def _trust_between(self, start: int, end: int) -> Trust:
        """For a walk over positions: the anchors in it, in the last walk those beyond it too."""
        low = self._links[start].first if start else -1
        closing = self._links[end].closing
        is_last = end == len(self._links) - 1 or closing is None

        def within(anchors: Iterable[CheckpointText]) -> tuple[CheckpointText, ...]:
            return tuple(
                anchor
                for anchor in anchors
                if anchor.size > low and (is_last or (closing and anchor.size <= closing.size))
            )

        trust = self._trust
        return replace(
            trust,
            anchors=within(trust.anchors),
            heads=within(trust.heads),
            beside=within(trust.beside),
        )

    async def _fetch(self, at: int) -> _Got:
        link = self._links[at]
        data = await segment_body(self._store, link.kept, by_version=self._reading.by_version)
        theirs = self._replica.kept.get(link.first) if self._replica else None
        in_replica = None
        if self._reading.replica is not None and theirs is not None:
            other = await segment_body(self._reading.replica, theirs, by_version=True)
            in_replica = await asyncio.to_thread(_digest, other)
        return _Got(data, await asyncio.to_thread(_digest, data), in_replica)

    async def _take(self, at: int, got: _Got, *, is_joined: bool) -> None:
        link = self._links[at]
        if got.data is None:
            if link.kept is not None:
                self._fault(link, f"{link.kept.key} is listed and cannot be read")
            return
        self._size_read += len(got.data)
        if link.sha256 and got.digest != link.sha256:
            detail = f"the segment of {link.first} has the SHA-256 {got.digest}, by its manifest "
            self._fault(link, detail + link.sha256)
        self._compare(link, got)
        if self._walk is None:
            self._reading.progress.advance(0, len(got.data))
        else:
            await self._feed(self._walk, at, got.data, is_joined=is_joined)
        self._remember(at)

    def _compare(self, link: Link, got: _Got) -> None:
        if got.in_replica is None or self._replica is None:
            return
        self._replica.read += 1
        if got.in_replica != (link.sha256 or got.digest):
            detail = f"replica: the segment of {link.first} has the SHA-256 {got.in_replica}"
            self._fault(link, detail)

    async def _feed(self, walk: LogWalk, at: int, data: bytes, *, is_joined: bool) -> None:
        link = self._links[at]
        await asyncio.to_thread(walk.feed_file, BytesIO(data), first=link.first)
        if walk.breaks:
            return
        is_joined &= self._reading.level == "record"
        due = "" if is_joined or not at else self._links[at - 1].note
        if due and (walk.opening is None or walk.opening.note != due):
            self._fault(link, "the segment does not begin where the manifest before closes")
        size, root = walk.head
        if not link.manifest:
            return
        if self._chain.closings.get(size) != root:
            self._fault(link, "the segment does not close as its manifest says")
        if walk.offsets != link.offsets or schema_digests(walk.schemas) != link.schemas:
            self._fault(link, "the manifest says other offsets or schemas than its segment")

    def _remember(self, at: int) -> None:
        """Whatever is wrong anywhere, nothing behind it is remembered."""
        memory, link = self._reading.remembered, self._links[at]
        is_good = not self._faults.breaks and not (self._walk and self._walk.breaks)
        if memory is None or at != self._known or not (is_good and link.manifest):
            return
        self._known += 1
        verified = Verified(link.first, link.manifest, self._since_ms)
        memory.advance(self._origin, self._reading.level, verified)

    def _end_walk(self) -> None:
        walk, self._walk = self._walk, None
        if walk is None:
            return
        verdict = walk.verdict()
        self._compared.update(walk.compared)
        if verdict.breaks:
            self._limits.append(max(verdict.size, self._begun_at))
        for found in verdict.breaks:
            # A walk that could not begin knows no index of its own.
            index = max(found.index, self._begun_at)
            self._faults.note(BreakError(found.kind, index, found.detail))
        self._walked.append(verdict)

    def _compare_closings(self) -> None:
        """Anchors that no walk met, with the checkpoints that manifests close at."""
        closings, binding = self._chain.closings, set(self._trust.binding)
        end = max(closings, default=0)
        for anchor in self._trust.known:
            if anchor in self._compared:
                continue
            if anchor.size in closings:
                self._compared.add(anchor)
                if closings[anchor.size] != anchor.root:
                    detail = f"the anchor of size {anchor.size} has another root"
                    self._faults.note(BreakError("fork", 0, detail))
            elif anchor.size > end and not self._is_at_end and anchor in binding:
                self._compared.add(anchor)
                detail = f"the archive ends here, and an anchor has {anchor.size} records"
                self._faults.note(BreakError("shorter_than_anchor", end, detail))

    def _verdict(self) -> LogVerdict:
        walked, breaks = self._walked, self._faults.breaks
        last = walked[-1] if walked else LogVerdict(origin=self._origin)
        size, root = self._good(last)
        is_whole = self._reading.level == "record" and self._reading.sample is None
        checkpoints = sum(one.checkpoints for one in walked)
        if not walked:
            checkpoints = len(self._chain.closings)
        return LogVerdict(
            origin=self._origin,
            first=self._links[0].first if self._links else 0,
            size=size,
            root=root,
            records=sum(one.records for one in walked),
            tail=last.tail,
            checkpoints=checkpoints,
            **self._trust.states(self._compared),
            breaks=breaks,
            note=last.note if is_whole and not breaks else "",
        )

    def _good(self, last: LogVerdict) -> tuple[int, str]:
        """The last good checkpoint before the first break."""
        good = {size: root.hex() for size, root in self._chain.closings.items()}
        good |= {one.size: one.root for one in self._walked if one.size}
        limits = list(self._limits)
        index = self._faults.index_of("archive")
        limits += [] if index is None else [index]
        if not limits and self._walked:
            return last.size, last.root
        size = max((size for size in good if not limits or size <= min(limits)), default=0)
        return size, good.get(size, EMPTY_ROOT.hex())

    def _fault(self, link: Link, detail: str) -> None:
        self._faults.note(BreakError("archive", link.first, detail))


async def segment_body(
    store: ObjectStore, version: ObjectVersion | None, *, by_version: bool
) -> bytes | None:
    """A segment's bytes; None where it cannot be read, or is longer than any segment.

    A directory has one version of a name, and would hash it to compare: its manifest does that.
    """
    if version is None or version.size > SEGMENT_FILE_MAX:
        return None
    return await store.get(version.key, version.version_id if by_version else None)


def _runs(positions: Sequence[int]) -> dict[int, int]:
    """Where each run of consecutive positions begins, and where it ends."""
    runs: dict[int, int] = {}
    start = -1
    for at in positions:
        start = start if start in runs and runs[start] == at - 1 else at
        runs[start] = at
    return runs


def _digest(data: bytes | None) -> str:
    return sha256(data or b"").hexdigest()


def segment_size(link: Link) -> int:
    """As listed."""
    return link.kept.size if link.kept else 0
