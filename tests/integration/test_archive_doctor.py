"""`attestream archive doctor` and the start of a worker, on servers that keep locks and do not."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.app import open_deployment
from streams.cli.archive import archive
from streams.cli.archive_doctor import RECEIPT
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.objects.locations import open_probed
from streams.objects.probe_canaries import Canaries
from streams.objects.probe_returning import Receipt, leave
from streams.settings import load_settings
from streams.telemetry.health import Health
from tests.support.deployment import Deployment
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_aws import LocalAws
from tests.support.local_s3 import ACCESS_KEY, SECRET, LocalS3
from tests.support.other_s3 import OtherS3
from tests.support.s3_fixtures import S3Server

pytestmark = [pytest.mark.integration]

COMMAND = Path(sys.executable).parent / "attestream"


@dataclass(frozen=True, slots=True)
class Tried:
    """What the command said of one server."""

    status: int
    findings: list[dict[str, Any]]

    def broken(self, *, needed: bool) -> set[tuple[str, str]]:
        """Check and promise of what is broken."""
        return {
            (f["check"], f["promise"])
            for f in self.findings
            if f["verdict"] == "broken" and f["needed"] is needed
        }

    def checks(self, *, needed: bool) -> set[str]:
        return {check for check, _ in self.broken(needed=needed)}

    def verdict(self, check: str) -> set[str]:
        return {f["verdict"] for f in self.findings if f["check"] == check}


def environment(server: S3Server, bucket: str, home: Path) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("ATTESTREAM", "S3_", "KAFKA"))
    }
    return kept | {
        "ATTESTREAM_ARCHIVE": f"s3://{bucket}/log",
        "ATTESTREAM_HOME": str(home),
        "S3_ENDPOINT": server.endpoint,
        "S3_ACCESS_KEY": server.access_key,
        "S3_SECRET": server.secret,
    }


def run(environ: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(COMMAND), *arguments],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tried(server: S3Server, bucket: str, home: Path) -> Tried:
    """The doctor on a bucket of a server."""
    arguments = ("--json", "--scratch-bucket", server.make_bucket())
    done = run(environment(server, bucket, home), "archive", "doctor", *arguments)
    assert done.returncode in {0, 1}, done.stderr
    return Tried(done.returncode, [json.loads(line) for line in done.stdout.splitlines()])


def at(endpoint: str) -> S3Server:
    return S3Server(endpoint=endpoint, access_key=ACCESS_KEY, secret=SECRET)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="attestream-doctor-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def pretenders(folder: Path) -> Iterator[dict[str, S3Server]]:
    """Servers that are used all over for tests of others, and keep few locks."""
    with ExitStack() as running:
        for name in ("moto", "ministack"):
            (folder / name).mkdir()
        moto = running.enter_context(OtherS3("moto", folder / "moto"))
        ministack = running.enter_context(LocalAws(folder / "ministack", "s3"))
        yield {"moto": at(moto.endpoint), "ministack": at(ministack.endpoint)}


def leave_in(server: S3Server, bucket: str, home: Path) -> Receipt:
    """What an earlier run would have left."""
    place = f"{server.endpoint} s3://{bucket}/log"
    opened = open_probed(f"s3://{bucket}/log", server.connection, SystemClock())
    assert opened is not None
    canaries = Canaries(opened, SystemClock(), "earlier")
    canaries.learn_time(opened.send("get_bucket_versioning"))
    left = leave(canaries, place, None)
    assert left is not None
    home.mkdir()
    (home / RECEIPT).write_text(json.dumps(left.as_json()))
    return left


@pytest.fixture(scope="module")
def judged(pretenders: dict[str, S3Server], s3_local: LocalS3, folder: Path) -> dict[str, Tried]:
    """Each server under the doctor, all at once: most of it is waiting for locks to end."""
    servers = {"seaweedfs": at(s3_local.endpoint), **pretenders}

    def one(name: str) -> Tried:
        home, bucket = folder / f"home-{name}", servers[name].make_bucket()
        earlier = leave_in(servers[name], bucket, home)
        found = tried(servers[name], bucket, home)
        later = Receipt.of_json(json.loads((home / RECEIPT).read_text()))
        assert (later.place, later.key != earlier.key) == (earlier.place, True)
        return found

    with ThreadPoolExecutor(len(servers)) as pool:
        return dict(zip(servers, pool.map(one, servers), strict=True))


def test_the_server_of_our_tests_passes_and_its_lies_are_named(judged: dict[str, Tried]) -> None:
    seaweed = judged["seaweedfs"]
    assert seaweed.status == 0
    assert seaweed.broken(needed=True) == set()
    lies = seaweed.broken(needed=False)
    assert lies >= {
        ("D5", "the bucket's default retention is given to a copy"),
        ("D11", "a body that does not fit its signature is refused"),
    }
    # It loses races of multipart uploads, most of the time.
    assert {check for check, _ in lies} <= {"D5", "D10", "D11"}
    assert seaweed.verdict("D14") == {"holds", "unsupported"}
    assert {f["check"] for f in seaweed.findings} == {f"D{n}" for n in range(1, 20)}
    assert "untried" not in {f["verdict"] for f in seaweed.findings}
    assert seaweed.verdict("D18") == {"holds"}


def test_moto_is_refused(judged: dict[str, Tried]) -> None:
    moto = judged["moto"]
    assert moto.status == 1
    assert moto.checks(needed=True) >= {"D4", "D6", "D7", "D11", "D12"}


def test_ministack_is_refused(judged: dict[str, Tried]) -> None:
    ministack = judged["ministack"]
    assert ministack.status == 1
    assert ministack.checks(needed=True) >= {"D6", "D7", "D12"}
    assert ministack.checks(needed=False) >= {"D5", "D11", "D13", "D14", "D16"}


@pytest.mark.parametrize("name", ["moto", "ministack"])
async def test_nothing_starts_on_a_pretender_unless_allowed(
    pretenders: dict[str, S3Server],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = pretenders[name]
    environ = environment(server, server.make_bucket(), tmp_path)
    with pytest.raises(SettingsError, match="only pretends: a lock asked for is kept through"):
        async with open_deployment(load_settings(environ), Health(), SystemClock()):
            raise AssertionError("it started")
    allowed = environ | {"ATTESTREAM_ALLOW_UNLOCKED_ARCHIVE": "1"}
    async with open_deployment(load_settings(allowed), Health(), SystemClock()):
        assert "not refused" in capsys.readouterr().err


def test_a_worker_ends_on_a_pretender(
    kafka: KafkaBroker, pretenders: dict[str, S3Server], tmp_path: Path
) -> None:
    server = pretenders["moto"]
    bucket = server.make_bucket()
    names = ("ATTESTREAM_ARCHIVE", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET")
    environ = environment(server, bucket, tmp_path)
    with Deployment(kafka.bootstrap, tmp_path, extra={n: environ[n] for n in names}) as deployment:
        worker = deployment.start_worker("sealer")
        assert worker.process.wait(60) == 2
        assert "only pretends" in worker.log.read_text()


def test_only_a_bucket_can_be_tried_and_only_a_receipt_be_remembered(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(s3_server, "unused", tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / RECEIPT).write_text('{"place": 1}')
    done = CliRunner().invoke(archive, ["doctor"])
    assert (done.exit_code, "not what archive doctor wrote" in done.stderr) == (2, True)
    done = CliRunner().invoke(archive, ["doctor", "--scratch-bucket", "unused"])
    assert (done.exit_code, "the archive's own bucket" in done.stderr) == (2, True)
    monkeypatch.delenv("ATTESTREAM_ARCHIVE")
    done = CliRunner().invoke(archive, ["doctor"])
    assert (done.exit_code, "it promises no lock" in done.stderr) == (2, True)


@pytest.mark.long
def test_versitygw_is_refused(folder: Path, tmp_path: Path) -> None:
    with OtherS3("versitygw", tmp_path) as server:
        found = tried(at(server.endpoint), at(server.endpoint).make_bucket(), folder)
    assert found.status == 1
    assert found.broken(needed=True) == {
        ("D9", "a legal hold holds when the lock has ended"),
        ("D15", "a listing of versions ends, and shows all"),
    }
    assert found.checks(needed=False) >= {"D5", "D10", "D13", "D16"}


@pytest.mark.long
def test_minio_passes_and_its_lies_are_named(folder: Path, tmp_path: Path) -> None:
    with OtherS3("minio", tmp_path) as server:
        found = tried(at(server.endpoint), at(server.endpoint).make_bucket(), folder)
    assert found.status == 0
    assert found.broken(needed=False) == {
        ("D13", "a policy that denies is obeyed, by the archive's own credentials too"),
        ("D17", "a conditional delete is conditional"),
    }
