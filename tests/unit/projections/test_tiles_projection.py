"""When the tiles projection publishes, what it writes again, and what it keeps in memory."""

from dataclasses import dataclass

from projections.tiles.projection import PublishRules
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import SealedLog, batches_of
from tests.support.static_logs import check_tiles, entries, static_files, tiler


@dataclass
class Watch:
    """A clock that stands until it is moved."""

    seconds: float = 1000.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


def log_of(*lengths: int) -> SealedLog:
    log = SealedLog()
    for length in lengths:
        log.append(length)
        log.checkpoint()
    return log


async def sizes_published(
    log: SealedLog, rules: PublishRules, *, seconds_a_batch: float = 0
) -> list[int]:
    """The published size behind each batch."""
    objects, watch = MemoryObjectStore(), Watch()
    projection = tiler(objects, log, rules, watch)
    await projection.resume()
    sizes = []
    for batch in batches_of(log):
        await projection.apply(batch)
        sizes.append(await check_tiles(objects, entries(log)))
        watch.seconds += seconds_a_batch
    return sizes


async def test_nothing_is_published_before_it_is_time() -> None:
    log = log_of(5, 5, 5)
    assert await sizes_published(log, PublishRules()) == [0, 0, 0, 0]


async def test_many_unpublished_records_are_published() -> None:
    log = log_of(5, 5, 5, 5)
    assert await sizes_published(log, PublishRules(records_max=8)) == [0, 0, 10, 10, 20]


async def test_records_unpublished_for_long_are_published() -> None:
    log = log_of(1, 1, 1, 1, 1)
    rules = PublishRules(age_s_max=60)
    assert await sizes_published(log, rules, seconds_a_batch=25) == [0, 0, 0, 3, 3, 3]


async def test_a_quiet_log_is_published_once() -> None:
    objects, log = MemoryObjectStore(), log_of(5, 5)
    projection = tiler(objects, log)
    await projection.resume()
    for batch in batches_of(log):
        await projection.apply(batch)
    await projection.idle()
    before = await objects.versions("")
    await projection.idle()
    assert await objects.versions("") == before
    assert await check_tiles(objects, entries(log)) == 10


async def test_full_files_are_written_as_they_fill_and_not_held() -> None:
    objects, log = MemoryObjectStore(), log_of(*[64] * 16)
    projection = tiler(objects, log, PublishRules(held_max=2, records_max=10_000))
    await projection.resume()
    for batch in batches_of(log):
        await projection.apply(batch)
        assert len(projection._files) < 2
    assert sorted(await static_files(objects)) == [
        f"tile/{level}/{number:03d}" for level in (0, "entries") for number in range(4)
    ]
    await projection.idle()
    assert await check_tiles(objects, entries(log)) == 1024


async def test_a_partial_file_that_did_not_grow_is_not_written_again() -> None:
    log, written = log_of(300, 1, 1), list[str]()

    class Listening(MemoryObjectStore):
        async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
            written.append(key.rpartition("/tile/")[2])
            return await super().replace(key, body, over=over)

    projection = tiler(Listening(), log, PublishRules(records_max=1))
    await projection.resume()
    for batch in batches_of(log):
        await projection.apply(batch)
    assert [name for name in written if name.startswith("1/")] == ["1/000.p/1"]
