"""The Projection port: what is derived is the same whether it was interrupted or not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from projections.archive.fold import CutRules
from projections.archive.projection import ArchiveProjection, ArchiveWorld
from projections.dead_letters.projection import DeadLetterProjection, DeadLetterWorld
from projections.decision_index.projection import DecisionIndex, DecisionIndexWorld
from projections.decision_index.scoring import Rules
from projections.ports import Position, Projection
from projections.tiles.projection import TilesProjection, TilesWorld
from schemas.codec import decode_decision
from streams.clock import SystemClock
from streams.embedded.engine import EmbeddedEngine
from streams.objects import DirectoryObjectStore
from streams.segments import read_segment
from streams.settings import load_settings
from tests.support.partitions import read_all
from tests.support.sealed_log import KEYS, ORIGIN, PUBLIC_KEY, SealedLog, batches_of
from tests.support.static_checker import check_static_log, names_at
from tests.support.static_logs import RowsReader, static_files

BASE = "test.example"
CUT = CutRules(records_max=7)
LENGTHS = (3, 9, 14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """One projection over one place, opened as often as wanted, and what it has derived there."""

    make: Callable[[], Projection]
    content: Callable[[], Awaitable[list[bytes]]]


def archive(engine: EmbeddedEngine, folder: Path) -> Derived:
    del engine
    objects = DirectoryObjectStore(folder / "archive")
    world = ArchiveWorld(objects=objects, keys=KEYS, clock=SystemClock(), retain_days=1, rules=CUT)

    async def rows() -> list[bytes]:
        found: list[bytes] = []
        for version in await objects.versions(f"archive/v1/{ORIGIN}/segments/"):
            body = await objects.get(version.key)
            assert body is not None
            found += [row.value or b"" for row in read_segment(body).rows]
        return found

    return Derived(make=lambda: ArchiveProjection(world, ORIGIN), content=rows)


def dead_letters(engine: EmbeddedEngine, folder: Path) -> Derived:
    del folder
    topic = engine.topology.dead_letters(engine.topology.decisions)
    world = DeadLetterWorld(
        make_writer=lambda: engine.writer(topic, 0),
        make_reader=lambda: engine.reader(topic, 0),
        decode=decode_decision,
    )
    return Derived(
        make=lambda: DeadLetterProjection(world, ORIGIN), content=lambda: values(engine, topic)
    )


def decision_index(engine: EmbeddedEngine, folder: Path) -> Derived:
    del folder
    topic = engine.topology.alerts
    world = DecisionIndexWorld(
        make_writer=lambda: engine.writer(topic, 0),
        make_reader=lambda: engine.reader(topic, 0),
        rules=Rules(warm_up=0),
        clock=SystemClock(),
    )
    return Derived(
        make=lambda: DecisionIndex(world, ORIGIN), content=lambda: values(engine, topic)
    )


def tiles(engine: EmbeddedEngine, folder: Path) -> Derived:
    del engine
    objects = DirectoryObjectStore(folder / "tiles")
    world = TilesWorld(
        objects=objects,
        keys=KEYS,
        clock=SystemClock(),
        open_reader=lambda: RowsReader(sealed_log().rows),
    )

    async def files() -> list[bytes]:
        """What the published checkpoint covers, and it."""
        found = await static_files(objects)
        if not found:
            return []
        size = check_static_log(found, ORIGIN, PUBLIC_KEY)
        return [found[name] for name in [*names_at(size), "checkpoint"]]

    return Derived(make=lambda: TilesProjection(world, ORIGIN), content=files)


async def values(engine: EmbeddedEngine, topic: str) -> list[bytes]:
    return [record.value or b"" for record in await read_all(engine.reader(topic, 0))]


Make = Callable[[EmbeddedEngine, Path], Derived]
PROJECTIONS: dict[str, Make] = {
    "archive": archive,
    "dead letters": dead_letters,
    "decision index": decision_index,
    "tiles": tiles,
}


@pytest.fixture(params=PROJECTIONS)
def make(request: pytest.FixtureRequest) -> Make:
    return PROJECTIONS[request.param]


@asynccontextmanager
async def derived_in(folder: Path, make: Make) -> AsyncIterator[Derived]:
    environment = {"ATTESTREAM_HOME": str(folder / "home"), "ATTESTREAM_ORIGIN": BASE}
    engine = await EmbeddedEngine.open(load_settings(environment))
    try:
        yield make(engine, folder)
    finally:
        await engine.close()


async def follow(projection: Projection, log: SealedLog, *, most: int | None = None) -> Position:
    """Apply what the log holds, at most so many batches; where it began."""
    position = await projection.resume()
    for number, batch in enumerate(batches_of(log, position)):
        if number == most:
            return position
        await projection.apply(batch)
    await projection.idle()
    return position


def sealed_log(lengths: tuple[int, ...] = LENGTHS) -> SealedLog:
    log = SealedLog()
    for length in lengths:
        log.append(length)
        log.checkpoint()
    return log


async def test_a_new_projection_begins_at_index_0(tmp_path: Path, make: Make) -> None:
    async with derived_in(tmp_path, make) as derived:
        projection = derived.make()
        position = await projection.resume()
        assert (position.index, position.opening) == (0, None)
        await projection.close()


async def test_a_projection_interrupted_after_any_batch_comes_out_the_same(
    tmp_path: Path, make: Make
) -> None:
    log = sealed_log()
    async with derived_in(tmp_path / "straight", make) as derived:
        await follow(derived.make(), log)
        straight = await derived.content()
    for most in range(len(LENGTHS) + 1):
        async with derived_in(tmp_path / f"after {most}", make) as derived:
            # The first is never closed: its process was killed.
            await follow(derived.make(), log, most=most)
            await follow(derived.make(), log)
            assert await derived.content() == straight


async def test_a_projection_goes_on_where_its_result_ends(tmp_path: Path, make: Make) -> None:
    log = sealed_log()
    async with derived_in(tmp_path, make) as derived:
        await follow(derived.make(), log)
        began = await derived.make().resume()
        assert began.index in (0, log.size)
        assert (began.opening is None) == (began.index == 0)


async def test_what_is_sealed_later_is_added(tmp_path: Path, make: Make) -> None:
    log = sealed_log()
    async with derived_in(tmp_path / "in one", make) as derived:
        await follow(derived.make(), log)
        in_one = await derived.content()
    grown = sealed_log(LENGTHS[:2])
    async with derived_in(tmp_path / "in two", make) as derived:
        await follow(derived.make(), grown)
        assert len(await derived.content()) <= len(in_one)
        for length in LENGTHS[2:]:
            grown.append(length)
            grown.checkpoint()
        await follow(derived.make(), grown)
        assert await derived.content() == in_one


async def test_a_projection_is_closed_twice_without_harm(tmp_path: Path, make: Make) -> None:
    async with derived_in(tmp_path, make) as derived:
        projection = derived.make()
        await projection.close()
        await projection.resume()
        await projection.close()
        await projection.close()
