"""What a directory does beyond the contract: modes, dates, and what a crash leaves."""

import asyncio
import os
import resource
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.clock import SystemClock
from streams.errors import MissingExtraError, ObjectExistsError, SettingsError, TransientError
from streams.objects import DirectoryObjectStore, S3Connection, open_object_store

KEY = "archive/v1/test.example/t/0/segments/00000000000000000000.avro"
DAY_S = 86_400


def visible(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


async def test_a_file_is_read_only_and_dated_by_its_retention(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    version_id = await store.create(KEY, b"bytes", retain_days=400)
    found = (tmp_path / KEY).stat()
    assert stat.S_IMODE(found.st_mode) == 0o440
    left = found.st_mtime - SystemClock().now_ms() / 1000
    assert 399.9 * DAY_S < left <= 400 * DAY_S + 1
    assert found.st_mtime == int(found.st_mtime)
    info = await store.head(KEY, version_id)
    assert info is not None
    assert info.retain_until == datetime.fromtimestamp(found.st_mtime, UTC)
    assert info.lock_mode is None, "a directory locks nothing"


async def test_nothing_but_objects_is_left_behind(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    await store.check_bucket()
    await store.create(KEY, b"bytes", retain_days=1)
    with pytest.raises(ObjectExistsError):
        await store.create(KEY, b"other", retain_days=1)
    assert visible(tmp_path) == [KEY]
    assert (tmp_path / KEY).stat().st_nlink == 1


async def test_what_a_crash_left_unfinished_is_never_an_object(tmp_path: Path) -> None:
    unfinished = tmp_path / ".unfinished"
    unfinished.mkdir()
    left = unfinished / "tmp123"
    left.write_bytes(b"half an obj")
    store = DirectoryObjectStore(tmp_path)
    assert await store.versions("") == []
    await store.create(KEY, b"bytes", retain_days=1)
    assert left.exists(), "it may be another process's, writing now"
    assert [v.key for v in await store.versions("")] == [KEY]


async def test_what_a_crash_left_long_ago_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / ".unfinished"
    unfinished.mkdir()
    (unfinished / "tmp123").write_bytes(b"half an obj")
    monkeypatch.setattr("streams.objects.directory.UNFINISHED_KEPT_S", -60)
    await DirectoryObjectStore(tmp_path).create(KEY, b"bytes", retain_days=1)
    assert visible(tmp_path) == [KEY]


async def test_a_pipe_under_a_name_is_no_object_and_nobody_waits_for_it(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    version_id = await store.create(KEY, b"bytes", retain_days=1)
    (tmp_path / KEY).unlink()
    os.mkfifo(tmp_path / KEY)
    async with asyncio.timeout(5):
        assert await store.versions("") == []
        assert await store.get(KEY) is None
        assert await store.head(KEY, version_id) is None


async def test_a_replaced_file_is_another_version(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    version_id = await store.create(KEY, b"bytes", retain_days=1)
    (tmp_path / KEY).unlink()
    (tmp_path / KEY).write_bytes(b"other")
    assert await store.get(KEY, version_id) is None
    assert await store.head(KEY, version_id) is None
    (found,) = await store.versions("")
    assert found.version_id != version_id


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "a/../../b", "./a", ".a", "a/.b", "a\\b", "a\0b"]
)
async def test_a_key_that_could_leave_the_directory_is_refused(tmp_path: Path, key: str) -> None:
    store = DirectoryObjectStore(tmp_path / "objects")
    with pytest.raises(ValueError, match="key"):
        await store.create(key, b"", retain_days=1)
    with pytest.raises(ValueError, match="key"):
        await store.get(key)
    assert await store.versions(f"{key}/") == []


async def test_a_place_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DirectoryObjectStore(tmp_path / "file" / "objects")
    with pytest.raises(SettingsError, match="File exists"):
        await store.check_bucket()
    with pytest.raises(SettingsError, match="File exists"):
        await store.create(KEY, b"bytes", retain_days=1)


async def test_a_write_that_fails_half_way_may_pass_and_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(TransientError, match="File too large"):
            await store.create(KEY, bytes(2**21), retain_days=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert visible(tmp_path) == []
    await store.create(KEY, bytes(2**21), retain_days=1)


def test_an_address_chooses_the_store(tmp_path: Path) -> None:
    assert isinstance(open_object_store(str(tmp_path), S3Connection()), DirectoryObjectStore)
    endpoint = S3Connection(endpoint="http://127.0.0.1:9", access_key="a", secret="hidden-secret")
    store = open_object_store("s3://bucket/some/prefix/", endpoint)
    assert repr(store) == "S3ObjectStore('s3://bucket/some/prefix/')"
    assert "hidden-secret" not in repr(endpoint)
    for url in ("s3://", "s3://x", "gs://bucket/prefix", "s3://UPPER/prefix"):
        with pytest.raises(SettingsError, match="expected s3://bucket/prefix"):
            open_object_store(url, S3Connection())


def test_a_bucket_without_the_s3_client_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    for module in ("s3", "s3_client"):
        monkeypatch.delitem(sys.modules, f"streams.objects.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'attestream\[s3\]'"):
        open_object_store("s3://bucket/prefix", S3Connection())


async def test_of_many_who_replace_a_file_at_once_one_succeeds(tmp_path: Path) -> None:
    # Large bodies: between comparing what stands and renaming over it others would have time.
    stores = [DirectoryObjectStore(tmp_path) for _ in range(4)]
    tag = await stores[0].replace("checkpoint", bytes(2**20))
    for count in range(5):
        answers = await asyncio.gather(
            *(
                store.replace("checkpoint", bytes([count + 1, number]) * 2**19, over=tag)
                for number, store in enumerate(stores)
            ),
            return_exceptions=True,
        )
        (tag,) = (answer for answer in answers if isinstance(answer, str))


async def test_what_was_replaced_keeps_the_time_it_was_written(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    tag = await store.replace("checkpoint", b"first")
    await store.replace("checkpoint", b"second", over=tag)
    file = tmp_path / "checkpoint"
    assert abs(file.stat().st_mtime - file.stat().st_ctime) < 60
    assert file.stat().st_mode & 0o777 == 0o440
    assert [v.key for v in await store.versions("")] == ["checkpoint"]
