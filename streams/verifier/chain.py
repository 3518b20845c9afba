"""The chain of manifests over the segments of one log, and the locks of both (formats §8).

What can be said of an archive without reading a segment: that no index is missing between the
segments, that each manifest follows the one before and closes at a checkpoint that is signed, that
what stands under each name is the version, size and checksum its manifest speaks of, that nothing
was laid over it, and that it is locked for as long as was promised. The last segment may lack its
manifest, since it is written after it.

A version that a store lists and locks may still not be the bytes it says: those are read, and
compared with the manifest, by `streams.verifier.archive`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple

from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.note import TrustedKeys
from streams.errors import BreakError
from streams.ports import ObjectInfo, ObjectStore, ObjectVersion
from streams.segments import FIRST_PREVIOUS, Manifest, manifest_name, segment_name
from streams.verifier.fetching import Ahead, in_order
from streams.verifier.holdings import HeldLog, oldest
from streams.verifier.object_checks import checksum_fault, lock_fault, shadow_fault
from streams.verifier.progress import SILENT, Progress

__all__ = ["MANIFEST_BYTES_MAX", "Chain", "ChainTerms", "Link", "Note", "read_chain"]

MANIFEST_BYTES_MAX = 2**20
AHEAD = Ahead()
Note = Callable[[BreakError], None]


class Link(NamedTuple):
    """One segment, as the store lists it and its manifest speaks of it.

    Attributes:
        first: index of its first record, by its name.
        kept: the version that counts; None where no version of it is listed.
        manifest: SHA-256 of its manifest as stored, lower-case hex; empty without one.
        sha256: what the manifest says of the segment, likewise.
        note: the checkpoint the manifest says it closes at, verbatim; empty without one.
        closing: what that checkpoint says, None where it is not good.
        offsets: by the manifest, the audit offsets of its first record and of its last.
        schemas: by the manifest, SHA-256 of each schema text in it.
        retain_until: by the manifest, how long it is locked.
    """

    first: int
    kept: ObjectVersion | None
    manifest: str
    sha256: str
    note: str
    closing: CheckpointText | None
    offsets: tuple[int, int] | None = None
    schemas: Mapping[str, str] = MappingProxyType({})
    retain_until: datetime | None = None


class ChainTerms(NamedTuple):
    """What a chain is held to.

    Attributes:
        keys: whose checkpoints count; None checks no signature.
        locked: the store enforces retention, so a missing lock is a break.
        now: the time locks are compared with.
        locked_until: every lock must last until then at least; None for what manifests promise.
        progress: told of every link.
    """

    keys: TrustedKeys | None
    locked: bool
    now: datetime
    locked_until: datetime | None = None
    progress: Progress = SILENT


@dataclass(slots=True, kw_only=True)
class Chain:
    """The links of one log, in order.

    Attributes:
        links: a link a segment.
        faulty: first indexes of links whose object may not be the one that was archived.
        locked_until: when the first of all locks ends, None without locks.
        ended: how many locks have ended already.
    """

    links: list[Link] = field(default_factory=list)
    faulty: set[int] = field(default_factory=set)
    locked_until: datetime | None = None
    ended: int = 0

    @property
    def digests(self) -> set[str]:
        """SHA-256 of every manifest, lower-case hex."""
        return {link.manifest for link in self.links if link.manifest}

    @property
    def closings(self) -> dict[int, bytes]:
        """Root by size, of every good checkpoint a manifest closes at."""
        return {text.size: text.root for link in self.links if (text := link.closing)}


class _Found(NamedTuple):
    versions: Sequence[ObjectVersion]  # of the manifest
    body: bytes | None  # of its oldest version
    locks: tuple[ObjectInfo | None, ObjectInfo | None]  # of segment and manifest


async def read_chain(store: ObjectStore, held: HeldLog, terms: ChainTerms, note: Note) -> Chain:
    """Read all manifests of a log and ask for all locks. Raises TransientError, SettingsError."""
    return await _ChainReader(store, held, terms, note).read()


class _ChainReader:
    def __init__(self, store: ObjectStore, held: HeldLog, terms: ChainTerms, note: Note) -> None:
        self._store = store
        self._held = held
        self._terms = terms
        self._note = note
        self._chain = Chain()
        self._previous = FIRST_PREVIOUS
        self._due: int | None = 0  # None: behind a link that says no end
        self._newest = max(held.manifests, default=-1)

    async def read(self) -> Chain:
        firsts = self._held.firsts
        self._terms.progress.begin(f"manifests of {self._held.origin}", len(firsts))
        pages = in_order(firsts, self._fetch, lambda _: MANIFEST_BYTES_MAX, AHEAD)
        async with aclosing(pages) as fetched:
            async for first, found in fetched:
                self._take(first, found, is_last=first == firsts[-1])
                self._terms.progress.advance(0, 1)
        return self._chain

    async def _fetch(self, first: int) -> _Found:
        versions = self._held.manifests.get(first, [])
        if not versions and first > self._newest:
            # It may have been written since the listing came by its name.
            versions = await self._store.versions(manifest_name(self._held.origin, first))
        kept = oldest(versions)
        body = None
        if kept is not None and kept.size <= MANIFEST_BYTES_MAX:
            body = await self._store.get(kept.key, kept.version_id)
        segment = oldest(self._held.segments.get(first, ()))
        return _Found(versions, body, (await self._head(segment), await self._head(kept)))

    async def _head(self, version: ObjectVersion | None) -> ObjectInfo | None:
        if version is None or not self._terms.locked:
            return None
        return await self._store.head(version.key, version.version_id)

    def _take(self, first: int, found: _Found, *, is_last: bool) -> None:
        segments = self._held.segments.get(first, [])
        for versions in (segments, found.versions):
            self._check_versions(first, versions)
        if self._due is not None and first != self._due:
            detail = f"the next segment begins at {first}, not at {self._due}"
            self._fault(min(first, self._due), detail)
            if first < self._due:
                return  # Inside another segment: whatever it holds, the log goes on without it.
        manifest = self._manifest(first, found, is_last=is_last)
        closing = None if manifest is None else self._closing(first, manifest)
        kept = oldest(segments)
        if kept is None:
            self._fault(first, f"the segment of {first} is missing")
        elif manifest is not None:
            self._check_version(first, kept, manifest)
        if self._terms.locked:
            self._check_locks(first, (kept, oldest(found.versions)), found, manifest)
        self._due = None if closing is None else closing.size
        link = Link(first, kept, "", "", "", closing)
        if manifest is not None:
            link = link._replace(
                manifest=self._previous,
                sha256=manifest.sha256,
                note=manifest.checkpoint,
                offsets=(manifest.first_offset, manifest.last_offset),
                schemas=manifest.schemas,
                retain_until=manifest.retain_until,
            )
        self._chain.links.append(link)

    def _check_versions(self, first: int, versions: Sequence[ObjectVersion]) -> None:
        # The oldest version is the object all the same, and is checked as if it were alone.
        if detail := shadow_fault(versions):
            self._note(BreakError("archive", first, detail))

    def _manifest(self, first: int, found: _Found, *, is_last: bool) -> Manifest | None:
        if found.body is None:
            if oldest(found.versions) is not None:
                self._fault(first, f"the manifest of {first} is listed and cannot be read")
            elif not is_last:
                self._fault(first, f"the segment of {first} has no manifest")
            return None
        try:
            manifest = Manifest.parse(found.body, first=first)
        except BreakError as error:
            self._fault(first, error.detail)
            return None
        named = manifest.origin, manifest.segment, manifest.first_index
        if named != (self._held.origin, segment_name(self._held.origin, first), first):
            self._fault(first, "the manifest is another segment's")
        if manifest.previous != self._previous:
            self._fault(first, "the manifest does not follow the one before")
        self._previous = sha256(found.body).hexdigest()
        return manifest

    def _closing(self, first: int, manifest: Manifest) -> CheckpointText | None:
        try:
            closing = open_note(manifest.checkpoint, self._held.origin, self._terms.keys, at=first)
        except BreakError as error:
            self._fault(first, f"the manifest's checkpoint: {error.detail}")
            return None
        if closing.size != manifest.last_index + 1:
            self._fault(first, f"the manifest's checkpoint has the size {closing.size}")
            return None
        return closing

    def _check_version(self, first: int, kept: ObjectVersion, manifest: Manifest) -> None:
        if self._terms.locked:
            is_named = manifest.version_id == kept.version_id
        else:
            # A directory names its versions by content; its manifests may come from a bucket.
            names = (manifest.version_id, manifest.sha256[: len(kept.version_id)])
            is_named = kept.version_id in names
        if not is_named:
            self._fault(first, "the manifest names another version of its segment")
        if manifest.segment_bytes != kept.size:
            detail = f"{kept.key} has {kept.size} bytes, by its manifest {manifest.segment_bytes}"
            self._fault(first, detail)

    def _check_locks(
        self,
        first: int,
        objects: tuple[ObjectVersion | None, ObjectVersion | None],
        found: _Found,
        manifest: Manifest | None,
    ) -> None:
        digests = (manifest.sha256 if manifest else "", sha256(found.body or b"").hexdigest())
        for kept, info, digest in zip(objects, found.locks, digests, strict=True):
            if kept is None:
                continue
            if info is None:
                self._fault(first, f"{kept.key} is listed and cannot be read")
                continue
            if detail := checksum_fault(kept, info, digest):
                self._fault(first, detail)
            least = None if manifest is None else manifest.retain_until
            promised = (least, self._terms.locked_until)
            if detail := lock_fault(kept, info, promised):
                self._note(BreakError("lock", first, detail))
            self._count_lock(info.retain_until)

    def _count_lock(self, until: datetime | None) -> None:
        chain = self._chain
        if until is not None:
            chain.locked_until = min(chain.locked_until or until, until)
            chain.ended += until <= self._terms.now

    def _fault(self, first: int, detail: str) -> None:
        self._chain.faulty.add(first)
        self._note(BreakError("archive", first, detail))
