"""An archive of the usual log in three segments, in any store, and the hands that alter it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from schemas.records import Record
from streams.objects import DirectoryObjectStore
from streams.ports import ObjectInfo, ObjectStore, ObjectVersion
from streams.segments import (
    FIRST_PREVIOUS,
    SCHEMA_TEXTS,
    Manifest,
    anchor_name,
    encode_segment,
    manifest_name,
    schema_digests,
    segment_name,
)
from streams.verifier import ArchiveRequest, LogVerdict, Trust, verify_archive
from tests.support.memory_objects import EPOCH, MemoryObjectStore
from tests.support.signed_logs import KEY, ORIGIN, SignedLog, checkpoint_of, usual_log

__all__ = [
    "CUTS",
    "DAYS",
    "TRUST",
    "Archive",
    "Bucket",
    "Folder",
    "LyingBucket",
    "Segment",
    "breaks",
    "manifest_of",
    "stored",
    "told",
]

TRUST = Trust(keys=KEY.trusted())
CUTS = (4, 8, 12)
DAYS = 365
RECORD = 0x31  # third byte of an audit record's value


class Segment(NamedTuple):
    """What one segment holds, and what comes before it."""

    first: int
    size: int
    rows: Sequence[Record]
    opening: Record | None


def segments_of(log: SignedLog) -> list[Segment]:
    """Four records and a checkpoint each; genesis in the first."""
    found, opening = [], None
    for number, size in enumerate(CUTS):
        rows = log.rows[5 * number + (number > 0) : 5 * number + 6]
        found.append(Segment(size - 4, size, rows, opening))
        opening = rows[-1]
    return found


class Archive:
    """The usual log in three segments, with manifests and anchors."""

    def __init__(
        self, store: ObjectStore, log: SignedLog | None = None, *, days: int = DAYS
    ) -> None:
        self.store = store
        self.days = days
        self.log = log or usual_log()
        self.files: dict[int, bytes] = {}
        self.manifests: dict[int, bytes] = {}

    async def fill(self, *, manifests: int = 3, anchors: int = 3) -> "Archive":
        previous = FIRST_PREVIOUS
        for number, segment in enumerate(segments_of(self.log)):
            opening = checkpoint_of(segment.opening) if segment.opening else None
            data = encode_segment(ORIGIN, segment.first, opening, segment.rows)
            self.files[segment.first] = data
            name = segment_name(ORIGIN, segment.first)
            version = await self.store.create(name, data, retain_days=self.days)
            info = await self.store.head(name, version)
            if number >= manifests or info is None:
                continue
            body = manifest_of(segment, data, previous, (version, info)).render()
            self.manifests[segment.first] = body
            await self.store.create(
                manifest_name(ORIGIN, segment.first), body, retain_days=self.days
            )
            previous = sha256(body).hexdigest()
            if number < anchors:
                note = checkpoint_of(segment.rows[-1]).note.encode()
                await self.store.create(
                    anchor_name(ORIGIN, segment.size), note, retain_days=self.days
                )
        return self

    def encoded_again(self, first: int) -> bytes:
        """A segment as another program would write it: the same rows, other bytes."""
        segment = next(s for s in segments_of(self.log) if s.first == first)
        opening = checkpoint_of(segment.opening) if segment.opening else None
        halves = encode_segment(ORIGIN, first, opening, segment.rows[:2])
        rest = encode_segment(ORIGIN, first, opening, segment.rows[2:])
        head = len(encode_segment(ORIGIN, first, opening, []))
        return halves + rest[head:]


def manifest_of(
    segment: Segment, data: bytes, previous: str, stood: tuple[str, ObjectInfo]
) -> Manifest:
    version, info = stood
    records = [row for row in segment.rows if row.value and row.value[2] == RECORD]
    assert info.retain_until is not None
    return Manifest(
        origin=ORIGIN,
        segment=segment_name(ORIGIN, segment.first),
        version_id=version,
        sha256=sha256(data).hexdigest(),
        segment_bytes=len(data),
        first_index=segment.first,
        last_index=segment.size - 1,
        first_offset=records[0].offset,
        last_offset=records[-1].offset,
        checkpoint=checkpoint_of(segment.rows[-1]).note,
        previous=previous,
        retain_until=info.retain_until,
        schemas=schema_digests(SCHEMA_TEXTS),
    )


async def told(
    archive: Archive, level: str = "record", trust: Trust = TRUST, **request: object
) -> LogVerdict:
    """The verdict on the one log of an archive."""
    locked = not isinstance(archive.store, DirectoryObjectStore)
    given: dict[str, object] = {"locked": locked, "now": EPOCH}
    asked = ArchiveRequest(level, **(given | request))  # type: ignore[arg-type]
    (found,) = await verify_archive(archive.store, trust, asked)
    return found


async def breaks(
    archive: Archive, level: str = "record", trust: Trust = TRUST, **request: object
) -> list[tuple[str, int]]:
    """Its breaks."""
    found = await told(archive, level, trust, **request)
    return [(b.kind, b.index) for b in found.breaks]


async def stored(store: ObjectStore, name: str) -> bytes:
    """What stands under a name."""
    body = await store.get(name)
    assert body is not None
    return body


@dataclass(slots=True)
class Bucket(MemoryObjectStore):
    """Versions and locks, under the hands of its server's operator."""

    def put_instead(self, name: str, body: bytes | None) -> None:
        versions = self._versions
        old = versions.pop(name)
        if body is not None:
            versions[name] = [old[0]._replace(body=body)]

    def lock_until(self, name: str, until: datetime | None) -> None:
        """Another lock on the oldest version."""
        self._versions[name][0] = self._versions[name][0]._replace(retain_until=until)


@dataclass(slots=True)
class LyingBucket(Bucket):
    """Says of every version what was true when it was made: size and checksum."""

    _made: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)

    def _add(self, key: str, body: bytes | None, retain_until: datetime | None) -> str:
        version_id = MemoryObjectStore._add(self, key, body, retain_until)
        self._made[key, version_id] = (len(body or b""), sha256(body or b"").digest())
        return version_id

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        info = await MemoryObjectStore.head(self, key, version_id)
        if info is None:
            return None
        size, digest = self._made[key, version_id]
        return info._replace(size=size, sha256=digest)

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        found = await MemoryObjectStore.versions(self, prefix)
        return [v._replace(size=self._made[v.key, v.version_id][0]) for v in found]


class Folder(DirectoryObjectStore):
    """A directory, under its owner's hands."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def put_instead(self, name: str, body: bytes | None) -> None:
        file = self.path / name
        date = file.stat().st_mtime
        file.unlink()
        if body is not None:
            file.write_bytes(body)
            os.utime(file, (date, date))
