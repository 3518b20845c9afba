"""An archive, at three levels (formats §8).

`list`: names, versions, delete markers, locks, and the chain of manifests. `file`: each segment's
bytes against its manifest too. `record`: every leaf and checkpoint too, through the trail.

The oldest version of an object is the object; whoever laid a newer version or a delete marker
over it is named. The last segment may lack its manifest, since it is written after it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import NamedTuple

from streams.audit.checkpoint import open_note, parse_log_name
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import MalformedError
from streams.errors import BreakError
from streams.ports import ObjectStore, ObjectVersion
from streams.segments import ARCHIVE, FIRST_PREVIOUS, Manifest, parse_object_name, segment_name
from streams.verifier.digesting import ALONE, Digests
from streams.verifier.progress import SILENT, Progress
from streams.verifier.verdicts import LogVerdict, Trust
from streams.verifier.walk import LogWalk

__all__ = ["LEVELS", "ArchiveRequest", "verify_archive"]

LEVELS = ("list", "file", "record")
LOCK_MODE = "COMPLIANCE"


class ArchiveRequest(NamedTuple):
    """How to verify an archive.

    Attributes:
        level: one of `LEVELS`.
        locked: the store enforces retention, so a missing lock is a break.
        progress: told of every batch.
        digests: reads segments.
    """

    level: str = "record"
    locked: bool = False
    progress: Progress = SILENT
    digests: Digests = ALONE


class _Log(NamedTuple):
    """The objects of one log: all versions of each, by first index."""

    origin: str
    segments: dict[int, list[ObjectVersion]]
    manifests: dict[int, list[ObjectVersion]]


async def verify_archive(
    store: ObjectStore, trust: Trust, request: ArchiveRequest
) -> list[LogVerdict]:
    """Verify every log in an archive. Raises TransientError."""
    trust = replace(trust, may_lag=True)
    logs: dict[str, _Log] = {}
    for version in await store.versions(ARCHIVE):
        name = parse_object_name(version.key)
        if name is None or name.kind not in {"segment", "manifest"}:
            continue
        log = logs.setdefault(name.origin, _Log(name.origin, defaultdict(list), defaultdict(list)))
        objects = log.segments if name.kind == "segment" else log.manifests
        objects[name.number].append(version)
    found = [
        await _ArchivedLog(store, trust, request, logs[origin]).verify()
        for origin in sorted(logs)
        if _is_log(origin)
    ]
    detail = "the roster names a manifest of this log, and nothing of it is here"
    lost = (BreakError("archive", 0, detail),)
    return found + [
        LogVerdict(origin=origin, roster="checked", breaks=lost)
        for origin in sorted(trust.manifests.keys() - logs.keys())
    ]


def _is_log(origin: str) -> bool:
    try:
        parse_log_name(origin)
    except MalformedError:
        return False
    return True


class _ArchivedLog:
    def __init__(
        self, store: ObjectStore, trust: Trust, request: ArchiveRequest, log: _Log
    ) -> None:
        self._store = store
        self._trust = trust
        self._request = request
        self._log = log
        self._walk = LogWalk(trust, log.origin, progress=request.progress, digests=request.digests)
        self._previous = FIRST_PREVIOUS
        self._digests: set[str] = set()
        self._due = 0
        self._closings: dict[int, bytes] = {}

    async def verify(self) -> LogVerdict:
        for objects in (self._log.segments, self._log.manifests):
            for first, versions in objects.items():
                self._check_versions(first, versions)
        firsts = sorted(self._log.segments.keys() | self._log.manifests.keys())
        stored = sum(versions[0].size for versions in self._log.segments.values())
        self._request.progress.begin(self._log.origin, stored)
        for first in firsts:
            if first != self._due:
                self._fault(self._due, f"the next segment begins at {first}")
            manifest = await self._manifest(first, is_last=first == firsts[-1])
            await self._segment(first, manifest)
        named = self._trust.manifests.get(self._log.origin)
        if named is not None and named.hex() not in self._digests:
            self._fault(self._due, "the newest manifest that the roster names is not here")
        whole = self._request.level == "record"
        verdict = self._walk.verdict() if whole else self._shallow_verdict()
        return verdict if named is None else replace(verdict, roster="checked")

    def _check_versions(self, first: int, versions: Sequence[ObjectVersion]) -> None:
        if any(version.is_delete_marker for version in versions):
            self._fault(first, f"{versions[0].key} is hidden by a delete marker")
        elif len(versions) > 1:
            self._fault(first, f"{versions[0].key} has {len(versions)} versions")

    async def _manifest(self, first: int, *, is_last: bool) -> Manifest | None:
        data = await self._oldest(self._log.manifests.get(first, ()))
        if data is None:
            if not is_last:
                self._fault(first, f"the segment of {first} has no manifest")
            return None
        try:
            manifest = Manifest.parse(data, first=first)
        except BreakError as error:
            self._walk.note(error)
            return None
        named = manifest.origin, manifest.segment, manifest.first_index
        if named != (self._log.origin, segment_name(self._log.origin, first), first):
            self._fault(first, "the manifest is another segment's")
        if manifest.previous != self._previous:
            self._fault(first, "the manifest does not follow the one before")
        self._previous = sha256(data).hexdigest()
        self._digests.add(self._previous)
        self._due = manifest.last_index + 1
        return manifest

    async def _segment(self, first: int, manifest: Manifest | None) -> None:
        versions = self._log.segments.get(first, [])
        kept = next((v for v in versions if not v.is_delete_marker), None)
        if kept is None:
            self._fault(first, f"the segment of {first} is missing")
            return
        if manifest is not None:
            self._check_closing(first, manifest)
            if manifest.version_id != kept.version_id:
                self._fault(first, "the manifest names another version of its segment")
        if self._request.locked:
            await self._check_lock(first, kept, manifest)
        if self._request.level != "list":
            await self._read(first, kept, manifest)

    async def _read(self, first: int, kept: ObjectVersion, manifest: Manifest | None) -> None:
        data = await self._store.get(kept.key, kept.version_id)
        if data is None:
            self._fault(first, f"{kept.key} is listed and cannot be read")
            return
        if manifest is not None and sha256(data).hexdigest() != manifest.sha256:
            self._fault(first, f"{kept.key} has another SHA-256 than its manifest says")
        if self._request.level != "record":
            return
        await asyncio.to_thread(self._walk.feed_file, BytesIO(data), first=first)
        size, root = self._walk.head
        if manifest is not None and not self._walk.breaks and self._closings.get(size) != root:
            self._fault(first, "the segment does not close as its manifest says")

    def _check_closing(self, first: int, manifest: Manifest) -> None:
        try:
            closing = open_note(
                manifest.checkpoint, self._log.origin, self._trust.keys, at=manifest.first_index
            )
        except BreakError as error:
            self._fault(first, f"the manifest's checkpoint: {error.detail}")
            return
        if closing.size != manifest.last_index + 1:
            self._fault(first, f"the manifest's checkpoint has the size {closing.size}")
        self._closings[closing.size] = closing.root

    async def _check_lock(
        self, first: int, kept: ObjectVersion, manifest: Manifest | None
    ) -> None:
        info = await self._store.head(kept.key, kept.version_id)
        until = info.retain_until if info else None
        if info is None or info.lock_mode != LOCK_MODE or until is None:
            self._walk.note(BreakError("lock", first, f"{kept.key} has no {LOCK_MODE} lock"))
        elif manifest is not None and until < manifest.retain_until:
            detail = f"{kept.key} is locked until {until}, not {manifest.retain_until}"
            self._walk.note(BreakError("lock", first, detail))

    async def _oldest(self, versions: Sequence[ObjectVersion]) -> bytes | None:
        for version in versions:
            if not version.is_delete_marker:
                return await self._store.get(version.key, version.version_id)
        return None

    def _fault(self, first: int, detail: str) -> None:
        self._walk.note(BreakError("archive", first, detail))

    def _shallow_verdict(self) -> LogVerdict:
        """What the manifests say, where no record was read."""
        size, root = max(self._closings.items(), default=(0, EMPTY_ROOT))
        anchors = [a for a in self._trust.known if a.origin == self._log.origin]
        beyond = self._trust.anchors
        compared = [
            a for a in anchors if a.size in self._closings or (a.size > size and a in beyond)
        ]
        for anchor in compared:
            if anchor.size > size:
                detail = f"the archive ends here, and an anchor has {anchor.size} records"
                self._walk.note(BreakError("shorter_than_anchor", size, detail))
            elif self._closings[anchor.size] != anchor.root:
                detail = f"the anchor of size {anchor.size} has another root"
                self._walk.note(BreakError("fork", 0, detail))
        return LogVerdict(
            origin=self._log.origin,
            size=size,
            root=root.hex(),
            checkpoints=len(self._closings),
            **self._trust.states(compared),
            breaks=self._walk.breaks,
        )
