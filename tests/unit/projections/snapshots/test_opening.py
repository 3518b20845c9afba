"""Where snapshots are and who may write them, as set; and the page that takes them."""

from pathlib import Path

import aiohttp
import pytest

from projections.api.search import SearchPages
from projections.api.server import serve
from projections.api.snapshots import SNAPSHOT_KINDS, SnapshotPages
from projections.search import LocalSearch
from projections.snapshots.local import LocalSnapshots
from projections.snapshots.manifest import Manifest
from projections.snapshots.opening import open_place, snapshot_world, why_no_snapshots
from projections.snapshots.world import SnapshotWorld
from streams.clock import SystemClock
from streams.errors import SettingsError, TransientError
from streams.objects import DirectoryObjectStore
from streams.settings import Settings, load_settings
from streams.telemetry.health import Health
from tests.unit.projections.snapshots.test_chunks import MANIFEST

KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:1", "ATTESTREAM_ORIGIN": "o"}
KEY = {"VECTOR_INDEX_KEY": "ab" * 32}


def settings_of(folder: Path, *others: dict[str, str]) -> Settings:
    given = {"ATTESTREAM_HOME": str(folder / "home"), "AUDIT_SIGNING_PRIVATE_KEY": "21" * 32}
    for other in others:
        given |= other
    return load_settings(given)


def world_of(settings: Settings) -> SnapshotWorld:
    world = snapshot_world(settings, SystemClock(), LocalSnapshots())
    assert world is not None
    return world


def test_without_a_place_or_a_key_there_are_none_and_the_sentence_names_the_setting(
    tmp_path: Path,
) -> None:
    assert why_no_snapshots(settings_of(tmp_path, KEY)) == ""
    for settings, name in (
        (settings_of(tmp_path), "VECTOR_INDEX_KEY"),
        (settings_of(tmp_path, KAFKA, KEY), "ATTESTREAM_SNAPSHOTS"),
    ):
        assert name in why_no_snapshots(settings)
        assert snapshot_world(settings, SystemClock(), LocalSnapshots()) is None


async def test_the_embedded_engine_keeps_them_in_its_home_and_opens_nothing_before(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path, KEY)
    world_of(settings)
    assert not settings.home.exists()
    async with open_place(settings) as place:
        assert repr(place.objects) == repr(DirectoryObjectStore(settings.home / "snapshots"))
    with pytest.raises(SettingsError, match="VECTOR_INDEX_KEY"):
        async with open_place(settings_of(tmp_path)):
            raise AssertionError("opened")


def test_one_process_at_a_time_writes_into_a_directory(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, KEY, KAFKA, {"ATTESTREAM_SNAPSHOTS": str(tmp_path / "s")})
    one, other = world_of(settings), world_of(settings)
    with one.exclusive("a log"):
        with (
            pytest.raises(TransientError, match="another process writes snapshots of a log"),
            other.exclusive("a log"),
        ):
            raise AssertionError("both write")
        with other.exclusive("another log"):
            pass
    with other.exclusive("a log"):
        pass


def test_a_directory_that_cannot_be_locked_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file")
    settings = settings_of(tmp_path, KEY, {"ATTESTREAM_SNAPSHOTS": str(tmp_path / "s")})
    with pytest.raises(SettingsError, match="cannot be locked"), world_of(settings).exclusive("x"):
        raise AssertionError("locked")


def test_snapshots_in_the_archive_itself_are_refused(tmp_path: Path) -> None:
    place = {"ATTESTREAM_SNAPSHOTS": "s3://bucket/a/", "ATTESTREAM_ARCHIVE": "s3://bucket/a"}
    with pytest.raises(SettingsError, match="ATTESTREAM_SNAPSHOTS is the archive itself"):
        settings_of(tmp_path, KEY, place)


def test_a_bucket_has_writers_on_many_machines(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, KEY, KAFKA, {"ATTESTREAM_SNAPSHOTS": "s3://bucket/prefix"})
    with world_of(settings).exclusive("a log"), world_of(settings).exclusive("a log"):
        pass


class Taking:
    """A projection that takes snapshots, or says why it cannot."""

    projection = "decision-index"

    def __init__(self, problem: str = "") -> None:
        self._problem = problem

    async def create(self) -> Manifest:
        if self._problem:
            raise TransientError(self._problem)
        return MANIFEST


@pytest.mark.parametrize(
    ("keepers", "name", "status", "part"),
    [
        ([Taking(), Taking()], "decisions", 200, MANIFEST.snapshot),
        ([Taking(), Taking("the store is away")], "decisions", 503, "the store is away"),
        ([], "decisions", 503, "no snapshots of decisions are taken here"),
        ([Taking()], "archive", 404, "archive has no snapshots, decisions may have"),
    ],
)
async def test_the_page_takes_one_of_each_log_or_says_why_not(
    keepers: list[Taking], name: str, status: int, part: str
) -> None:
    local = LocalSnapshots()
    for keeper in keepers:
        local.add(keeper)
    search = SearchPages(LocalSearch(), lambda: None, "")
    pages = SnapshotPages(local, SNAPSHOT_KINDS)
    async with (
        serve("127.0.0.1", 0, Health(), search, pages) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/snapshots/{name}") as answer,
    ):
        assert answer.status == status
        text = await answer.text()
        assert part in text
        assert text.count(MANIFEST.snapshot) == (2 if status == 200 else 0)
    for keeper in keepers:
        local.remove(keeper)
        local.remove(keeper)
    assert await local.create("decision-index") == []
