"""Attacks on an archive that a real server lets happen, or that a lying one commits itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.clock import SystemClock
from streams.objects.s3 import S3ObjectStore
from streams.ports import ObjectInfo
from streams.segments import manifest_name, segment_name
from streams.verifier import LEVELS, Remembered, Replica
from tests.support.archived_logs import TRUST, Archive, breaks, told
from tests.support.lying_s3 import Lie, Reply, Request, lying_s3
from tests.support.s3_fixtures import S3Server
from tests.support.signed_logs import KEY, ORIGIN

pytestmark = pytest.mark.integration
SEGMENT, MANIFEST = segment_name(ORIGIN, 4), manifest_name(ORIGIN, 4)
PREFIX = "deployment"


class Place(NamedTuple):
    """A bucket with an archive in it, and whoever may write there."""

    server: S3Server
    bucket: str
    archive: Archive

    def put(self, name: str, body: bytes) -> None:
        """A newer version, without a lock."""
        client = self.server.client()
        client.put_object(Bucket=self.bucket, Key=f"{PREFIX}/{name}", Body=BytesIO(body))

    def hide(self, name: str) -> None:
        """Under a delete marker."""
        self.server.client().delete_object(Bucket=self.bucket, Key=f"{PREFIX}/{name}")


@pytest.fixture
async def place(s3_server: S3Server, locked_bucket: str) -> AsyncIterator[Place]:
    store = s3_server.store(locked_bucket)
    yield Place(s3_server, locked_bucket, await Archive(store, days=1).fill())
    await store.close()


async def test_archive_in_a_bucket_is_intact(place: Place) -> None:
    for level in LEVELS:
        verdict = await told(place.archive, level)
        assert (verdict.breaks, verdict.size) == ((), 12)
        assert verdict.archive is not None
        tomorrow = verdict.archive.locked_until
        assert tomorrow is not None
        assert await breaks(place.archive, level, locked_until=tomorrow) == []
        later = tomorrow + timedelta(hours=1)
        assert await breaks(place.archive, level, locked_until=later) == [("lock", 0)]


@pytest.mark.parametrize(
    "attack",
    [lambda place: place.put(SEGMENT, b"forged"), lambda place: place.hide(MANIFEST)],
    ids=["a newer version of a segment", "a delete marker over a manifest"],
)
async def test_what_was_laid_over_an_object_is_named_and_hides_nothing(
    place: Place, attack: Callable[[Place], None]
) -> None:
    attack(place)
    for level in LEVELS:
        assert await breaks(place.archive, level) == [("archive", 4)]
    assert (await told(place.archive)).records == 12


class Unlocked(S3ObjectStore):
    """Writes without a lock, and says that there is one."""

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        assert retain_days
        name = f"{PREFIX}/{key}"
        put = self._client.put_object
        answer = await asyncio.to_thread(put, Bucket=self._bucket, Key=name, Body=body)
        return answer["VersionId"]

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        info = await super().head(key, version_id)
        return info and info._replace(retain_until=datetime(2026, 1, 1, tzinfo=UTC))


async def test_archive_written_without_locks_is_named_and_so_is_what_is_done_to_it(
    s3_server: S3Server, locked_bucket: str
) -> None:
    archive = await Archive(Unlocked(s3_server.connection, locked_bucket, PREFIX)).fill()
    archive.store = s3_server.store(locked_bucket)
    place = Place(s3_server, locked_bucket, archive)
    assert await breaks(archive) == [("lock", 0)]
    version = (await archive.store.versions(SEGMENT))[0].version_id
    s3_server.client().delete_object(
        Bucket=locked_bucket, Key=f"{PREFIX}/{SEGMENT}", VersionId=version
    )
    for _ in ("deleted", "and another in its place"):
        for level in LEVELS:
            assert (await breaks(archive, level))[:2] == [("lock", 0), ("archive", 4)]
        place.put(SEGMENT, archive.files[4])


def other_bytes(request: Request, reply: Reply) -> Reply:
    """Another segment than was asked for, as long as it was."""
    if request.method == "GET" and SEGMENT in request.path and reply.status == 200:
        body = bytes([reply.body[0], *reply.body[1:-40], *bytes(40)])
        return replace(reply, body=body[: len(reply.body)])
    return reply


async def test_server_that_gives_out_other_bytes_than_it_lists_is_seen_when_they_are_read(
    place: Place,
) -> None:
    with lying_s3(place.server, Lie(reply=other_bytes)) as liar:
        archive = Archive(liar.store(place.bucket))
        assert await breaks(archive, "list") == []
        assert await breaks(archive, "file") == [("archive", 4)]
        assert ("archive", 4) in await breaks(archive)


def unlocked(request: Request, reply: Reply) -> Reply:
    if request.method != "HEAD":
        return reply
    kept = {k: v for k, v in reply.headers.items() if not k.startswith("x-amz-object-lock")}
    return replace(reply, headers=kept)


async def test_server_that_tells_of_no_lock_is_believed(place: Place) -> None:
    with lying_s3(place.server, Lie(reply=unlocked)) as liar:
        archive = Archive(liar.store(place.bucket))
        assert await breaks(archive, "list") == [("lock", 0)]


async def test_what_is_remembered_of_a_bucket_is_bound_to_what_it_lists(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "verified.json"
    for expected in (0, 2):
        with Remembered.open(path, KEY.trusted(), SystemClock()) as remembered:
            verdict = await told(place.archive, "record", TRUST, remembered=remembered)
        assert verdict.archive is not None
        assert (verdict.breaks, verdict.archive.remembered) == ((), expected)
    place.put(segment_name(ORIGIN, 0), b"forged")
    with Remembered.open(path, KEY.trusted(), SystemClock()) as remembered:
        assert await breaks(place.archive, remembered=remembered) == [("archive", 0)]


async def test_replica_in_another_bucket_lags_or_lies(place: Place) -> None:
    server, other = place.server, place.server.make_bucket()
    store = server.store(other)
    names = [v.key for v in await place.archive.store.versions("archive/")]
    for name in [name for name in names if "8." not in name]:
        await store.create(name, await place.archive.store.get(name) or b"", retain_days=1)
    replica = Replica(store, locked=True)
    for level in LEVELS:
        verdict = await told(place.archive, level, replica=replica)
        assert verdict.archive is not None
        said = verdict.archive.replica
        assert said is not None
        # Its locks were made later, and so last longer.
        assert (verdict.breaks, said.state, said.size, said.lacking) == ((), "lags", 8, 2)
    Place(server, other, place.archive).put(SEGMENT, b"forged")
    for level in LEVELS:
        (found,) = (await told(place.archive, level, replica=replica)).breaks
        assert (found.kind, found.index) == ("archive", 4)
        assert found.detail.startswith("replica: ")
