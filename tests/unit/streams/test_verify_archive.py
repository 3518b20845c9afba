"""What is said of an archive; the attacks on one are in tests/fault/test_archive_attacks.py."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from streams.audit.checkpoint import CheckpointText
from streams.audit.operations import EpochForked
from streams.segments import encode_segment, manifest_name, segment_name
from streams.verifier import (
    LEVELS,
    ArchiveReport,
    ArchiveRequest,
    LogVerdict,
    Trust,
    verdict_of,
    verify_archive,
)
from tests.support.archived_logs import (
    DAYS,
    TRUST,
    Archive,
    Bucket,
    Folder,
    breaks,
    told,
)
from tests.support.forgeries import anchor, changed, flipped
from tests.support.memory_objects import EPOCH
from tests.support.progress import Counted
from tests.support.signed_logs import BASE, KEY, ORIGIN, Key, checkpoint_of, usual_log


def report(verdict: LogVerdict) -> ArchiveReport:
    assert verdict.archive is not None
    return verdict.archive


@pytest.mark.parametrize("level", LEVELS)
async def test_honest_archive_is_intact_at_every_level(level: str, tmp_path: Path) -> None:
    for store in (Bucket(), Folder(tmp_path)):
        archive = await Archive(store).fill()
        verdict = await told(archive, level)
        assert verdict.breaks == ()
        assert (verdict.origin, verdict.size, verdict.first) == (ORIGIN, 12, 0)
        assert verdict.root == anchor(archive.log, 12).root.hex()
        assert verdict.records == (12 if level == "record" else 0)
        found = report(verdict)
        assert (found.segments, found.read) == (3, 0 if level == "list" else 3)
        assert found.size == sum(map(len, archive.files.values()))
        assert found.size_read == (0 if level == "list" else found.size)
        locked = EPOCH + timedelta(days=DAYS) if isinstance(store, Bucket) else None
        assert (found.locked_until, found.locks_ended) == (locked, 0)


async def test_last_segment_may_lack_its_manifest() -> None:
    archive = await Archive(Bucket()).fill(manifests=2)
    for level in LEVELS:
        assert await breaks(archive, level) == []
    assert (await told(archive)).size == 12
    assert (await told(archive, "file")).size == 12
    assert (await told(archive, "list")).size == 8


async def test_segment_that_no_manifest_vouches_for_is_counted_and_walked() -> None:
    store = Bucket()
    archive = await Archive(store).fill(manifests=2)
    log = changed(archive.log.rows, 9, flipped)[11:16]
    forged = encode_segment(ORIGIN, 8, checkpoint_of(archive.log.rows[10]), log)
    for body, found in ((forged, ("altered", 9)), (b"garbage", ("archive", 8))):
        store.put_instead(segment_name(ORIGIN, 8), body)
        assert await breaks(archive, "list") == []
        assert await breaks(archive, "file") == await breaks(archive) == [found]
        assert (await told(archive, "file")).size == (await told(archive)).size == 8
    for level in LEVELS:
        verdict = await told(archive, level)
        assert report(verdict).without_manifest == 1
        assert "  1 segments have no manifest yet" in report(verdict).to_lines()


async def test_manifest_written_while_the_archive_is_listed_is_not_missing() -> None:
    class Late(Bucket):
        """Lists manifests before segments, and both grow meanwhile."""

        async def versions(self, prefix: str) -> list:  # type: ignore[type-arg]
            found = await Bucket.versions(self, prefix)
            hidden = {manifest_name(ORIGIN, 4), manifest_name(ORIGIN, 8)}
            return [v for v in found if prefix != "archive/v1/" or v.key not in hidden]

    archive = await Archive(Late()).fill()
    for level in LEVELS:
        assert await breaks(archive, level) == []
        assert (await told(archive, level)).size == 12


async def test_deleted_segment_with_its_manifest_is_missed() -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    store.put_instead(segment_name(ORIGIN, 4), None)
    store.put_instead(manifest_name(ORIGIN, 4), None)
    assert await breaks(archive, "list") == [("archive", 4)]
    assert await breaks(archive) == [("archive", 4), ("sequence", 4)]


async def test_oldest_version_is_read_whatever_was_laid_over_it() -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    for name in (segment_name(ORIGIN, 4), manifest_name(ORIGIN, 4)):
        store.overlay(name, b"forged")
        store.mark_deleted(name)
    verdict = await told(archive)
    assert [(b.kind, b.index) for b in verdict.breaks] == [("archive", 4)]
    assert (verdict.records, verdict.size) == (12, 4)


async def test_flipped_byte_in_an_archived_record_is_named_with_its_index() -> None:
    log = usual_log()
    log.rows = changed(log.rows, 6, flipped)
    archive = await Archive(Bucket(), log).fill()
    assert await breaks(archive, "file") == []
    verdict = await told(archive)
    assert [(b.kind, b.index) for b in verdict.breaks] == [("altered", 6)]
    assert (verdict.size, verdict.root) == (4, anchor(usual_log(), 4).root.hex())


@pytest.mark.parametrize("level", LEVELS)
async def test_lock_must_hold_as_long_as_is_demanded(level: str) -> None:
    archive = await Archive(Bucket()).fill()
    until = EPOCH + timedelta(days=DAYS)
    assert await breaks(archive, level, locked_until=until) == []
    later = until + timedelta(seconds=1)
    assert await breaks(archive, level, locked_until=later) == [("lock", 0)]


async def test_locks_that_ended_as_promised_are_counted_and_no_break() -> None:
    archive = await Archive(Bucket()).fill()
    verdict = await told(archive, now=EPOCH + timedelta(days=DAYS))
    assert verdict.breaks == ()
    assert report(verdict).locks_ended == 6


async def test_locks_are_not_asked_for_in_a_directory(tmp_path: Path) -> None:
    archive = await Archive(Folder(tmp_path)).fill()
    assert await breaks(archive, locked=True) == [("lock", 0)]
    assert await breaks(archive, locked=False) == []


async def test_copy_of_a_bucket_in_a_directory_is_intact(tmp_path: Path) -> None:
    archive = await Archive(Bucket()).fill()
    for version in await archive.store.versions(""):
        path = tmp_path / version.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(await archive.store.get(version.key) or b"")
    archive.store = Folder(tmp_path)
    for level in LEVELS:
        assert await breaks(archive, level) == []


async def test_archive_signed_by_somebody_else_has_no_known_key() -> None:
    archive = await Archive(Bucket(), usual_log(Key("thief"))).fill()
    assert ("unknown_key", 0) in await breaks(archive)
    assert await breaks(archive, "list") == [("archive", 0)]


async def test_objects_that_are_no_log_are_left_alone() -> None:
    archive = await Archive(Bucket()).fill()
    await archive.store.create("archive/v1/notes.txt", b"x", retain_days=1)
    await archive.store.create(f"archive/v1/{BASE}/x/segments/{0:020d}.avro", b"x", retain_days=1)
    assert (await told(archive)).breaks == ()


async def test_object_that_is_too_large_is_not_fetched() -> None:
    class Endless(Bucket):
        async def versions(self, prefix: str) -> list:  # type: ignore[type-arg]
            found = await Bucket.versions(self, prefix)
            return [v._replace(size=2**40) if "segments/" in v.key else v for v in found]

        async def get(self, key: str, version_id: str | None = None) -> bytes | None:
            assert "segments/" not in key
            return await Bucket.get(self, key, version_id)

    archive = await Archive(Endless()).fill()
    assert (await breaks(archive))[0] == ("archive", 0)


async def test_progress_is_told_of_manifests_and_then_of_bytes() -> None:
    archive = await Archive(Bucket()).fill()
    for level, rows in (("file", 0), ("record", 16)):
        seen = Counted()
        await told(archive, level, progress=seen)
        assert seen.names == [f"manifests of {ORIGIN}", ORIGIN]
        assert seen.units == seen.done == 3 + sum(map(len, archive.files.values()))
        assert seen.rows == rows


@pytest.mark.parametrize("level", ["list", "file"])
async def test_verdict_is_never_plainly_intact_where_no_record_was_read(level: str) -> None:
    archive = await Archive(Bucket()).fill()
    trust = replace(TRUST, anchors=(anchor(archive.log, 12),))
    text = verdict_of([await told(archive, level, trust)], trust).to_text()
    assert text.splitlines()[-1] == f"intact as far as it was read: level {level}, no record"
    text = verdict_of([await told(archive, "record", trust)], trust).to_text()
    assert text.splitlines()[-1] == "intact"


# --- the roster ---


def by_roster(**fields: object) -> Trust:
    return replace(TRUST, has_roster=True, **fields)  # type: ignore[arg-type]


async def test_manifest_that_was_written_behind_the_listing_is_found() -> None:
    class Late(Bucket):
        async def versions(self, prefix: str) -> list:  # type: ignore[type-arg]
            found = await Bucket.versions(self, prefix)
            return [v for v in found if prefix != "archive/v1/" or "0008." not in v.key]

    archive = await Archive(Late()).fill(anchors=2)
    named = tuple(sha256(body).digest() for body in archive.manifests.values())
    verdict = await told(archive, trust=by_roster(manifests={ORIGIN: named}))
    assert (verdict.breaks, verdict.size, verdict.roster) == ((), 8, "checked")


async def test_log_that_an_archive_lost_whole_is_named_by_roster_and_by_anchors() -> None:
    lost, other = f"{BASE}/authz.decisions/9", f"{BASE}/authz.decisions/8"
    store = Bucket()
    await Archive(store).fill()
    note = KEY.note(8, b"\1" * 32, other).encode()
    await store.create(f"anchors/v1/{other}/{8:020d}.note", note, retain_days=1)
    trust = by_roster(manifests={lost: (bytes(32),)})
    found = await verify_archive(store, trust, ArchiveRequest(locked=True, now=EPOCH))
    said = {log.origin: [(b.kind, b.index) for b in log.breaks] for log in found}
    assert said == {ORIGIN: [], lost: [("archive", 0)], other: [("shorter_than_anchor", 0)]}


async def test_archive_may_lag_the_sealed_heads_but_not_an_anchor() -> None:
    archive = await Archive(Bucket()).fill()
    ahead = anchor(archive.log, 14)
    for level in LEVELS:
        assert await breaks(archive, level, by_roster(heads=(ahead,))) == []
        trust = Trust(keys=KEY.trusted(), anchors=(ahead,), heads=(ahead,))
        assert await breaks(archive, level, trust) == [("shorter_than_anchor", 12)]


async def test_anchor_of_another_log_was_given_and_is_missing() -> None:
    archive = await Archive(Bucket()).fill()
    elsewhere = CheckpointText("other.example/prod/authz.decisions/0", 8, b"\1" * 32)
    for level in LEVELS:
        assert (await told(archive, level, replace(TRUST, anchors=(elsewhere,)))).anchored == (
            "missing"
        )


async def test_manifests_that_were_rewritten_are_told_also_of_a_log_that_was_forked() -> None:
    archive = await Archive(Bucket()).fill()
    fork = EpochForked(
        origin=ORIGIN,
        size=8,
        root=anchor(archive.log, 8).root,
        epoch=1,
        cluster_id="c",
        topic_id="t",
        offset=0,
    )
    trust = by_roster(manifests={ORIGIN: (b"\1" * 32,)}, forks={ORIGIN: fork})
    for level in LEVELS:
        assert await breaks(archive, level, trust) == [("archive", 7)]


@pytest.mark.parametrize("level", LEVELS)
async def test_archive_with_another_past_than_a_sealed_head_is_a_fork(level: str) -> None:
    archive = await Archive(Bucket()).fill()
    for trust in (
        by_roster(heads=(CheckpointText(ORIGIN, 8, b"\1" * 32),)),
        replace(TRUST, anchors=(CheckpointText(ORIGIN, 8, b"\1" * 32),)),
    ):
        assert [kind for kind, _ in await breaks(archive, level, trust)] == ["fork"]


@pytest.mark.parametrize("level", LEVELS)
async def test_records_an_operator_declared_void_break_nothing(level: str) -> None:
    log = usual_log()
    log.rows = changed(log.rows, 9, flipped)
    archive = await Archive(Bucket(), log).fill()
    assert await breaks(archive) == [("altered", 9)]
    size, root = 8, anchor(log, 8).root
    fork = EpochForked(
        origin=ORIGIN, size=size, root=root, epoch=1, cluster_id="c", topic_id="t", offset=0
    )
    trust = replace(TRUST, forks={ORIGIN: fork})
    verdict = await told(archive, level, trust)
    assert (verdict.breaks, verdict.size, verdict.void_from) == ((), 8, 8)
