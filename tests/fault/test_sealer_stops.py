"""What must stop a partition, each with one sentence, and nothing sealed behind it."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from streams.embedded.home import DATABASE
from tests.support.sealing_world import SealingWorld, sealing_world

VALUES = [b"event-%d" % i for i in range(10)]
Damage = Callable[[sqlite3.Connection, str, str], None]


def partition_id(database: sqlite3.Connection, topic: str) -> int:
    found = database.execute("SELECT id FROM partitions WHERE topic = ?", (topic,))
    return int(found.fetchone()[0])


async def stop_of(world: SealingWorld) -> str:
    """Start a sealer and return why it stopped; the log must not have grown by it."""
    before = len(await world.log())
    task = asyncio.create_task(world.sealer().run())
    try:
        for _ in range(200):
            await asyncio.sleep(0.01)
            for state in world.health.parts.values():
                if state.state == "stopped":
                    assert len(await world.log()) == before
                    return f"{state.kind}: {state.why}"
    finally:
        task.cancel()
        await asyncio.wait({task})
    raise AssertionError(f"nothing stopped: {world.health.parts}")


def damaged(folder: Path, sql: str, topic: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "home" / DATABASE)) as database, database:
        table = f"records_{partition_id(database, topic)}"
        database.execute(sql.format(table=table), values)


async def test_source_record_rewritten_behind_its_leaf(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        await world.produce(b"more")
        damaged(tmp_path, "UPDATE {table} SET value = ? WHERE offset = 9", world.topic, b"other")
        assert (await stop_of(world)).startswith("source_changed: ")


def cut_audit_log(folder: Path, audit: str, end: int) -> None:
    damaged(folder, "DELETE FROM {table} WHERE offset >= ?", audit, end)
    with closing(sqlite3.connect(folder / "home" / DATABASE)) as database, database:
        database.execute(
            "UPDATE partitions SET end_offset = ? WHERE id = ?",
            (end, partition_id(database, audit)),
        )


def trim_source(folder: Path, topic: str, start: int) -> None:
    damaged(folder, "DELETE FROM {table} WHERE offset < ?", topic, start)
    with closing(sqlite3.connect(folder / "home" / DATABASE)) as database, database:
        database.execute(
            "UPDATE partitions SET start_offset = ? WHERE id = ?",
            (start, partition_id(database, topic)),
        )


@pytest.mark.parametrize("end", [0, 1, 5])
async def test_audit_log_that_lost_its_end_is_restored_from_the_source(
    tmp_path: Path, end: int
) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        cut_audit_log(tmp_path, world.engine.topology.audit(world.topic), end)
        await world.seal(len(VALUES))
        assert await world.sealed() == len(VALUES)


async def test_audit_log_that_lost_what_nobody_else_holds(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        cut_audit_log(tmp_path, world.engine.topology.audit(world.topic), 5)
        trim_source(tmp_path, world.topic, 8)
        assert "hold no more than" in await stop_of(world)


async def test_claim_of_another_topic(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        with closing(sqlite3.connect(tmp_path / "home" / DATABASE)) as database, database:
            database.execute("UPDATE topics SET topic_id = 'another' || topic_id")
        assert (await stop_of(world)).startswith("identity: ")


async def test_archive_that_does_not_know_the_log(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        world.objects = type(world.objects)(tmp_path / "another-archive")
        assert (await stop_of(world)).startswith("identity: ")


@pytest.mark.parametrize("kept", [4, 10])
async def test_source_trimmed_ahead_of_the_sealer(tmp_path: Path, kept: int) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES[:2])
        await world.seal(2)
        await world.produce(*VALUES)
        trim_source(tmp_path, world.topic, kept)
        assert (await stop_of(world)).startswith("gap: ")
