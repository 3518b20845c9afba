"""`attestream replay` and `drill` as they are typed, on an embedded home with an archive."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from projections.cli.drill import drill
from projections.cli.replay import replay
from tests.support.replays import archive_of, archived, copied, long_log, place_at
from tests.support.sealed_log import BASE, KEYS, ORIGIN

LOG = long_log()


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the log and its archive; the log's key is in keys.txt."""
    store = await archive_of(LOG, tmp_path / "archive")
    async with place_at(tmp_path / "home") as place:
        await copied(archived(store), place)
    given(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
async def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with nothing in it."""
    async with place_at(tmp_path / "home"):
        pass
    given(tmp_path, monkeypatch)


def given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "keys.txt").write_text("\n".join(vkey.render() for vkey in KEYS.vkeys))
    monkeypatch.setenv("ATTESTREAM_HOME", str(folder / "home"))
    monkeypatch.setenv("ATTESTREAM_ARCHIVE", str(folder / "archive"))
    monkeypatch.setenv("ATTESTREAM_ORIGIN", BASE)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.chdir(folder)


def typed(*arguments: str) -> Result:
    command = drill if arguments[0] == "drill" else replay
    rest = arguments[1:] if arguments[0] == "drill" else arguments
    return CliRunner().invoke(command, [*rest, "--keys", "keys.txt"])


def told(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("home")
def test_a_plan_says_what_would_be_read() -> None:
    (plan,) = told(typed("plan", "--from", "archive", "--json"))
    assert (plan["origin"], plan["first"], plan["size"]) == (ORIGIN, 0, LOG.size)
    assert (plan["records"], plan["missing"]) == (LOG.size, [])
    assert plan["segments"] > 2
    assert plan["bytes"] > 0
    (late,) = told(typed("plan", "--from", "archive", "--log", ORIGIN, "--index", "14", "--json"))
    assert 0 < late["first"] <= 14
    assert "records 0 to" in typed("plan").stdout
    stranger = typed("plan", "--log", "nobody/t/0")
    assert (stranger.exit_code, "is not there" in stranger.output) == (2, True)


def test_a_plan_names_what_is_missing(home: Path) -> None:
    sorted((home / "archive").rglob("*.avro"))[1].unlink()
    result = typed("plan", "--from", "archive")
    assert result.exit_code == 1
    assert "missing:" in result.stdout


def test_a_copy_is_made_checked_and_not_made_twice(home: Path) -> None:
    for source in ("archive", "log"):
        place = ("--from", source, "--into", str(home / source))
        (done,) = told(typed("run", *place, "--json"))
        assert (done["size"], done["rows"], done["break"]) == (LOG.size, len(LOG.rows), None)
        (again,) = told(typed("run", *place, "--json"))
        assert (again["rows"], again["resumed"]) == (0, True)
        result = typed("check", *place, "--no-index", "--json")
        (checked,) = told(result)
        assert result.exit_code == 0, result.output
        assert (checked["size"], checked["records"]) == (LOG.size, LOG.size)
        assert "as its source" in typed("check", *place, "--no-index").stdout


def test_a_copy_of_a_part_is_checked_from_where_it_begins(home: Path) -> None:
    place = ("--log", ORIGIN, "--into", str(home / "part"))
    assert typed("run", *place, "--index", "12").exit_code == 0
    result = typed("check", *place, "--no-index", "--json")
    assert result.exit_code == 0
    (checked,) = told(result)
    beyond = typed("run", "--log", ORIGIN, "--into", str(home / "beyond"), "--index", "99")
    assert (beyond.exit_code, "was asked for" in beyond.output) == (3, True)
    assert checked["first"] == 9
    assert checked["records"] == LOG.size - 9


def test_a_copy_of_something_else_is_told(home: Path) -> None:
    async def stage() -> None:
        async with place_at(home / "staging") as place:
            await copied(archived(await archive_of(long_log(salt=b"x"), home / "other")), place)

    asyncio.run(stage())
    result = typed("check", "--into", str(home / "staging"), "--no-index")
    assert result.exit_code == 1
    assert "differs: at size" in result.stdout


def test_a_broken_segment_is_told_with_its_status(home: Path) -> None:
    victim = sorted((home / "archive").rglob("*.avro"))[1]
    data = victim.read_bytes()
    victim.chmod(0o600)
    victim.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    result = typed("run", "--from", "archive", "--into", str(home / "staging"))
    assert result.exit_code == 28
    assert "nothing of it or behind it is copied" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run",), "give one place"),
        (("run", "--into", "a", "--restore", "--from", "archive"), "give one place"),
        (("run", "--prefix", "staging."), "makes topics of a cluster"),
        (("run", "--restore"), "--from archive"),
        (
            ("run", "--restore", "--from", "archive", "--time", "2026-01-01T00:00:00Z"),
            "rebuilds whole logs",
        ),
        (("run", "--into", "home"), "the deployment's own home"),
        (("run", "--into", "a", "--index", "3"), "is one log's"),
        (("plan", "--index", "1", "--offset", "1"), "give one of"),
        (("plan", "--time", "yesterday"), "expected 2026"),
    ],
)
@pytest.mark.usefixtures("bare_home")
def test_what_cannot_be_done_is_said_at_once(arguments: tuple[str, ...], says: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_a_lost_log_is_restored_into_its_own_home(home: Path) -> None:
    (home / "home").rename(home / "lost")
    result = typed("run", "--from", "archive", "--restore", "--json")
    assert result.exit_code == 0, result.output
    (done,) = told(result)
    assert (done["origin"], done["size"]) == (ORIGIN, LOG.size)
    (checked,) = told(typed("check", "--into", str(home / "lost"), "--no-index", "--json"))
    assert checked["problems"] == []


def test_a_drill_reports_and_a_failed_one_is_no_success(home: Path) -> None:
    result = typed("drill", "--segments", "2", "--seed", "s", "--json")
    (report,) = told(result)
    assert result.exit_code == 0, result.output
    assert (report["passed"], report["seed"], report["published"]) == (True, "s", True)
    assert Path(report["report"][0]).read_text().startswith("# Recovery drill of")
    min((home / "archive").rglob("*.avro")).unlink()
    failed = typed("drill", "--segments", "99")
    assert failed.exit_code == 1
    assert "FAILED" in failed.stdout
