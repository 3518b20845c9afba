"""Opening `attestream.db`: made once, private, with one identity, and never somebody else's."""

import sqlite3
import stat
from pathlib import Path

import pytest

from streams.embedded.database import EmbeddedDatabase
from streams.embedded.home import DATABASE, exclusive_home, network_file_system
from streams.embedded.layout import PAGE_BYTES
from streams.errors import SettingsError, SourceUnreadableError, TransientError


def asked(database: EmbeddedDatabase, question: str) -> object:
    return database.read(lambda connection: connection.execute(question).fetchone()[0])


def test_a_home_and_all_its_files_are_private(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    database = EmbeddedDatabase.open(home)
    files = sorted(home.iterdir())
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (home, *files)]
    database.close()
    assert [path.name for path in files] == [DATABASE, f"{DATABASE}-shm", f"{DATABASE}-wal"]
    assert modes == [0o700, 0o600, 0o600, 0o600]


def test_every_connection_is_durable(tmp_path: Path) -> None:
    database = EmbeddedDatabase.open(tmp_path)
    try:
        for connection in (database._writing, database._reading):
            pragmas = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "page_size", "trusted_schema")
            ]
            assert pragmas == ["wal", 2, PAGE_BYTES, 0]
    finally:
        database.close()


def test_identity_and_topic_ids_stay_and_differ_between_homes(tmp_path: Path) -> None:
    seen = set[tuple[str, str]]()
    for home in ("one", "one", "other"):
        database = EmbeddedDatabase.open(tmp_path / home)
        seen.add((database.cluster_id, database.origin))
        assert len(bytes.fromhex(database.cluster_id)) == 16
        assert len(bytes.fromhex(database.origin.removeprefix("embedded-"))) == 8
        database.close()
        database.close()
    assert len(seen) == 2


def test_a_given_origin_is_kept_and_another_one_refused(tmp_path: Path) -> None:
    EmbeddedDatabase.open(tmp_path, origin="audit.example.com").close()
    for origin in (None, "audit.example.com"):
        database = EmbeddedDatabase.open(tmp_path, origin=origin)
        assert database.origin == "audit.example.com"
        database.close()
    with pytest.raises(SettingsError, match=r"holds the logs of audit\.example\.com") as refused:
        EmbeddedDatabase.open(tmp_path, origin="audit.example.org")
    assert len(refused.value.problems) == 1


def test_no_database_is_made_where_one_was_to_be_read(tmp_path: Path) -> None:
    home = tmp_path / "mistyped"
    with pytest.raises(SettingsError, match="holds no attestream database"):
        EmbeddedDatabase.open(home, create=False)
    assert not home.exists()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    path.write_bytes(b"a shopping list\n" * 1000)
    before = path.read_bytes()
    with pytest.raises(SourceUnreadableError, match="is not an attestream database"):
        EmbeddedDatabase.open(tmp_path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(SourceUnreadableError, match="is not an attestream database"):
        EmbeddedDatabase.open(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("PRAGMA user_version=1", "has format 1, this release reads format 2"),
        ("DROP TABLE positions", "is damaged: its table positions is not as it was"),
        ("DELETE FROM identity", "is damaged: its identity is gone"),
        ("ALTER TABLE topics ADD COLUMN note TEXT", "is damaged: its table topics"),
    ],
)
def test_another_format_is_refused_in_one_sentence(
    tmp_path: Path, change: str, sentence: str
) -> None:
    EmbeddedDatabase.open(tmp_path).close()
    changed = sqlite3.connect(tmp_path / DATABASE)
    changed.execute(change)
    changed.commit()
    changed.close()
    with pytest.raises(SourceUnreadableError, match=sentence) as refused:
        EmbeddedDatabase.open(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_in_place_of_the_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SettingsError, match="cannot be the home"):
            EmbeddedDatabase.open(home)


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).mkdir()
    with pytest.raises(SettingsError, match="cannot be opened"):
        EmbeddedDatabase.open(tmp_path)


def test_one_process_runs_a_home_and_the_next_may_after_it(tmp_path: Path) -> None:
    with (
        exclusive_home(tmp_path / "home"),
        pytest.raises(SettingsError, match="another process already runs"),
        exclusive_home(tmp_path / "home"),
    ):
        pass
    with exclusive_home(tmp_path / "home"):
        assert stat.S_IMODE((tmp_path / "home" / "attestream.lock").stat().st_mode) == 0o600


MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /data rw - nfs4 server:/export rw
31 30 0:41 / /data/local rw shared:7 - xfs /dev/vdb rw
32 22 0:42 / /with\040space rw - cifs //server/share rw
33 22 0:43 / /fuse rw - fuse.sshfs me@host: rw
34 22 0:44 / /overlay rw - overlay overlay rw
35 22 0:45 / /twice rw - ext4 /dev/vdc rw
36 35 0:46 / /twice rw - 9p share rw
37 22 0:47 / /ntfs rw - fuse.ntfs-3g /dev/vdd rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/home", None),
        ("/data/home", "nfs4"),
        ("/data", "nfs4"),
        ("/database", None),
        ("/data/local/home", None),
        ("/with space/home", "cifs"),
        ("/fuse/deep/er", "fuse.sshfs"),
        ("/overlay/home", None),
        ("/twice/home", "9p"),
        ("/ntfs/home", None),
    ],
)
def test_network_file_systems_are_told_from_local_ones(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), MOUNTS) == kind


def test_a_home_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 254:0 / / rw,relatime - nfs server:/export rw\n")
    monkeypatch.setattr("streams.embedded.home.MOUNTS", mounts)
    with pytest.raises(SettingsError, match=r"on a network file system \(nfs\)"):
        EmbeddedDatabase.open(tmp_path / "home")
    assert not (tmp_path / "home").exists()


async def test_topics_keep_their_id_and_grow(tmp_path: Path) -> None:
    database = EmbeddedDatabase.open(tmp_path)
    await database.ensure_topic("events", 2)
    facts = database.facts("events")
    assert (facts.cluster_id, facts.partitions) == (database.cluster_id, 2)
    assert len(bytes.fromhex(facts.topic_id)) == 16
    for count in (1, 2, 5):
        await database.ensure_topic("events", count)
    assert database.facts("events") == facts._replace(partitions=5)
    assert database.partitions("no such topic") == 0
    database.close()


async def test_a_topic_never_changes_its_use(tmp_path: Path) -> None:
    database = EmbeddedDatabase.open(tmp_path)
    await database.ensure_topic("audit.events", audit=True)
    await database.ensure_topic("audit.events", audit=True)
    with pytest.raises(SettingsError, match="exists already, as an audit topic"):
        await database.ensure_topic("audit.events")
    with pytest.raises(TransientError, match="has no topic events"):
        database.facts("events")
    database.close()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a" * 250, "müll", 'a"; --'])
async def test_a_name_kafka_would_not_take_is_refused(tmp_path: Path, name: str) -> None:
    database = EmbeddedDatabase.open(tmp_path)
    with pytest.raises(SettingsError, match="is no topic name"):
        await database.ensure_topic(name)
    database.close()


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = EmbeddedDatabase.open(tmp_path)

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE identity SET origin = 'half'")
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(half)
    assert asked(database, "SELECT origin FROM identity") == database.origin
    await database.ensure_topic("events")
    database.close()
