"""What is written of a closed segment, in which order, and what is found of earlier ones.

Segment, then manifest, then anchor: each is created if absent and never changed, and each says
enough to write the next. Whoever dies between two of them is completed by whoever comes next, and
an archiver that finds a segment under the name it wanted takes it for what it is, after checking
it as any verifier would and comparing its leaves with those in hand, and locks it for as long as
its own. So any number of archivers, with any cuts, store every leaf exactly once.

The progress of the archive is what is in the store, by versions: the oldest version of a name is
the object, whatever was laid over it.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from projections.archive.fold import ClosedSegment
from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import (
    BreakError,
    ObjectExistsError,
    StoredOtherwiseError,
    TransientError,
)
from streams.ports import Clock, ObjectStore
from streams.segments import (
    FIRST_PREVIOUS,
    SCHEMA_TEXTS,
    Manifest,
    anchor_name,
    encode_segment,
    manifest_name,
    manifests_prefix,
    parse_object_name,
    read_segment,
    schema_digests,
    segment_name,
)

__all__ = ["OBJECT_BYTES_MAX", "ArchiveStore", "Head", "Stored", "encoded"]

# Of a segment as it is stored. A sealer's tail has at most 63 MiB of values (`Session.room`), so
# that not even what does not compress at all, with its rows and the schema texts, comes near.
OBJECT_BYTES_MAX = 64 * 2**20
LOCKED = ("COMPLIANCE", None)  # a directory enforces nothing, and says so


class Head(NamedTuple):
    """How far a log is archived.

    Attributes:
        size: all leaves below are stored.
        closing: the checkpoint of that size, None where nothing is stored.
        manifest: SHA-256 of the newest manifest, 64 zeros where there is none.
        offset: at or below the audit offset of the next record, None where nothing is stored.
    """

    size: int
    closing: Checkpoint | None
    manifest: str
    offset: int | None


class Stored(NamedTuple):
    """A segment that stands: the head behind it, and the leaf hashes in it."""

    head: Head
    leaves: list[bytes]


class _Contents(NamedTuple):
    # What a segment file holds, as far as its manifest and its successor need it.
    first: int
    size: int
    closing: Checkpoint
    leaves: list[bytes]
    offsets: tuple[int, int]
    schemas: dict[str, str]


async def encoded(closed: ClosedSegment) -> bytes:
    """The file of a segment, made in a thread: it takes most of the archiver's time."""
    return await asyncio.to_thread(
        encode_segment, closed.origin, closed.first, closed.opening, closed.rows
    )


