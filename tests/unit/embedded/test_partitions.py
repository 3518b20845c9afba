"""What the ports' contract cannot ask of Kafka: damage, a full disk, a lock that is not let go."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.embedded import arrivals, connections, database, record_tables
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.home import DATABASE
from streams.embedded.partitions import (
    EmbeddedPartitionReader,
    EmbeddedPartitionWriter,
    EmbeddedSourcePartition,
)
from streams.errors import (
    FencedError,
    OutcomeUnknownError,
    SettingsError,
    SourceChangedError,
    SourceUnreadableError,
    TransientError,
)
from streams.ports import NewRecord, Posted

TOPIC = "events"
POSTED = Posted(5, 5, b"r" * 32)


def rows(count: int, size: int = 10) -> list[NewRecord]:
    return [NewRecord(n, b"%09d" % n * (size // 9 + 1)) for n in range(count)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[EmbeddedDatabase]:
    made = EmbeddedDatabase.open(tmp_path)
    yield made
    made.close()


async def writer_of(opened: EmbeddedDatabase, topic: str = TOPIC) -> EmbeddedPartitionWriter:
    await opened.ensure_topic(topic)
    writer = EmbeddedPartitionWriter(opened, topic, 0)
    await writer.start()
    return writer


def reader_of(opened: EmbeddedDatabase) -> EmbeddedPartitionReader:
    return EmbeddedPartitionReader(opened, TOPIC, 0)


async def by_hand(opened: EmbeddedDatabase, *statements: str) -> None:
    def run(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    await opened.write(run)


async def counted(opened: EmbeddedDatabase) -> int:
    fetched = await reader_of(opened).fetch(0, max_records=10_000, max_wait_ms=0)
    return len(fetched.records)


async def test_a_full_disk_writes_nothing_and_is_over_when_there_is_room(
    opened: EmbeddedDatabase,
) -> None:
    writer = await writer_of(opened)
    await writer.append(rows(3))
    opened._writing.execute("PRAGMA max_page_count=12")
    with pytest.raises(OutcomeUnknownError, match="has no space left to grow"):
        await writer.append(rows(500, 1000))
    with pytest.raises(OutcomeUnknownError, match="was dropped or failed"):
        await writer.append(rows(1))
    assert await counted(opened) == 3
    opened._writing.execute("PRAGMA max_page_count=1000000")
    again = EmbeddedPartitionWriter(opened, TOPIC, 0)
    await again.start()
    await again.append(rows(500, 1000))
    assert await counted(opened) == 503


async def test_a_lock_nobody_lets_go_is_named_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections.connect, "__kwdefaults__", {"busy_s": 0.05})
    opened = EmbeddedDatabase.open(tmp_path)
    writer = await writer_of(opened)
    source = await EmbeddedSourcePartition.own(opened, TOPIC, 0, role="sealer")
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutcomeUnknownError, match="locked by another process for too long"):
            await writer.append(rows(1))
        with pytest.raises(TransientError, match="locked by another process for too long"):
            await source.post(POSTED)
        # Who only reads is not held up.
        assert await counted(opened) == 0
        other.execute("ROLLBACK")
    await source.post(POSTED)
    assert await source.posted() == POSTED
    opened.close()


async def test_a_row_deleted_by_hand_is_noticed_not_skipped(opened: EmbeddedDatabase) -> None:
    await (await writer_of(opened)).append(rows(10))
    reader = reader_of(opened)
    for gone, offset in ((0, 0), (4, 2), (9, 9)):
        await by_hand(opened, f"DELETE FROM records_1 WHERE offset = {gone}")
        with pytest.raises(SourceChangedError, match=r"events/0 between offsets \d and 10"):
            await reader.fetch(offset, max_records=100, max_wait_ms=0)


async def test_an_end_set_back_by_hand_fences_the_writer(opened: EmbeddedDatabase) -> None:
    writer = await writer_of(opened)
    await writer.append(rows(10))
    await by_hand(opened, "UPDATE partitions SET end_offset = 5")
    with pytest.raises(FencedError, match="another writer started, or appended"):
        await writer.append(rows(1))


async def test_no_offset_is_given_twice_whatever_the_end_says(opened: EmbeddedDatabase) -> None:
    await (await writer_of(opened)).append(rows(10))
    await by_hand(opened, "UPDATE partitions SET end_offset = 5")
    again = EmbeddedPartitionWriter(opened, TOPIC, 0)
    await again.start()
    with pytest.raises(SourceUnreadableError, match="UNIQUE constraint failed"):
        await again.append(rows(1))


async def test_offsets_go_on_behind_records_that_retention_took(opened: EmbeddedDatabase) -> None:
    writer = await writer_of(opened)
    await writer.append(rows(10))
    await by_hand(
        opened, "DELETE FROM records_1", "UPDATE partitions SET start_offset = end_offset"
    )
    appended = await writer.append(rows(2))
    assert appended == (10, 11)
    reader = reader_of(opened)
    assert await reader.bounds() == (10, 12, 12)
    with pytest.raises(SourceChangedError, match="is gone: its log starts at 10 now"):
        await reader.fetch(9, max_records=1, max_wait_ms=0)


async def test_what_stands_behind_the_end_is_no_record(opened: EmbeddedDatabase) -> None:
    await (await writer_of(opened)).append(rows(2))
    await by_hand(opened, "INSERT INTO records_1 (offset, timestamp) VALUES (2, 0)")
    assert await counted(opened) == 2


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records_1 SET headers = x'0102' WHERE offset = 3",
        "UPDATE partitions SET end_offset = 'many'",
        "DROP TABLE records_1",
    ],
)
async def test_damage_is_named_and_is_no_traceback(opened: EmbeddedDatabase, damage: str) -> None:
    await (await writer_of(opened)).append(rows(10))
    await by_hand(opened, damage)
    with pytest.raises(SourceUnreadableError, match=r"attestream\.db is damaged"):
        await counted(opened)


async def test_a_damaged_position_is_named(opened: EmbeddedDatabase) -> None:
    await writer_of(opened)
    source = await EmbeddedSourcePartition.own(opened, TOPIC, 0, role="sealer")
    await source.post(POSTED)
    await by_hand(opened, "UPDATE positions SET root = 'text'")
    with pytest.raises(SourceUnreadableError, match="posted position of events/0"):
        await source.posted()


async def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    opened = EmbeddedDatabase.open(tmp_path)
    await (await writer_of(opened)).append(rows(2000, 100))
    opened.close()
    path = tmp_path / DATABASE
    data = bytearray(path.read_bytes())
    for page in range(12, len(data) // 8192):
        data[page * 8192 : page * 8192 + 64] = b"\xff" * 64
    path.write_bytes(data)
    opened = EmbeddedDatabase.open(tmp_path)
    with pytest.raises(SourceUnreadableError, match=r"is damaged: database disk image"):
        await counted(opened)
    opened.close()


async def test_a_topic_made_again_is_another_one(opened: EmbeddedDatabase) -> None:
    await (await writer_of(opened)).append(rows(10))
    before = await reader_of(opened).facts()
    await by_hand(opened, "DELETE FROM topics", "DELETE FROM partitions", "DROP TABLE records_1")
    with pytest.raises(TransientError, match="has no partition events/0"):
        await counted(opened)
    await opened.ensure_topic(TOPIC)
    after = await reader_of(opened).facts()
    assert after.topic_id != before.topic_id
    with pytest.raises(SourceChangedError, match="beyond its end 0"):
        await reader_of(opened).fetch(10, max_records=1, max_wait_ms=0)


async def test_a_writer_of_no_partition_is_refused(opened: EmbeddedDatabase) -> None:
    await opened.ensure_topic(TOPIC)
    with pytest.raises(SettingsError, match="events/1 does not exist"):
        await EmbeddedPartitionWriter(opened, TOPIC, 1).start()


async def test_a_fetch_is_bounded_in_bytes_but_never_stuck(
    opened: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_tables, "READ_BYTES", 100)
    await (await writer_of(opened)).append(rows(10, 44) + rows(1, 900))
    sizes, offset = [], 0
    while offset < 11:
        fetched = await reader_of(opened).fetch(offset, max_records=100, max_wait_ms=0)
        sizes.append(len(fetched.records))
        offset = fetched.next_offset
    assert sizes == [3, 3, 3, 2]


async def test_a_record_from_before_1970_is_refused(opened: EmbeddedDatabase) -> None:
    writer = await writer_of(opened)
    with pytest.raises(ValueError, match="must not be negative: -1"):
        await writer.append([NewRecord(-1, b"v")])
    await writer.append(rows(1))


async def test_commits_of_this_process_wake_a_reader_without_the_timer(
    opened: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.embedded.arrivals.POLL_S", 60)
    writer = await writer_of(opened)
    waiting = asyncio.create_task(reader_of(opened).fetch(0, max_records=1, max_wait_ms=30_000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await writer.append(rows(1))
    async with asyncio.timeout(5):
        assert len((await waiting).records) == 1


async def test_the_timer_runs_only_while_somebody_waits(opened: EmbeddedDatabase) -> None:
    await writer_of(opened)
    await reader_of(opened).fetch(0, max_records=1, max_wait_ms=10)
    assert opened.arrivals._timer is not None
    await asyncio.sleep(3 * arrivals.POLL_S)
    assert opened.arrivals._timer is None


async def test_a_write_cancelled_before_it_began_does_not_happen(
    opened: EmbeddedDatabase,
) -> None:
    writer = await writer_of(opened)
    first = asyncio.create_task(writer.append(rows(500, 1000)))
    await asyncio.sleep(0)
    late = asyncio.create_task(opened.write(lambda c: c.execute("DELETE FROM identity")))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait({first, late})
    assert late.cancelled()
    reading = opened.read(lambda c: c.execute("SELECT count(*) FROM identity").fetchone())
    assert reading == (1,)


def test_reads_meet_a_lock_only_for_a_moment() -> None:
    # They run on the event loop.
    assert database.READ_BUSY_S <= 1
