"""The verifier's side of the file: what is in it arrives as it is, or the reason why it cannot."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from schemas.records import Record
from streams.embedded import evidence, record_tables
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.history import copy_database, list_audit_partitions, read_partition
from streams.embedded.home import DATABASE
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.errors import SettingsError, SourceUnreadableError
from streams.ports import NewRecord

TOPIC = "audit.events"
ROWS = [
    NewRecord(
        n, b"value %d " % n * (1 + n % 40), b"key" if n % 3 else None, ((b"h", None),) * (n % 2)
    )
    for n in range(120)
]
RECORDS = [Record(n, row.timestamp, row.key, row.value, row.headers) for n, row in enumerate(ROWS)]


async def fill(database: EmbeddedDatabase, rows: list[NewRecord]) -> None:
    writer = EmbeddedPartitionWriter(database, TOPIC, 1)
    await writer.start()
    for first in range(0, len(rows), 50):
        await writer.append(rows[first : first + 50])


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    database = EmbeddedDatabase.open(path)
    await database.ensure_topic(TOPIC, 2, audit=True)
    await database.ensure_topic("events", 3)
    await fill(database, ROWS)
    database.close()
    return path


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "PAGE_RECORDS", 7)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def altered(home: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(home / DATABASE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return home


@pytest.mark.parametrize(
    "limit",
    [
        (evidence, "PAGE_RECORDS", 7),
        (record_tables, "READ_BYTES", 100),
        (evidence, "PAGE_RECORDS", 2000),
    ],
)
def test_records_come_whole_and_in_order_whatever_the_pages(
    home: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[ModuleType, str, int]
) -> None:
    monkeypatch.setattr(*limit)
    assert list(read_partition(home, TOPIC, 1)) == RECORDS
    assert list(read_partition(home / DATABASE, TOPIC, 1)) == RECORDS
    assert list(read_partition(home, TOPIC, 0)) == []


def test_only_audit_topics_are_listed(home: Path) -> None:
    assert list_audit_partitions(home) == [(TOPIC, 0), (TOPIC, 1)]


def test_looking_at_evidence_leaves_no_trace(home: Path) -> None:
    before = (home / DATABASE).read_bytes()
    list_audit_partitions(home)
    list(read_partition(home, TOPIC, 1))
    copy_database(home, home.parent / "copy.db")
    assert names(home) == [DATABASE]
    assert (home / DATABASE).read_bytes() == before


@pytest.mark.usefixtures("small_pages")
async def test_a_running_deployment_is_read_with_what_it_just_wrote(home: Path) -> None:
    database = EmbeddedDatabase.open(home)
    reading = read_partition(home, TOPIC, 1)
    head = [next(reading) for _ in range(10)]
    await fill(database, [NewRecord(1, b"later")])
    read = [*head, *reading]
    database.close()
    assert read == [*RECORDS, Record(120, 1, None, b"later")]


@pytest.mark.usefixtures("small_pages")
async def test_a_deployment_that_starts_while_its_file_is_read_is_noticed(home: Path) -> None:
    reading = read_partition(home, TOPIC, 1)
    head = [next(reading) for _ in range(10)]
    database = EmbeddedDatabase.open(home)
    await fill(database, [NewRecord(1, b"later %d" % n * 3000) for n in range(200)])
    read = [*head, *reading]
    database.close()
    assert [r.value for r in read[120:]] == [b"later %d" % n * 3000 for n in range(200)]
    assert read[:120] == RECORDS


async def test_what_a_killed_process_left_in_the_log_beside_the_file_is_read(
    home: Path, tmp_path: Path
) -> None:
    database = EmbeddedDatabase.open(home)
    await fill(database, [NewRecord(1, b"only in the log")])
    left = tmp_path / "left"
    left.mkdir()
    for name in (DATABASE, f"{DATABASE}-wal"):
        shutil.copy(home / name, left / name)
    database.close()
    assert [r.value for r in read_partition(left, TOPIC, 1)][-1] == b"only in the log"


async def test_where_no_lock_can_be_made_a_log_beside_the_file_is_refused_not_ignored(
    home: Path, tmp_path: Path
) -> None:
    database = EmbeddedDatabase.open(home)
    await fill(database, [NewRecord(1, b"only in the log")])
    medium = tmp_path / "medium"
    medium.mkdir()
    for name in (DATABASE, f"{DATABASE}-wal"):
        shutil.copy(home / name, medium / name)
    database.close()
    # As on read-only media: a `-shm` cannot be made.
    (medium / f"{DATABASE}-shm").symlink_to("nowhere")
    with pytest.raises(SourceUnreadableError, match=r"records in attestream\.db-wal that need"):
        list(read_partition(medium, TOPIC, 1))
    (medium / f"{DATABASE}-wal").write_bytes(b"")
    assert list(read_partition(medium, TOPIC, 1)) == RECORDS


async def test_a_copy_is_one_file_with_everything(home: Path, tmp_path: Path) -> None:
    database = EmbeddedDatabase.open(home)
    await fill(database, [NewRecord(1, b"only in the log")])
    target = tmp_path / "copy" / "evidence.db"
    target.parent.mkdir()
    copy_database(home, target)
    database.close()
    assert names(target.parent) == ["evidence.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(read_partition(target, TOPIC, 1))[:-1] == RECORDS
    assert names(target.parent) == ["evidence.db"]
    # Any SQLite opens it where nothing can be written: it asks for no write-ahead log.
    assert target.read_bytes()[18:20] == b"\1\1"


async def test_a_copy_can_be_run_again(home: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    copy_database(home, tmp_path / "again" / DATABASE)
    database = EmbeddedDatabase.open(tmp_path / "again")
    await fill(database, [NewRecord(1, b"more")])
    database.close()
    assert len(list(read_partition(tmp_path / "again", TOPIC, 1))) == 121


def test_a_copy_never_overwrites(home: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"precious")
    with pytest.raises(SettingsError, match="cannot be made: File exists"):
        copy_database(home, tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"precious"


def test_a_copy_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadableError, match="holds no attestream database"):
        copy_database(tmp_path / "absent", tmp_path / "target")
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 4080])
def test_what_is_no_database_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(content)
    for read in (list_audit_partitions, lambda p: list(read_partition(p, TOPIC, 0))):
        with pytest.raises(SourceUnreadableError, match=r"some\.db"):
            read(path)


def test_an_absent_partition_is_unreadable(home: Path) -> None:
    with pytest.raises(SourceUnreadableError, match=r"no records of audit\.events/2"):
        list(read_partition(home, TOPIC, 2))


@pytest.mark.usefixtures("small_pages")
def test_a_deleted_record_leaves_a_hole_for_the_verifier(home: Path) -> None:
    altered(home, "DELETE FROM records_2 WHERE offset IN (0, 13, 14, 119)")
    kept = [r for r in RECORDS if r.offset not in {0, 13, 14, 119}]
    assert list(read_partition(home, TOPIC, 1)) == kept


def test_values_of_other_types_arrive_as_bytes(home: Path) -> None:
    altered(
        home,
        "UPDATE records_2 SET value = CAST(value AS TEXT), timestamp = 'x' WHERE offset = 2",
        "UPDATE records_2 SET value = 7, key = 1.5 WHERE offset = 3",
        "UPDATE records_2 SET value = CAST(x'ff80' AS TEXT) WHERE offset = 4",
    )
    read = list(read_partition(home, TOPIC, 1))
    assert read[2] == RECORDS[2]._replace(timestamp=0)
    assert (read[3].key, read[3].value, read[4].value) == (b"1.5", b"7", b"\xff\x80")


def test_damaged_headers_are_named_by_their_offset(home: Path) -> None:
    altered(home, "UPDATE records_2 SET headers = x'00000009' WHERE offset = 5")
    with pytest.raises(SourceUnreadableError, match=r"audit\.events/1 is damaged at offset 5"):
        list(read_partition(home, TOPIC, 1))


VIEW = "CREATE VIEW records_2 AS SELECT * FROM kept"
COMPUTED = (
    "CREATE TABLE records_2 (offset INTEGER PRIMARY KEY, timestamp, key, "
    "value GENERATED ALWAYS AS (zeroblob(1000000000)), headers)"
)


@pytest.mark.parametrize("statement", [VIEW, COMPUTED], ids=["view", "computed column"])
def test_a_view_or_a_computed_column_in_place_of_records_is_never_run(
    home: Path, statement: str
) -> None:
    altered(home, "ALTER TABLE records_2 RENAME TO kept", statement)
    with pytest.raises(SourceUnreadableError, match="no records of"):
        list(read_partition(home, TOPIC, 1))


def test_a_flipped_byte_of_a_value_arrives_flipped(home: Path) -> None:
    path = home / DATABASE
    data = bytearray(path.read_bytes())
    at = data.index(b"value 77 ")
    data[at] ^= 1
    path.write_bytes(data)
    read = list(read_partition(home, TOPIC, 1))
    assert [r.offset for r, was in zip(read, RECORDS, strict=True) if r != was] == [77]


@pytest.mark.parametrize("length", [100, 8192, 3 * 8192, 5 * 8192 + 17])
def test_a_file_cut_short_is_unreadable(home: Path, length: int) -> None:
    path = home / DATABASE
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SourceUnreadableError, match=DATABASE):
        list(read_partition(home, TOPIC, 1))
