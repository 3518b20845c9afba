"""The archive is away for a while: sealing goes on, what needs the archive waits and says so."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import streams.objects.s3 as s3_store
from projections import roles
from projections.archive import age
from projections.embedded import run_embedded
from projections.runner import RETRY_MAX_S
from projections.services import ProjectionService
from streams.app import Deployment, SealingService, open_deployment
from streams.clock import SystemClock
from streams.errors import TransientError
from streams.objects.s3 import S3ObjectStore
from streams.ports import NewRecord
from streams.settings import Settings, load_settings
from streams.telemetry.health import Health, PartState
from tests.support.archives import archived_values
from tests.support.flaky_http import Loss, flaky_proxy
from tests.support.s3_fixtures import IMPATIENT, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPIC = "authz.decisions"
ORIGIN = f"test.example/{TOPIC}/0"
OLD_S = 100.0  # how old events are when they are sent
MORE_LOSSES: tuple[Loss, ...] = ("request", "answer", "hang", "slow")
PATIENCE = replace(IMPATIENT, attempts=2, read_timeout_s=0.4)


class Away:
    """What becomes of every request, while it does."""

    loss: Loss = ""

    def __call__(self, _request: str) -> Loss:
        return self.loss


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "Patience", lambda: PATIENCE)
    monkeypatch.setattr(age, "PERIOD_S", 0.1)
    monkeypatch.setattr("projections.runner.RETRY_MAX_S", min(RETRY_MAX_S, 0.5))


async def test_what_is_to_be_done_once_ends_where_the_archive_is_away(tmp_path: Path) -> None:
    nowhere = S3Server(endpoint="http://127.0.0.1:9", access_key="id", secret="hush")
    settings = settings_of(nowhere, "my-archive", nowhere.endpoint, tmp_path / "home")
    with pytest.raises(TransientError, match="my-archive"):
        await asyncio.wait_for(run_embedded(settings, once=True), 30)


def settings_of(server: S3Server, bucket: str, endpoint: str, home: Path) -> Settings:
    return load_settings(
        {
            "ATTESTREAM_ARCHIVE": f"s3://{bucket}/deployment",
            "ATTESTREAM_HOME": str(home),
            "ATTESTREAM_ORIGIN": "test.example",
            "ATTESTREAM_RETENTION_DAYS": "1",
            "ATTESTREAM_RETENTION_FLOOR_DAYS": "1",
            "ATTESTREAM_SEGMENT_IDLE_S": "0.1",
            "ATTESTREAM_SEGMENT_RECORDS": "40",
            "AUDIT_SIGNING_PRIVATE_KEY": "11" * 32,
            "S3_ACCESS_KEY": server.access_key,
            "S3_ENDPOINT": endpoint,
            "S3_SECRET": server.secret,
        }
    )


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[Deployment]:
    """The sealer and the archiver of one log, as a worker runs them."""

    @asynccontextmanager
    async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        task = asyncio.create_task(work)
        yield
        task.cancel()
        await asyncio.wait({task})

    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(
            open_deployment(settings, Health(), SystemClock())
        )
        spec = roles._archive(deployment)
        await stack.enter_async_context(running(SealingService(deployment).run()))
        archiving = ProjectionService(deployment, replace(spec, sources=(TOPIC,)))
        await stack.enter_async_context(running(archiving.run()))
        yield deployment


async def send(deployment: Deployment, count: int) -> None:
    now = SystemClock().now_ms()
    async with deployment.engine.sink(TOPIC) as sink:
        for number in range(count):
            await sink.send(NewRecord(now - int(OLD_S * 1000), b"%d" % number))


async def until(condition: Callable[[], Any], why: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why
        await asyncio.sleep(0.02)


async def archived(store: S3ObjectStore, size: int) -> None:
    """Wait until so many records are archived, each once, with nothing missing."""
    deadline, reached = time.monotonic() + 30, 0
    while reached < size:
        assert time.monotonic() < deadline, f"{reached} of {size} are archived"
        await asyncio.sleep(0.1)
        # An anchor is written last.
        notes = await store.versions(f"anchors/v1/{ORIGIN}/0")
        reached = max((int(note.key[-25:-5]) for note in notes), default=0)
    assert len(await archived_values(store, ORIGIN)) == size


def sealed(deployment: Deployment) -> float:
    labels = {"topic": TOPIC, "partition": "0"}
    del deployment
    return REGISTRY.get_sample_value("attestream_sealed_records_total", labels) or 0.0


def oldest() -> float:
    labels = {"topic": TOPIC, "partition": "0"}
    return REGISTRY.get_sample_value("attestream_archive_oldest_unarchived_seconds", labels) or 0.0


def part(deployment: Deployment, role: str) -> PartState:
    topic = TOPIC if role == "sealer" else f"audit.{TOPIC}"
    return deployment.health.parts.get((role, topic, 0)) or PartState()


@pytest.mark.parametrize(
    "loss", ["503", *(pytest.param(loss, marks=pytest.mark.long) for loss in MORE_LOSSES)]
)
async def test_sealing_goes_on_while_the_archive_is_away_and_the_archiver_catches_up(
    s3_server: S3Server, locked_bucket: str, tmp_path: Path, loss: Loss
) -> None:
    away, direct = Away(), s3_server.store(locked_bucket)
    async with flaky_proxy(s3_server.endpoint, away) as endpoint:
        settings = settings_of(s3_server, locked_bucket, endpoint, tmp_path / "home")
        async with worker(settings) as deployment:
            before = sealed(deployment)
            await send(deployment, 100)
            await archived(direct, 100)
            away.loss = loss
            await send(deployment, 200)
            await until(lambda: sealed(deployment) == before + 300, "sealing stopped")
            assert part(deployment, "sealer").state == "running"
            if loss != "slow":
                await until(lambda: part(deployment, "archive").state == "waiting", "not waiting")
                assert locked_bucket in part(deployment, "archive").why
                await until(lambda: oldest() > 0, "nothing is said to be unarchived")
                assert oldest() < OLD_S / 2, "what comes with an old timestamp is not old"
            away.loss = ""
            await archived(direct, 300)
            await until(lambda: oldest() == 0, "still said to be unarchived")
            await until(lambda: part(deployment, "archive").state == "running", "not running")


async def test_a_worker_that_starts_meanwhile_waits_for_its_anchor_and_tells_the_age(
    s3_server: S3Server, locked_bucket: str, tmp_path: Path
) -> None:
    away, direct = Away(), s3_server.store(locked_bucket)
    async with flaky_proxy(s3_server.endpoint, away) as endpoint:
        settings = settings_of(s3_server, locked_bucket, endpoint, tmp_path / "home")
        async with worker(settings) as deployment:
            before = sealed(deployment)
            await send(deployment, 50)
            await archived(direct, 50)
            await asyncio.sleep(0.3)  # until the position is posted
            away.loss = "503"
            await send(deployment, 50)
            await until(lambda: sealed(deployment) == before + 100, "sealing stopped")
        async with worker(settings) as deployment:
            await until(lambda: part(deployment, "sealer").state == "waiting", "not waiting")
            assert "anchor" in part(deployment, "sealer").why
            assert part(deployment, "archive").state in {"starting", "waiting"}
            await until(lambda: oldest() >= OLD_S, "the record's age is not told")
            await send(deployment, 50)
            away.loss = ""
            await archived(direct, 150)
            assert sealed(deployment) == before + 150
            await until(lambda: oldest() == 0, "still said to be unarchived")
