"""An archive beside its replica: one that lags, and one that lies."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from streams.segments import Manifest, anchor_name, manifest_name, segment_name
from streams.verifier import LEVELS, LogVerdict, Replica, ReplicaReport
from tests.support.archived_logs import (
    DAYS,
    TRUST,
    Archive,
    Bucket,
    Folder,
    LyingBucket,
    told,
)
from tests.support.memory_objects import EPOCH
from tests.support.signed_logs import ORIGIN, SignedLog

SEGMENT, MANIFEST = segment_name(ORIGIN, 4), manifest_name(ORIGIN, 4)


async def copied(archive: Archive, replica: Bucket | Folder) -> Bucket | Folder:
    """Every object, as replication does, with the version ids and locks that it has."""
    for version in await archive.store.versions(""):
        body = await archive.store.get(version.key, version.version_id)
        await replica.create(version.key, body or b"", retain_days=DAYS)
    return replica


async def compared(
    archive: Archive, replica: Bucket | Folder, level: str = "record"
) -> tuple[list[tuple[str, int]], ReplicaReport]:
    place = Replica(replica, locked=isinstance(replica, Bucket))
    verdict: LogVerdict = await told(archive, level, replica=place)
    assert verdict.archive is not None
    assert verdict.archive.replica is not None
    said = [(b.kind, b.index) for b in verdict.breaks]
    return said, verdict.archive.replica


@pytest.mark.parametrize("level", LEVELS)
async def test_replica_that_holds_the_same_is_checked(level: str, tmp_path: Path) -> None:
    archive = await Archive(Bucket()).fill()
    for kind in (Bucket(), Folder(tmp_path)):
        replica = await copied(archive, kind)
        read = 0 if level == "list" else 3
        assert await compared(archive, replica, level) == (
            [],
            ReplicaReport(size=12, lacking=0, read=read),
        )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("gone", "size"),
    [
        ([segment_name(ORIGIN, 8), manifest_name(ORIGIN, 8)], 8),
        ([manifest_name(ORIGIN, 8)], 8),
        ([SEGMENT], 4),
        ([SEGMENT, manifest_name(ORIGIN, 8)], 4),
    ],
    ids=["end", "last manifest", "in the middle", "here and there"],
)
async def test_replica_that_lags_says_how_far_and_breaks_nothing(
    level: str, gone: list[str], size: int
) -> None:
    archive = await Archive(Bucket()).fill()
    replica = await copied(archive, Bucket())
    for name in gone:
        replica.put_instead(name, None)
    found, said = await compared(archive, replica, level)
    assert (found, said.state, said.size, said.lacking) == ([], "lags", size, len(gone))


@pytest.mark.parametrize("level", LEVELS)
async def test_replica_that_holds_nothing_of_a_log_is_missing(level: str) -> None:
    archive = await Archive(Bucket()).fill()
    found, said = await compared(archive, Bucket(), level)
    assert (found, said.state, said.lacking) == ([], "missing", 6)


def overlaid(store: Bucket, _: Archive) -> None:
    store.overlay(SEGMENT, b"forged")


def hidden(store: Bucket, _: Archive) -> None:
    store.mark_deleted(MANIFEST)


def unlocked(store: Bucket, _: Archive) -> None:
    store.lock_until(SEGMENT, EPOCH + timedelta(days=1))


def other_manifest(store: Bucket, archive: Archive) -> None:
    manifest = replace(Manifest.parse(archive.manifests[4]), first_offset=0)
    store.put_instead(MANIFEST, manifest.render())


def other_bytes(store: Bucket, archive: Archive) -> None:
    store.put_instead(SEGMENT, archive.encoded_again(4))


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (overlaid, "archive"),
        (hidden, "archive"),
        (unlocked, "lock"),
        (other_manifest, "archive"),
        (other_bytes, "archive"),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
async def test_replica_that_lies_is_a_break(
    lie: Callable[[Bucket, Archive], None], kind: str, level: str
) -> None:
    archive = await Archive(Bucket()).fill()
    for store in (Bucket(), LyingBucket()):
        replica = await copied(archive, store)
        assert isinstance(replica, Bucket)
        lie(replica, archive)
        found, _ = await compared(archive, replica, level)
        is_unread = level == "list" and isinstance(store, LyingBucket) and lie is other_bytes
        assert found[:1] == ([] if is_unread else [(kind, 4)])


@pytest.mark.parametrize("level", LEVELS)
async def test_directory_that_lies_is_a_break_at_every_level(level: str, tmp_path: Path) -> None:
    archive = await Archive(Bucket()).fill()
    replica = await copied(archive, Folder(tmp_path))
    replica.put_instead(SEGMENT, archive.encoded_again(4))
    assert (await compared(archive, replica, level))[0] == [("archive", 4)]


async def test_lie_behind_what_a_replica_lacks_is_a_break_all_the_same() -> None:
    archive = await Archive(Bucket()).fill()
    for name, body in (
        (manifest_name(ORIGIN, 8), archive.manifests[4]),
        (segment_name(ORIGIN, 8), archive.files[4]),
    ):
        replica = await copied(archive, Bucket())
        replica.put_instead(SEGMENT, None)
        replica.put_instead(name, body)
        found, said = await compared(archive, replica)
        assert (found, said.state, said.size) == ([("archive", 8)], "lags", 4)


async def test_breaks_of_a_replica_say_so() -> None:
    archive = await Archive(Bucket()).fill()
    replica = await copied(archive, LyingBucket())
    replica.put_instead(SEGMENT, archive.encoded_again(4))
    place = Replica(replica, locked=True)
    (found,) = (await told(archive, replica=place)).breaks
    assert found.detail.startswith("replica: the segment of 4 has the SHA-256")


@pytest.mark.parametrize("level", LEVELS)
async def test_archive_that_was_put_back_is_shorter_than_its_replica(level: str) -> None:
    archive = await Archive(Bucket()).fill()
    replica = await copied(archive, Bucket())
    assert isinstance(archive.store, Bucket)
    for name in (segment_name(ORIGIN, 8), manifest_name(ORIGIN, 8), anchor_name(ORIGIN, 12)):
        archive.store.put_instead(name, None)
    assert (await compared(archive, replica, level))[0] == [("shorter_than_anchor", 8)]
    replica.put_instead(anchor_name(ORIGIN, 12), None)
    assert (await compared(archive, replica, level))[0] == [("shorter_than_anchor", 8)]


@pytest.mark.parametrize("level", LEVELS)
async def test_replica_of_another_history_that_was_signed_is_a_fork(level: str) -> None:
    forked = SignedLog().extend(4).checkpoint()
    forked.next_source_offset += 1
    for _ in range(2):
        forked.extend(4).checkpoint()
    other = await Archive(Bucket(), forked.extend(2)).fill()
    archive = await Archive(Bucket()).fill()
    assert isinstance(other.store, Bucket)
    found, _ = await compared(archive, other.store, level)
    assert {kind for kind, _ in found} == {"archive", "fork"}
    for size in (4, 8, 12):
        other.store.put_instead(anchor_name(ORIGIN, size), None)
    found, _ = await compared(archive, other.store, level)
    assert {kind for kind, _ in found} == {"archive", "fork"}


async def test_replica_vouches_for_nothing() -> None:
    archive = await Archive(Bucket()).fill()
    replica = await copied(archive, Bucket())
    verdict = await told(archive, trust=TRUST, replica=Replica(replica, locked=True))
    assert verdict.anchored == "not given"