NOTHING = Head(0, None, FIRST_PREVIOUS, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveStore:
    """The archive of one log. `keys` are those that sign its checkpoints."""

    objects: ObjectStore
    origin: str
    keys: TrustedKeys
    retain_days: int
    clock: Clock

    async def resume(self) -> Head:
        """How far the archive reaches, every interrupted write completed.

        Raises:
            BreakError: what is stored is altered, incomplete, or signed by nobody we trust.
            TransientError, OutcomeUnknownError: try again.
        """
        head = await self._newest()
        while (stored := await self._adopt(head)) is not None:
            head = stored.head
        return head

    async def put(self, closed: ClosedSegment, head: Head, data: bytes) -> Stored:
        """Store a segment behind `head`, or find the one another archiver stored there.

        `data` is what `encoded` makes of it.

        Raises:
            BreakError: `fork` where what stands there has other leaves; else as `resume`.
            TransientError, OutcomeUnknownError: nothing is known; resume.
        """
        name = segment_name(self.origin, closed.first)
        if len(data) > OBJECT_BYTES_MAX:
            raise BreakError(
                "unsealed_tail",
                closed.first,
                f"{len(data):,} bytes without a checkpoint between them: a tail has fewer",
            )
        try:
            version_id = await self._create(name, data, closed.first)
        except ObjectExistsError:
            stored = await self._adopt(head, closed.leaves)
            if stored is None:
                raise TransientError(f"{name} exists, and is not listed yet") from None
            return stored
        # Now the segment stands: a crash here leaves it to `resume`, of any archiver.
        contents = _Contents(
            closed.first,
            closed.size,
            closed.closing,
            closed.leaves,
            closed.offsets,
            schema_digests(SCHEMA_TEXTS),
        )
        return await self._complete(head, contents, version_id, data)

    async def _newest(self) -> Head:
        # The chain is checked by verifiers; here its last link is, and what it speaks of.
        versions = await self.objects.versions(manifests_prefix(self.origin))
        numbers = [
            found.number
            for version in versions
            if not version.is_delete_marker and (found := parse_object_name(version.key))
        ]
        if not numbers:
            return NOTHING
        *_, before, first = sorted({-1, *numbers})
        stored = await self._existing(manifest_name(self.origin, first), first)
        manifest = Manifest.parse(stored[1], first=first)
        await self._check_link(manifest, before)
        name = segment_name(self.origin, first)
        data = await self.objects.get(name, manifest.version_id)
        if data is None or sha256(data).hexdigest() != manifest.sha256:
            raise BreakError("archive", first, f"{name} is not what its manifest says")
        closing = await asyncio.to_thread(_closing, data, first)
        head = Head(
            manifest.last_index + 1,
            closing,
            sha256(stored[1]).hexdigest(),
            manifest.last_offset + 1,
        )
        text = self._checked(closing.note, head.size)
        if (manifest.segment, manifest.origin, text.size) != (name, self.origin, head.size):
            raise BreakError("archive", first, "the newest manifest is of another segment")
        await self._anchor(text, closing.note, manifest.retain_until)
        return head

    async def _check_link(self, manifest: Manifest, before: int) -> None:
        first, due, previous = manifest.first_index, 0, FIRST_PREVIOUS
        if before >= 0:
            _, data = await self._existing(manifest_name(self.origin, before), before)
            due = Manifest.parse(data, first=before).last_index + 1
            previous = sha256(data).hexdigest()
        if (first, manifest.previous) != (due, previous):
            raise BreakError("archive", due, f"the newest manifest, of {first}, does not join")

    async def _adopt(self, head: Head, known: list[bytes] | None = None) -> Stored | None:
        """The segment behind `head`, verified and completed; None where there is none."""
        name = segment_name(self.origin, head.size)
        found = await self._oldest(name, head.size)
        if found is None:
            return None
        version_id, data = found
        contents = await asyncio.to_thread(self._verified, data, head)
        for at, (ours, theirs) in enumerate(zip(known or (), contents.leaves, strict=False)):
            if ours != theirs:
                raise BreakError(
                    "fork", head.size + at, "the archive has another leaf here than the log"
                )
        # Who put it here may have locked it for less: a lock that ends early is no archive.
        await self._keep(name, version_id, self._until(), head.size)
        return await self._complete(head, contents, version_id, data)

    def _verified(self, data: bytes, head: Head) -> _Contents:
        segment = read_segment(data, first=head.size)
        trail = Trail(self.origin, self.keys, head.closing)
        trail.begin_file(head.size, segment.opening)
        records: list[tuple[Record, AuditRecord]] = []
        for row in segment.rows:
            fed = trail.feed(row)
            if isinstance(fed, AuditRecord):
                records.append((row, fed))
        trail.end_file()
        trail.finish()
        return _Contents(
            head.size,
            trail.size,
            _closing_of(segment.rows, head.size),
            [record.leaf for _, record in records],
            (records[0][0].offset, records[-1][0].offset),
            schema_digests(segment.schemas),
        )

    async def _complete(
        self, head: Head, contents: _Contents, version_id: str, data: bytes
    ) -> Stored:
        """Manifest and anchor of a segment that stands, unless they stand too."""
        name = segment_name(self.origin, contents.first)
        digest = sha256(data)
        info = await self.objects.head(name, version_id)
        if info is None or info.retain_until is None or info.lock_mode not in LOCKED:
            found = f"{info.lock_mode} until {info.retain_until}" if info else "no such version"
            raise BreakError(
                "lock", contents.first, f"expected a lock on {name}, the store says {found}"
            )
        if info.size != len(data) or info.sha256 not in (None, digest.digest()):
            raise BreakError(
                "archive", contents.first, f"{name} is read otherwise than the store describes it"
            )
        manifest = Manifest(
            origin=self.origin,
            segment=name,
            version_id=version_id,
            sha256=digest.hexdigest(),
            segment_bytes=len(data),
            first_index=contents.first,
            last_index=contents.size - 1,
            first_offset=contents.offsets[0],
            last_offset=contents.offsets[1],
            checkpoint=contents.closing.note,
            previous=head.manifest,
            retain_until=info.retain_until,
            schemas=contents.schemas,
        )
        manifest = await self._put_manifest(manifest)
        # Now the position is saved: a crash here leaves only the anchor to `resume`.
        note = contents.closing.note
        await self._anchor(self._checked(note, contents.size), note, self._until())
        reached = Head(contents.size, contents.closing, manifest.digest(), contents.offsets[1] + 1)
        return Stored(reached, contents.leaves)

    async def _create(self, name: str, data: bytes, index: int) -> str:
        """The version id; what the store keeps otherwise than asked is a break at `index`."""
        try:
            return await self.objects.create(name, data, retain_days=self.retain_days)
        except StoredOtherwiseError as error:
            raise BreakError(error.kind, index, str(error)) from error

    async def _keep(self, name: str, version_id: str, until: datetime, index: int) -> None:
        try:
            await self.objects.extend(name, version_id, until)
        except StoredOtherwiseError as error:
            raise BreakError(error.kind, index, str(error)) from error

    def _until(self) -> datetime:
        """How long what others stored is locked at least: a hundredth less than by us, now."""
        now = datetime.fromtimestamp(self.clock.now_ms() // 1000, UTC)
        return now + timedelta(days=self.retain_days) * 99 // 100

    async def _put_manifest(self, manifest: Manifest) -> Manifest:
        name = manifest_name(self.origin, manifest.first_index)
        try:
            await self._create(name, manifest.render(), manifest.first_index)
        except ObjectExistsError:
            version_id, data = await self._existing(name, manifest.first_index)
            standing = Manifest.parse(data, first=manifest.first_index)
            # A retention can be extended at any time; everything else follows from the segment.
            if replace(manifest, retain_until=standing.retain_until) != standing:
                raise BreakError(
                    "archive", manifest.first_index, f"{name} speaks of another segment"
                ) from None
            await self._keep(name, version_id, self._until(), manifest.first_index)
            return standing
        return manifest

    async def _anchor(self, text: CheckpointText, note: str, until: datetime) -> None:
        name = anchor_name(self.origin, text.size)
        try:
            await self._create(name, note.encode(), text.size)
        except ObjectExistsError:
            if not await self._is_anchored(name, text, until):
                raise BreakError(
                    "archive", text.size, f"{name} is taken by what is no anchor of this log"
                ) from None

    async def _is_anchored(self, name: str, text: CheckpointText, until: datetime) -> bool:
        """Whether a version is this anchor; it is locked then. Raises BreakError for a fork."""
        found = False
        for version in await self.objects.versions(name):
            if version.is_delete_marker:
                continue
            other = self._signed(await self.objects.get(name, version.version_id))
            if other is None or other.size != text.size:
                continue
            if other.root != text.root:
                raise BreakError("fork", text.size, f"{name} is of another history of this log")
            await self._keep(name, version.version_id, until, text.size)
            found = True
        return found

    def _signed(self, note: bytes | None) -> CheckpointText | None:
        # Whoever may write to the store can put a file there; only what our keys signed counts.
        try:
            return None if note is None else open_note(note.decode(), self.origin, self.keys)
        except (BreakError, UnicodeDecodeError):
            return None

    def _checked(self, note: str, size: int) -> CheckpointText:
        return open_note(note, self.origin, self.keys, at=size)

    async def _existing(self, name: str, first: int) -> tuple[str, bytes]:
        found = await self._oldest(name, first)
        if found is None:
            raise BreakError("archive", first, f"{name} is not there")
        return found

    async def _oldest(self, name: str, first: int) -> tuple[str, bytes] | None:
        """The object of a name: id and bytes of its oldest version, None where there is none."""
        for version in await self.objects.versions(name):
            if version.key == name and not version.is_delete_marker:
                data = await self.objects.get(name, version.version_id)
                if data is None:
                    raise BreakError("archive", first, f"{name} is listed and cannot be read")
                return version.version_id, data
        return None


def _closing(data: bytes, first: int) -> Checkpoint:
    return _closing_of(read_segment(data, first=first).rows, first)


def _closing_of(rows: list[Record], first: int) -> Checkpoint:
    try:
        value = decode_audit_value(rows[-1].value or b"")
    except DecodeError as error:
        raise BreakError("archive", first, f"a segment's last row: {error}") from error
    if not isinstance(value, Checkpoint):
        raise BreakError("unsealed_tail", first, "a segment that closes at no checkpoint")
    return value
