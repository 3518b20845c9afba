"""Attacks on an archive, at the level that sees them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from streams.audit.checkpoint import CheckpointText
from streams.segments import (
    FIRST_PREVIOUS,
    Manifest,
    encode_segment,
    manifest_name,
    schema_digests,
    segment_name,
)
from streams.segments.reader import SCHEMA_TEXTS
from streams.verifier import ArchiveRequest, LogVerdict, Trust, verify_archive
from tests.support.forgeries import anchor, changed, flipped
from tests.support.memory_objects import EPOCH, MemoryObjectStore
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    Key,
    SignedLog,
    audit_record,
    checkpoint_of,
    usual_log,
)

TRUST = Trust(keys=KEY.trusted())
CUTS = (4, 8, 12)
DAYS = 365


class Archive:
    """usual_log in three segments, with their manifests."""

    def __init__(self, log: SignedLog | None = None, **forged: object) -> None:
        self.store = MemoryObjectStore()
        self.log = log or usual_log()
        self.forged = forged
        self.files: dict[int, bytes] = {}

    async def fill(self, *, manifests: int = 3) -> "Archive":
        first, previous, opening = 0, FIRST_PREVIOUS, None
        for number, size in enumerate(CUTS):
            rows = self.log.rows[5 * number + (first > 0) : 5 * number + 6]
            closing = checkpoint_of(rows[-1])
            self.files[first] = data = encode_segment(ORIGIN, first, opening, rows)
            name = segment_name(ORIGIN, first)
            version = await self.store.create(name, data, retain_days=DAYS)
            records = [row for row in rows if row.value and row.value[2] == 0x31]
            manifest = Manifest(
                origin=ORIGIN,
                segment=name,
                version_id=version,
                sha256=sha256(data).hexdigest(),
                segment_bytes=len(data),
                first_index=first,
                last_index=size - 1,
                first_offset=records[0].offset,
                last_offset=records[-1].offset,
                checkpoint=closing.note,
                previous=previous,
                retain_until=EPOCH + timedelta(days=DAYS),
                schemas=schema_digests(SCHEMA_TEXTS),
            )
            if number < manifests:
                body = manifest.render()
                await self.store.create(manifest_name(ORIGIN, first), body, retain_days=DAYS)
                previous = sha256(body).hexdigest()
            assert audit_record(records[0]).index == first
            first, opening = size, closing
        return self

    async def verify(
        self, level: str = "record", trust: Trust = TRUST, *, locked: bool = True
    ) -> LogVerdict:
        (found,) = await verify_archive(self.store, trust, ArchiveRequest(level, locked))
        return found

    async def breaks(self, level: str = "record", trust: Trust = TRUST) -> list[tuple[str, int]]:
        return [(b.kind, b.index) for b in (await self.verify(level, trust)).breaks]

    def replace(self, name: str, body: bytes | None) -> None:
        """As the owner of a disk can: the object is another now, or gone, without a trace."""
        versions = self.store._versions
        old = versions.pop(name)
        if body is not None:
            versions[name] = [old[0]._replace(body=body)]


@pytest.mark.parametrize("level", ["list", "file", "record"])
async def test_honest_archive_is_intact_at_every_level(level: str) -> None:
    archive = await Archive().fill()
    verdict = await archive.verify(level)
    assert verdict.breaks == ()
    assert (verdict.origin, verdict.size) == (ORIGIN, 12)
    assert verdict.root == anchor(archive.log, 12).root.hex()
    assert verdict.records == (12 if level == "record" else 0)


async def test_last_segment_may_lack_its_manifest() -> None:
    assert await (await Archive().fill(manifests=2)).breaks() == []


@pytest.mark.parametrize("level", ["list", "file", "record"])
async def test_manifest_missing_in_the_middle_is_named(level: str) -> None:
    archive = await Archive().fill()
    archive.replace(manifest_name(ORIGIN, 4), None)
    assert await archive.breaks(level) == [("archive", 4)]


@pytest.mark.parametrize("level", ["list", "file", "record"])
async def test_deleted_segment_is_named(level: str) -> None:
    archive = await Archive().fill()
    archive.replace(segment_name(ORIGIN, 4), None)
    assert (await archive.breaks(level))[0] == ("archive", 4)


async def test_deleted_segment_with_its_manifest_is_missed() -> None:
    archive = await Archive().fill()
    archive.replace(segment_name(ORIGIN, 4), None)
    archive.replace(manifest_name(ORIGIN, 4), None)
    assert await archive.breaks("list") == [("archive", 4)]
    assert await archive.breaks() == [("archive", 4), ("sequence", 4)]


async def test_newer_version_over_a_segment_is_named_and_the_oldest_is_read() -> None:
    archive = await Archive().fill()
    archive.store.overlay(segment_name(ORIGIN, 4), b"forged")
    assert await archive.breaks() == [("archive", 4)]
    assert (await archive.verify()).records == 12


async def test_delete_marker_over_a_manifest_is_named_and_looked_through() -> None:
    archive = await Archive().fill()
    archive.store.mark_deleted(manifest_name(ORIGIN, 4))
    assert await archive.breaks() == [("archive", 4)]


async def test_segment_encoded_again_is_named_by_its_checksum_or_by_its_digest() -> None:
    archive = await Archive().fill()
    longer = encode_segment(ORIGIN, 4, checkpoint_of(archive.log.rows[5]), archive.log.rows[6:10])
    archive.replace(segment_name(ORIGIN, 4), longer)
    assert await archive.breaks("list") == [("archive", 4)]
    assert await archive.breaks("file") == [("archive", 4)]


async def test_flipped_byte_in_an_archived_record_is_named() -> None:
    archive = await Archive().fill()
    rows = changed(archive.log.rows, 6, flipped)[6:11]
    body = encode_segment(ORIGIN, 4, checkpoint_of(archive.log.rows[5]), rows)
    archive.replace(segment_name(ORIGIN, 4), body)
    assert await archive.breaks() == [("archive", 4), ("altered", 6)]


async def test_two_segments_swapped_are_named() -> None:
    archive = await Archive().fill()
    archive.replace(segment_name(ORIGIN, 4), archive.files[8])
    archive.replace(segment_name(ORIGIN, 8), archive.files[4])
    assert (await archive.breaks("file"))[0] == ("archive", 4)
    assert (await archive.breaks())[0] in [("archive", 4), ("sequence", 4)]


async def test_truncated_segment_is_named() -> None:
    archive = await Archive().fill()
    archive.replace(segment_name(ORIGIN, 8), archive.files[8][:-1])
    assert await archive.breaks() == [("archive", 8)]


LAST = manifest_name(ORIGIN, 8)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"last_index":11', b'"last_index":10'),
        (b'"first_index":8', b'"first_index":7'),
        (ORIGIN.encode() + b'","', f"{BASE}/authz.decisions/3".encode() + b'","'),
        (b'/00000000000000000008.avro"', b'/00000000000000000004.avro"'),
        (b'"version_id":"v', b'"version_id":"w'),
        (b"Z", b" "),
        (b'"checkpoint":"audit', b'"checkpoint":"adult'),
    ],
    ids=["last index", "first index", "origin", "name", "version", "spelling", "checkpoint"],
)
async def test_altered_manifest_is_named(old: bytes, new: bytes) -> None:
    archive = await Archive().fill()
    body = await archive.store.get(LAST)
    assert body is not None
    assert old in body
    archive.replace(LAST, body.replace(old, new))
    assert await archive.breaks("list") == [("archive", 8)]


async def test_forked_manifest_does_not_follow_the_one_before() -> None:
    archive = await Archive().fill()
    body = await archive.store.get(manifest_name(ORIGIN, 8))
    assert body is not None
    manifest = Manifest.parse(body)
    forked = body.replace(manifest.previous.encode(), b"1" * 64)
    archive.replace(manifest_name(ORIGIN, 8), forked)
    assert await archive.breaks("list") == [("archive", 8)]


async def test_segment_without_a_lock_is_named_where_locks_are_promised() -> None:
    archive = await Archive().fill()
    versions = archive.store._versions[segment_name(ORIGIN, 4)]
    versions[0] = versions[0]._replace(retain_until=None)
    assert await archive.breaks() == [("lock", 4)]
    assert (await archive.verify(locked=False)).breaks == ()


async def test_lock_shorter_than_the_manifest_says_is_named() -> None:
    archive = await Archive().fill()
    versions = archive.store._versions[segment_name(ORIGIN, 4)]
    versions[0] = versions[0]._replace(retain_until=datetime(2026, 2, 1, tzinfo=UTC))
    assert await archive.breaks("list") == [("lock", 4)]


async def test_archive_signed_by_somebody_else_has_no_known_key() -> None:
    archive = await Archive(usual_log(Key("thief"))).fill()
    assert ("unknown_key", 0) in await archive.breaks()
    assert await archive.breaks("list") == [("archive", 0)]


@pytest.mark.parametrize("level", ["list", "record"])
async def test_archive_rolled_back_as_a_whole_is_shorter_than_its_anchor(level: str) -> None:
    archive = await Archive().fill()
    for name in (segment_name, manifest_name):
        archive.replace(name(ORIGIN, 8), None)
    trust = Trust(keys=KEY.trusted(), anchors=(anchor(archive.log, 12),))
    assert await archive.breaks(level) == []
    assert await archive.breaks(level, trust) == [("shorter_than_anchor", 8)]


@pytest.mark.parametrize("level", ["list", "record"])
async def test_archive_of_another_history_is_a_fork(level: str) -> None:
    archive = await Archive().fill()
    trust = Trust(keys=KEY.trusted(), anchors=(CheckpointText(ORIGIN, 8, b"\1" * 32),))
    assert await archive.breaks(level, trust) == [("fork", 0)]
    assert (await archive.verify(level, trust)).anchored == "checked"


async def test_objects_that_are_no_log_are_left_alone() -> None:
    archive = await Archive().fill()
    await archive.store.create("archive/v1/notes.txt", b"x", retain_days=1)
    await archive.store.create(f"archive/v1/{BASE}/x/segments/{0:020d}.avro", b"x", retain_days=1)
    assert (await archive.verify()).breaks == ()


# --- the roster ---


def by_roster(**fields: object) -> Trust:
    return replace(TRUST, has_roster=True, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["list", "file", "record"])
async def test_archive_whose_newest_manifest_the_roster_knows_is_intact(level: str) -> None:
    archive = await Archive().fill()
    stored = await archive.store.get(manifest_name(ORIGIN, 8))
    trust = by_roster(manifests={ORIGIN: (sha256(stored or b"").digest(),)})
    verdict = await archive.verify(level, trust)
    assert (verdict.breaks, verdict.roster) == ((), "checked")


@pytest.mark.parametrize("level", ["list", "file", "record"])
async def test_archive_rewritten_from_its_second_segment_on_is_named_by_the_roster(
    level: str,
) -> None:
    before = await Archive().fill()
    stored = await before.store.get(manifest_name(ORIGIN, 8))
    trust = by_roster(manifests={ORIGIN: (sha256(stored or b"").digest(),)})
    rewritten = await Archive().fill(manifests=2)
    assert await rewritten.breaks(level) == []
    assert await rewritten.breaks(level, trust) == [("archive", 8)]


async def test_log_that_an_archive_lost_whole_is_named_by_the_roster() -> None:
    lost = f"{BASE}/authz.decisions/9"
    archive = await Archive().fill()
    trust = by_roster(manifests={lost: (bytes(32),)})
    found = await verify_archive(archive.store, trust, ArchiveRequest("record", locked=True))
    breaks = {log.origin: [(b.kind, b.index) for b in log.breaks] for log in found}
    assert breaks == {ORIGIN: [], lost: [("archive", 0)]}


async def test_archive_may_lag_the_sealed_heads_but_not_an_anchor() -> None:
    archive = await Archive().fill()
    ahead = anchor(archive.log, 14)
    verdict = await archive.verify(trust=by_roster(heads=(ahead,)))
    assert verdict.breaks == ()
    assert await archive.breaks(trust=Trust(keys=KEY.trusted(), anchors=(ahead,))) == [
        ("shorter_than_anchor", 12)
    ]


@pytest.mark.parametrize("level", ["list", "file", "record"])
async def test_archive_with_another_past_than_a_sealed_head_is_a_fork(level: str) -> None:
    archive = await Archive().fill()
    trust = by_roster(heads=(CheckpointText(ORIGIN, 8, b"\1" * 32),))
    assert await archive.breaks(level, trust) == [("fork", 0)]
