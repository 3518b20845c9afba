"""The ObjectStore port, over a directory, a real S3 server, and the store that tests use."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.clock import SystemClock
from streams.errors import ObjectExistsError, SettingsError, StoredOtherwiseError
from streams.objects import CheckedStore, DirectoryObjectStore
from tests.support.memory_objects import MemoryObjectStore
from tests.support.s3_fixtures import S3Server

Opened = Callable[[], CheckedStore]
KEY = "archive/v1/test.example/authz.decisions/0/segments/00000000000000000000.avro"


def now() -> datetime:
    return datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)


@pytest.fixture(params=["directory", "memory", pytest.param("s3", marks=pytest.mark.integration)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the same objects each time it is called."""
    if request.param == "directory":
        return lambda: DirectoryObjectStore(tmp_path / "objects")
    if request.param == "memory":
        memory = MemoryObjectStore(now)
        return lambda: memory
    server: S3Server = request.getfixturevalue("s3_server")
    bucket: str = request.getfixturevalue("locked_bucket")
    return lambda: server.store(bucket)


@pytest.fixture
def store(opened: Opened) -> CheckedStore:
    return opened()


async def test_a_usable_store_passes_its_check(store: CheckedStore) -> None:
    await store.check_bucket()


async def test_a_created_object_is_read_back_by_version(store: CheckedStore) -> None:
    version_id = await store.create(KEY, b"bytes", retain_days=1)
    assert await store.get(KEY, version_id) == b"bytes"
    assert await store.get(KEY) == b"bytes"
    assert [(v.key, v.version_id, v.size) for v in await store.versions(KEY)] == [
        (KEY, version_id, 5)
    ]


async def test_head_says_what_was_stored_and_until_when(store: CheckedStore) -> None:
    begun = now()
    version_id = await store.create(KEY, b"bytes", retain_days=400)
    info = await store.head(KEY, version_id)
    assert info is not None
    assert info.size == 5
    assert info.sha256 == hashlib.sha256(b"bytes").digest()
    assert info.retain_until is not None
    late = info.retain_until - begun - timedelta(days=400)
    assert timedelta(seconds=-1) <= late < timedelta(minutes=1)


async def test_an_object_is_never_overwritten(store: CheckedStore) -> None:
    version_id = await store.create(KEY, b"first", retain_days=1)
    for body in (b"second", b"first"):
        with pytest.raises(ObjectExistsError):
            await store.create(KEY, body, retain_days=1)
    assert await store.get(KEY) == b"first"
    assert [v.version_id for v in await store.versions(KEY)] == [version_id]


async def test_of_many_who_create_one_object_one_succeeds(store: CheckedStore) -> None:
    bodies = [b"%d" % i * 1000 for i in range(8)]
    answers = await asyncio.gather(
        *(store.create(KEY, body, retain_days=1) for body in bodies), return_exceptions=True
    )
    winners = [i for i, answer in enumerate(answers) if isinstance(answer, str)]
    assert len(winners) == 1
    assert all(isinstance(a, ObjectExistsError | str) for a in answers)
    assert await store.get(KEY) == bodies[winners[0]]
    assert len(await store.versions(KEY)) == 1


async def test_what_is_not_there_is_none(store: CheckedStore) -> None:
    assert await store.get(KEY) is None
    assert await store.get(KEY, "no-such-version") is None
    assert await store.head(KEY, "no-such-version") is None
    assert await store.versions("archive/") == []
    await store.create(KEY, b"bytes", retain_days=1)
    assert await store.get(KEY, "no-such-version") is None
    assert await store.head(KEY, "no-such-version") is None
    assert await store.get(KEY + "0") is None
    assert await store.get("archive/v1") is None


async def test_a_prefix_is_text_and_keys_come_in_order(store: CheckedStore) -> None:
    keys = ["a/10", "a/2", "a/1/x", "a/1", "ab", "b", "a/é", "a/z"]
    made = {}
    for key in keys:
        if key != "a/1":  # a directory cannot hold a file of a folder's name
            made[key] = await store.create(key, key.encode(), retain_days=1)
    for prefix in ("", "a", "a/", "a/1", "a/1/", "b", "c", "a/1/x/y", "no/such/folder"):
        found = await store.versions(prefix)
        expected = sorted((key for key in made if key.startswith(prefix)), key=str.encode)
        assert [v.key for v in found] == expected
        assert [v.version_id for v in found] == [made[key] for key in expected]
        assert not any(v.is_delete_marker for v in found)


@pytest.mark.parametrize("body", [b"", b"\0" * 3 * 2**20], ids=["empty", "3 MiB"])
async def test_any_bytes_come_back_as_they_went(store: CheckedStore, body: bytes) -> None:
    version_id = await store.create(KEY, body, retain_days=1)
    assert await store.get(KEY, version_id) == body


async def test_objects_outlive_the_store_that_made_them(opened: Opened) -> None:
    first = opened()
    version_id = await first.create(KEY, b"bytes", retain_days=1)
    await first.close()
    await first.close()
    second = opened()
    assert await second.get(KEY, version_id) == b"bytes"
    with pytest.raises(ObjectExistsError):
        await second.create(KEY, b"other", retain_days=1)
    await second.close()


async def test_a_lock_is_extended_and_never_shortened(store: CheckedStore) -> None:
    version_id = await store.create(KEY, b"bytes", retain_days=10)
    created = await store.head(KEY, version_id)
    assert created is not None
    assert created.retain_until is not None
    await store.extend(KEY, version_id, created.retain_until - timedelta(days=5))
    assert await store.head(KEY, version_id) == created
    later = created.retain_until + timedelta(days=30)
    await store.extend(KEY, version_id, later)
    extended = await store.head(KEY, version_id)
    assert extended is not None
    assert extended.retain_until is not None
    assert abs(extended.retain_until - later) <= timedelta(seconds=1)
    assert extended._replace(retain_until=None) == created._replace(retain_until=None)
    assert await store.get(KEY, version_id) == b"bytes"


async def test_no_lock_is_extended_of_what_is_not_there(store: CheckedStore) -> None:
    await store.create(KEY, b"bytes", retain_days=1)
    for key in (KEY, KEY + "0"):
        with pytest.raises((SettingsError, StoredOtherwiseError)):
            await store.extend(key, "no-such-version", now() + timedelta(days=1))
