"""An archive's replica: another bucket, or a copy, that must hold the same objects (formats §8).

Replication runs behind the archive and in no order, so what is not there yet is said, and is no
break. What is there must be the same: a manifest with other bytes, a segment with another digest,
a version laid over one, a shorter lock is a break. So is a checkpoint in the replica that the
archive does not lead to: replication never runs ahead. Version ids may differ: not every copy
keeps them.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.note import TrustedKeys
from streams.errors import BreakError
from streams.ports import ObjectInfo, ObjectStore, ObjectVersion
from streams.segments import Manifest
from streams.verifier.archive_report import ReplicaReport
from streams.verifier.chain import MANIFEST_BYTES_MAX, Chain, ChainTerms, Link, Note
from streams.verifier.fetching import Ahead, in_order
from streams.verifier.holdings import HeldLog, oldest
from streams.verifier.object_checks import checksum_fault, lock_fault, shadow_fault

__all__ = ["ComparedReplica", "Replica", "compare_replica"]

AHEAD = Ahead()


class Replica(NamedTuple):
    """A replica.

    Attributes:
        store: where it is.
        locked: it enforces retention.
    """

    store: ObjectStore
    locked: bool


@dataclass(slots=True, kw_only=True)
class ComparedReplica:
    """One log in a replica, compared with the archive's chain.

    Attributes:
        kept: by first index, the versions of its segments that may be read and compared.
        ahead: checkpoints its manifests close at and the archive's do not: it must lead to them.
        size: all objects of leaves below are there.
        lacking: how many objects are not there.
        read: how many of its segments were read.
    """

    kept: dict[int, ObjectVersion] = field(default_factory=dict)
    ahead: list[CheckpointText] = field(default_factory=list)
    size: int = 0
    lacking: int = 0
    read: int = 0

    @property
    def report(self) -> ReplicaReport:
        """For the verdict."""
        return ReplicaReport(size=self.size, lacking=self.lacking, read=self.read)


class _Found(NamedTuple):
    body: bytes | None  # of the manifest
    locks: tuple[ObjectInfo | None, ObjectInfo | None]  # of segment and manifest


async def compare_replica(
    replica: Replica, held: HeldLog, chain: Chain, terms: ChainTerms, note: Note
) -> ComparedReplica:
    """Compare what a replica holds of a log with the archive's chain, segments unread.

    Args:
        replica: where.
        held: what it lists of the log, listed before the archive was.
        chain: the archive's.
        terms: what the archive's chain was held to.
        note: told of every break.

    Raises:
        TransientError, SettingsError: the replica cannot be read.
    """
    return await _Comparison(replica, held, terms, note).of(chain)


class _Comparison:
    def __init__(self, replica: Replica, held: HeldLog, terms: ChainTerms, note: Note) -> None:
        self._store, self._is_locked = replica
        self._held = held
        self._terms = terms
        self._note = note
        self._found = ComparedReplica()

    async def of(self, chain: Chain) -> ComparedReplica:
        ours = {link.first: link for link in chain.links}
        firsts = sorted(ours.keys() | set(self._held.firsts))
        pages = in_order(firsts, self._fetch, lambda _: MANIFEST_BYTES_MAX, AHEAD)
        async with aclosing(pages) as fetched:
            async for first, found in fetched:
                self._check_versions(first)
                link = ours.get(first)
                if link is None:
                    self._look_ahead(found.body)
                else:
                    self._compare(link, found)
        return self._found

    async def _fetch(self, first: int) -> _Found:
        kept = self._manifest(first)
        body = None
        if kept is not None and kept.size <= MANIFEST_BYTES_MAX:
            body = await self._store.get(kept.key, kept.version_id)
        return _Found(body, (await self._head(self._segment(first)), await self._head(kept)))

    async def _head(self, version: ObjectVersion | None) -> ObjectInfo | None:
        if version is None or not self._is_locked:
            return None
        return await self._store.head(version.key, version.version_id)

    def _segment(self, first: int) -> ObjectVersion | None:
        return oldest(self._held.segments.get(first, ()))

    def _manifest(self, first: int) -> ObjectVersion | None:
        return oldest(self._held.manifests.get(first, ()))

    def _check_versions(self, first: int) -> None:
        for objects in (self._held.segments, self._held.manifests):
            if detail := shadow_fault(objects.get(first, ())):
                self._told("archive", first, detail)

    def _compare(self, link: Link, found: _Found) -> None:
        lacking = (link.kept is not None and self._segment(link.first) is None) + (
            bool(link.manifest) and self._manifest(link.first) is None
        )
        if not (lacking or self._found.lacking) and link.closing is not None:
            self._found.size = link.closing.size
        self._found.lacking += lacking
        if self._manifest(link.first) is not None:
            self._compare_manifest(link, found.body or b"")
        segment = self._segment(link.first)
        if segment is not None:
            self._compare_segment(link, segment)
        digests = (link.sha256, link.manifest)
        objects = (segment, self._manifest(link.first))
        self._check_locks(link, list(zip(objects, found.locks, digests, strict=True)))

    def _compare_manifest(self, link: Link, body: bytes) -> None:
        if sha256(body).hexdigest() == link.manifest:
            return
        self._look_ahead(body)
        if link.manifest:
            self._told("archive", link.first, f"another manifest of {link.first}")

    def _compare_segment(self, link: Link, segment: ObjectVersion) -> None:
        self._found.kept[link.first] = segment
        is_named = self._is_locked or link.sha256.startswith(segment.version_id)
        is_same = link.kept is None or segment.size == link.kept.size
        if link.sha256 and not (is_named and is_same):
            self._told("archive", link.first, f"another segment of {link.first}")

    def _check_locks(
        self,
        link: Link,
        objects: Sequence[tuple[ObjectVersion | None, ObjectInfo | None, str]],
    ) -> None:
        promised: tuple[datetime | None, ...] = (link.retain_until, self._terms.locked_until)
        for version, info, digest in objects:
            if version is None or not self._is_locked:
                continue
            if info is None:
                self._told("archive", link.first, f"{version.key} is listed and cannot be read")
                continue
            if detail := checksum_fault(version, info, digest):
                self._told("archive", link.first, detail)
            if detail := lock_fault(version, info, promised):
                self._told("lock", link.first, detail)

    def _look_ahead(self, body: bytes | None) -> None:
        """Whoever may write there can put anything; what a trusted key signed counts."""
        keys: TrustedKeys | None = self._terms.keys
        if body is None or keys is None:
            return
        try:
            manifest = Manifest.parse(body)
            self._found.ahead.append(open_note(manifest.checkpoint, self._held.origin, keys))
        except BreakError:
            return

    def _told(self, kind: str, first: int, detail: str) -> None:
        self._note(BreakError(kind, first, f"replica: {detail}"))
