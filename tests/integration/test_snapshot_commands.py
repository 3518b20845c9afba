"""`attestream snapshot`, by the command line alone, beside a running pipeline and without one."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from projections.cli.demo_data import decisions
from projections.cli.main import main
from projections.embedded import run_embedded
from schemas.operations import IndexKeyRotated, OperationEvent, SnapshotRestored
from streams.app import open_engine
from streams.operation_events import sealed_events
from streams.settings import load_settings
from tests.support.local_kafka import free_ports

COMMAND = str(Path(sys.executable).with_name("attestream"))
KEY, NEW_KEY, OTHER_KEY = "ab" * 32, "Zm9y" * 8, "sixteen letters!"
COUNT = 1500
pytestmark = [pytest.mark.slow]


def environment(home: Path, **extra: str) -> dict[str, str]:
    foreign = ("ATTESTREAM", "KAFKA", "S3_", "AUDIT_", "VECTOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    settings = {
        "ATTESTREAM_HOME": str(home),
        "ATTESTREAM_ORIGIN": "test.example/embedded",
        "AUDIT_SIGNING_PRIVATE_KEY": "21" * 32,
        "ATTESTREAM_WARM_UP": "200",
        "ATTESTREAM_RISK_THRESHOLD": "0.6",
        "ATTESTREAM_HTTP_PORT": "0",
        "VECTOR_INDEX_KEY": KEY,
    }
    return {name: value for name, value in (kept | settings | extra).items() if value}


def command(home: Path, arguments: Sequence[str], extra: Mapping[str, str]) -> Result:
    """In this process: starting one for each command would take most of the time."""
    given = environment(home, **extra)
    absent = {name: None for name in os.environ if name not in given}
    return CliRunner(env={**absent, **given}).invoke(main, list(arguments))


def run(home: Path, *arguments: str, status: int = 0, **extra: str) -> list[dict[str, Any]]:
    """Whatever JSON lines it printed."""
    done = command(home, arguments, extra)
    assert done.exit_code == status, done.output
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def pipeline(home: Path, **extra: str) -> None:
    """`run --once`."""
    asyncio.run(run_embedded(load_settings(environment(home, **extra)), once=True))


def sent(home: Path, folder: Path, first: int, end: int) -> None:
    file = folder / f"{first}.ndjson"
    file.write_bytes(b"\n".join(list(decisions(COUNT))[first:end]) + b"\n")
    run(home, "send", "--format", "cerbos", str(file))


def rekeyed(home: Path) -> list[dict[str, Any]]:
    keys = {"VECTOR_INDEX_KEY": NEW_KEY, "VECTOR_INDEX_KEY_PREVIOUS": KEY}
    done = command(home, ["snapshot", "rekey", "--json"], keys)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def alert_ids(home: Path) -> list[str]:
    return [alert["alert_id"] for alert in run(home, "alerts", "tail", "-n", "100000", "--json")]


@contextmanager
def running(home: Path, **extra: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A pipeline, and its address."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    settings = environment(home, ATTESTREAM_HTTP_PORT=str(port), **extra)
    with (home.parent / "run.log").open("ab") as log:
        process = subprocess.Popen([COMMAND, "run"], env=settings, stdout=log, stderr=log)
    try:
        yield process, url
    finally:
        process.kill()
        process.wait()


def until_saved(home: Path, url: str, leaves: int) -> dict[str, Any]:
    """Snapshots on demand, until one has so many leaves."""
    said = ""
    for _ in range(100):
        done = command(home, ["snapshot", "create", "--json"], {"ATTESTREAM_URL": url})
        made = [json.loads(line) for line in done.stdout.splitlines()]
        if done.exit_code == 0 and made[0]["size"] >= leaves:
            return dict(made[0])
        said = done.output
        time.sleep(0.1)
    raise AssertionError(f"no snapshot of {leaves} leaves: {said}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose log was saved at two places."""
    folder = tmp_path_factory.mktemp("snapshots")
    home = folder / "home"
    for first, end in ((0, 700), (700, 1000)):
        sent(home, folder, first, end)
        pipeline(home)
        (taken,) = run(home, "snapshot", "create", "--json")
        assert taken["size"] == end
    return home


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    """A copy of it, of each test's own."""
    return shutil.copytree(made, tmp_path / "home")


