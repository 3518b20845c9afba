"""The PublicStore port, over a directory, a real S3 server, and the store that tests use."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import ObjectExistsError
from streams.objects import CheckedStore, DirectoryObjectStore
from tests.support.memory_objects import MemoryObjectStore
from tests.support.s3_fixtures import S3Server

Opened = Callable[[], CheckedStore]
KEY = "tiles/v1/test.example/authz.decisions/0/checkpoint"


@pytest.fixture(params=["directory", "memory", pytest.param("s3", marks=pytest.mark.integration)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the same objects each time it is called."""
    if request.param == "directory":
        return lambda: DirectoryObjectStore(tmp_path / "objects")
    if request.param == "memory":
        memory = MemoryObjectStore()
        return lambda: memory
    server: S3Server = request.getfixturevalue("s3_server")
    bucket: str = request.getfixturevalue("locked_bucket")
    return lambda: server.store(bucket)


@pytest.fixture
def store(opened: Opened) -> CheckedStore:
    return opened()


async def test_what_was_never_put_is_none(store: CheckedStore) -> None:
    assert await store.newest(KEY) is None
    assert await store.newest("tiles/v1") is None


async def test_an_object_is_replaced_as_a_whole(store: CheckedStore) -> None:
    first = await store.replace(KEY, b"first, and longer")
    assert await store.newest(KEY) == (b"first, and longer", first)
    second = await store.replace(KEY, b"second", over=first)
    assert await store.newest(KEY) == (b"second", second)
    assert second != first


async def test_only_what_was_expected_is_replaced(store: CheckedStore) -> None:
    first = await store.replace(KEY, b"first")
    second = await store.replace(KEY, b"second", over=first)
    for over in (None, first):
        with pytest.raises(ObjectExistsError):
            await store.replace(KEY, b"third", over=over)
    with pytest.raises(ObjectExistsError):
        await store.replace(KEY + "2", b"third", over=first)
    assert await store.newest(KEY) == (b"second", second)
    assert await store.newest(KEY + "2") is None


async def test_putting_what_stands_already_is_no_error(store: CheckedStore) -> None:
    tag = await store.replace(KEY, b"first")
    assert await store.replace(KEY, b"first") == tag
    await store.replace(KEY, b"first", over=tag)
    found = await store.newest(KEY)
    assert found is not None
    assert found.body == b"first"


@pytest.mark.parametrize("over", [False, True], ids=["a free name", "what stands"])
async def test_of_many_who_replace_one_object_one_succeeds(
    store: CheckedStore, *, over: bool
) -> None:
    tag = await store.replace(KEY, b"before") if over else None
    bodies = [b"%d" % i * 1000 for i in range(8)]
    answers = await asyncio.gather(
        *(store.replace(KEY, body, over=tag) for body in bodies), return_exceptions=True
    )
    winners = [i for i, answer in enumerate(answers) if isinstance(answer, str)]
    assert len(winners) == 1
    assert all(isinstance(answer, ObjectExistsError | str) for answer in answers)
    assert await store.newest(KEY) == (bodies[winners[0]], answers[winners[0]])


@pytest.mark.parametrize("over", [False, True], ids=["a free name", "what stands"])
async def test_many_who_put_the_same_bytes_all_succeed(opened: Opened, *, over: bool) -> None:
    stores = [opened() for _ in range(3)]
    tag = await stores[0].replace(KEY, b"before") if over else None
    await asyncio.gather(*(store.replace(KEY, b"same", over=tag) for store in stores))
    found = await stores[0].newest(KEY)
    assert found is not None
    assert found.body == b"same"


async def test_of_many_stores_over_one_place_one_replaces(opened: Opened) -> None:
    stores = [opened() for _ in range(4)]
    tag = await stores[0].replace(KEY, b"0")
    for count in range(1, 6):
        answers = await asyncio.gather(
            *(s.replace(KEY, b"%d by %d" % (count, n), over=tag) for n, s in enumerate(stores)),
            return_exceptions=True,
        )
        (tag,) = (answer for answer in answers if isinstance(answer, str))


async def test_a_reader_never_sees_a_part(store: CheckedStore) -> None:
    bodies = [bytes([n]) * (1 + n * 50_000) for n in range(8)]
    seen: set[str] = set()

    async def read() -> None:
        while len(seen) < len(bodies) and not replaced.done():
            found = await store.newest(KEY)
            assert found is not None
            assert found.body in bodies
            seen.add(found.tag)

    async def write() -> None:
        tag = await store.replace(KEY, bodies[0])
        for body in bodies[1:]:
            tag = await store.replace(KEY, body, over=tag)

    await store.replace(KEY, bodies[0])
    replaced = asyncio.create_task(write())
    await asyncio.gather(read(), read(), replaced)


@pytest.mark.parametrize("body", [b"", b"\0" * 2**20], ids=["empty", "1 MiB"])
async def test_any_bytes_come_back_as_they_went(store: CheckedStore, body: bytes) -> None:
    tag = await store.replace(KEY, body)
    assert await store.newest(KEY) == (body, tag)


async def test_what_was_replaced_is_seen_by_every_store(opened: Opened) -> None:
    first, second = opened(), opened()
    tag = await first.replace(KEY, b"first")
    await first.close()
    assert await second.newest(KEY) == (b"first", tag)
    await second.replace(KEY, b"second", over=tag)
    found = await opened().newest(KEY)
    assert found is not None
    assert found.body == b"second"


async def test_what_is_public_stands_beside_what_is_locked(store: CheckedStore) -> None:
    locked = "archive/v1/test.example/authz.decisions/0/segments/00000000000000000000.avro"
    version_id = await store.create(locked, b"segment", retain_days=1)
    await store.replace(KEY, b"checkpoint")
    with pytest.raises(ObjectExistsError):
        await store.replace(locked, b"other")
    assert await store.get(locked, version_id) == b"segment"
    assert [version.key for version in await store.versions("")] == [locked, KEY]
