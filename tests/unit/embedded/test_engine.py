"""The embedded engine behind the engines' common face."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from streams.embedded import engine as engines
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.engine import EmbeddedEngine
from streams.embedded.history import list_audit_partitions
from streams.engine import Engine, PartitionName
from streams.epochs import logs_there
from streams.errors import NotOwnerError, SettingsError
from streams.ports import NewRecord, Posted
from streams.settings import Settings, load_settings

SOURCES = ("authz.decisions", "memory.mutations", "attestream.alerts")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"ATTESTREAM_HOME": str(tmp_path), "ATTESTREAM_ORIGIN": "example.com/a"})


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[EmbeddedEngine]:
    made = await EmbeddedEngine.open(settings)
    yield made
    await made.close()


class Told:
    """What an ownership says, in order."""

    def __init__(self) -> None:
        self.assigned: list[PartitionName] = []
        self.revoked: list[PartitionName] = []
        self.more = asyncio.Event()

    async def on_assigned(self, names: Sequence[PartitionName]) -> None:
        self.assigned += names
        self.more.set()

    async def on_revoked(self, names: Sequence[PartitionName]) -> None:
        self.revoked += names
        self.more.set()

    async def told(self) -> None:
        async with asyncio.timeout(5):
            await self.more.wait()
        self.more.clear()


async def test_every_topic_is_there_from_the_start(
    engine: EmbeddedEngine, settings: Settings
) -> None:
    face: Engine = engine
    assert face.topology.base == "example.com/a"
    for source in SOURCES:
        for topic in (source, f"audit.{source}", f"dead-letters.{source}"):
            assert await face.partitions(topic) == 1
    assert await face.partitions("attestream.alerts.ocsf") == 1
    assert await face.partitions("absent") == 0
    audits = sorted((f"audit.{source}", 0) for source in face.topology.sources)
    assert list_audit_partitions(settings.home) == audits


async def test_an_epoch_has_the_partitions_of_its_source_also_later(
    engine: EmbeddedEngine, settings: Settings
) -> None:
    for _ in range(2):  # once is enough
        await engine.open_epoch(SOURCES[0], 1)
    assert await engine.partitions(f"audit.{SOURCES[0]}.e1") == 1
    await engine._database.ensure_topic(SOURCES[0], 3)
    again = await EmbeddedEngine.open(settings, create=False)
    assert await again.partitions(f"audit.{SOURCES[0]}.e1") == 3
    logs = [log async for log in logs_there(again) if log.source == SOURCES[0]]
    assert [(log.partition, log.epoch) for log in logs] == [
        (n, e) for e in (0, 1) for n in range(3)
    ]
    assert all(again.topology.log_of(log.audit, log.partition) == log for log in logs)
    await again.close()


async def test_a_home_opens_again_as_it_was(engine: EmbeddedEngine, settings: Settings) -> None:
    facts = await engine.reader(SOURCES[0], 0).facts()
    again = await EmbeddedEngine.open(settings, create=False)
    assert await again.reader(SOURCES[0], 0).facts() == facts
    await again.close()
    await again.close()


async def test_a_home_that_is_not_there_is_not_made_by_a_reader(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="holds no attestream database"):
        await EmbeddedEngine.open(settings, create=False)


async def test_events_and_records_pass_through_the_face(engine: EmbeddedEngine) -> None:
    async with engine.sink(SOURCES[0]) as sink:
        await sink.send(NewRecord(1, b"event"))
    writer = engine.writer(f"audit.{SOURCES[0]}", 0)
    await writer.start()
    await writer.append([NewRecord(1, b"sealed")])
    for topic, value in ((SOURCES[0], b"event"), (f"audit.{SOURCES[0]}", b"sealed")):
        fetched = await engine.reader(topic, 0).fetch(0, max_records=10, max_wait_ms=0)
        assert [r.value for r in fetched.records] == [value]


async def test_a_role_owns_every_partition_also_those_made_later(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "REFRESH_S", 0.01)
    told = Told()
    ownership = engine.join("sealer", SOURCES[:2], told.on_assigned, told.on_revoked)
    with pytest.raises(NotOwnerError):
        ownership.source(SOURCES[0], 0)
    running = asyncio.create_task(ownership.run())
    await told.told()
    assert told.assigned == [(SOURCES[0], 0), (SOURCES[1], 0)]
    await engine._database.ensure_topic(SOURCES[0], 2)
    await told.told()
    assert told.assigned[2:] == [(SOURCES[0], 1)]
    await ownership.source(SOURCES[0], 1).post(Posted(1, 1, b"r" * 32))
    assert await ownership.still_owns(SOURCES[0], 1)
    assert not await ownership.still_owns(SOURCES[0], 7)
    assert told.revoked == []
    running.cancel()


async def test_roles_have_positions_of_their_own(engine: EmbeddedEngine) -> None:
    told = Told()
    posted = Posted(1, 1, b"r" * 32)
    for role in ("sealer", "archive"):
        ownership = engine.join(role, SOURCES[:1], told.on_assigned, told.on_revoked)
        running = asyncio.create_task(ownership.run())
        await told.told()
        source = ownership.source(SOURCES[0], 0)
        assert await source.posted() is None
        await source.post(posted)
        running.cancel()


async def test_another_process_that_takes_a_partition_is_given_it(
    engine: EmbeddedEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "REFRESH_S", 0.01)
    mine, others = Told(), Told()
    ownership = engine.join("sealer", SOURCES[:1], mine.on_assigned, mine.on_revoked)
    running = [asyncio.create_task(ownership.run())]
    await mine.told()
    source = ownership.source(SOURCES[0], 0)
    other = EmbeddedEngine(EmbeddedDatabase.open(settings.home), engine.topology)
    taking = other.join("sealer", SOURCES[:1], others.on_assigned, others.on_revoked)
    running.append(asyncio.create_task(taking.run()))
    await mine.told()
    assert mine.revoked == [(SOURCES[0], 0)]
    with pytest.raises(NotOwnerError, match=SOURCES[0]):
        await source.post(Posted(1, 1, b"r" * 32))
    assert not await ownership.still_owns(SOURCES[0], 0)
    await asyncio.sleep(10 * engines.REFRESH_S)
    assert (mine.assigned, others.revoked) == ([(SOURCES[0], 0)], [])
    assert await taking.still_owns(SOURCES[0], 0)
    for task in running:
        task.cancel()
    await other.close()