def test_saved_snapshots_are_listed_verified_and_restored_as_a_rebuild(saved: Path) -> None:
    newest, oldest = run(saved, "snapshot", "list", "--json")
    assert (newest["size"], oldest["size"], newest["problem"]) == (1000, 700, "")
    assert {one["problem"] for one in run(saved, "snapshot", "verify", "--json")} == {""}
    (restored,) = run(saved, "snapshot", "restore", "--compare", "--json")
    assert (restored["size"], restored["leaves"], restored["same"]) == (1000, 1000, True)
    (older,) = run(saved, "snapshot", "restore", oldest["snapshot"], "--compare", "--json")
    assert (older["size"], older["leaves"], older["same"]) == (700, 1000, True)
    judged = run(saved, "snapshot", "cleanup", "--dry-run", "--json")
    assert [one["reason"] for one in judged[:2]] == ["daily 1 of 7", "monthly, the oldest"]


def test_what_is_wrong_is_one_sentence_and_a_status(saved: Path) -> None:
    (refused,) = run(saved, "snapshot", "restore", "--json", status=28, VECTOR_INDEX_KEY=OTHER_KEY)
    assert "its data key is wrapped by aes-" in refused["problem"]
    for verb in (["create"], ["list"], ["verify"], ["restore"], ["cleanup"], ["rekey"]):
        done = command(saved, ["snapshot", *verb], {"VECTOR_INDEX_KEY": ""})
        assert done.exit_code == 2
        assert "no key for snapshots: set VECTOR_INDEX_KEY" in done.stderr
    run(saved, "snapshot", "restore", "0" * 26, status=2)
    run(saved, "snapshot", "verify", "0" * 26, status=2)
    keep_none = ["--daily", "0", "--weekly", "0", "--monthly", "0"]
    run(saved, "snapshot", "cleanup", *keep_none, status=2)


def test_a_damaged_chunk_is_found_and_the_one_before_restored(saved: Path) -> None:
    newest = run(saved, "snapshot", "list", "--json")[0]["snapshot"]
    chunk = next((saved / "snapshots").rglob(f"chunks/{newest}/0000000001"))
    whole = chunk.read_bytes()
    chunk.chmod(0o600)
    try:
        chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        problems = [
            one["problem"] for one in run(saved, "snapshot", "verify", "--json", status=28)
        ]
        assert sorted(map(bool, problems)) == [False, True]
        done = command(saved, ["snapshot", "create"], {})
        assert done.exit_code == 0
        assert "is not what was stored" in done.stderr
    finally:
        chunk.write_bytes(whole)


def test_a_rotation_is_sealed_and_the_new_key_alone_restores(saved: Path) -> None:
    (done,) = rekeyed(saved)
    assert (done["added"] >= 2, done["refused"], len(done["searched"])) == (True, [], 1)
    (again,) = rekeyed(saved)
    assert (again["added"], again["before"]) == (0, done["added"])
    (restored,) = run(saved, "snapshot", "restore", "--json", VECTOR_INDEX_KEY=NEW_KEY)
    assert restored["problem"] == ""
    pipeline(saved, VECTOR_INDEX_KEY=NEW_KEY, VECTOR_INDEX_KEY_PREVIOUS=KEY)
    events = asyncio.run(sealed_operations(saved))
    (told,) = [event for event in events if isinstance(event, IndexKeyRotated)]
    assert told.snapshots == done["added"]
    assert told.key_id == done["key"]
    assert told.previous_key_ids == tuple(done["previous"])
    assert [event for event in events if isinstance(event, SnapshotRestored)]


async def sealed_operations(home: Path) -> list[OperationEvent]:
    async with open_engine(load_settings(environment(home))) as engine:
        reader = engine.reader(engine.topology.audit(engine.topology.operations), 0)
        try:
            return [sealed.event async for sealed in sealed_events(reader)]
        finally:
            await reader.close()


@pytest.mark.long
def test_killed_at_any_time_it_goes_on_from_a_snapshot_with_the_same_alerts(
    tmp_path: Path,
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    sent(straight, tmp_path, 0, COUNT)
    pipeline(straight, VECTOR_INDEX_KEY="")
    for number, first in enumerate(range(0, COUNT, 500)):
        sent(killed, tmp_path, first, first + 500)
        with running(killed, ATTESTREAM_SNAPSHOT_S="1") as (process, url):
            until_saved(killed, url, min(first + 100, COUNT))
            time.sleep(0.05 * number)
            process.send_signal(signal.SIGKILL)
    pipeline(killed)
    assert alert_ids(killed) == alert_ids(straight)
    assert len(alert_ids(straight)) > 1
    (restored,) = run(killed, "snapshot", "restore", "--compare", "--json")
    assert restored["same"] is True
    log = (tmp_path / "run.log").read_text()
    assert "snapshot restored" in log
    assert "snapshot refused" not in log
    assert "Traceback" not in log
