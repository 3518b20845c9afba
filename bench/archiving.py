"""Archiving to a real S3 server with Object Lock: alone, beside sealing, and after a burst.

One process runs the real services on an embedded log; the S3 server (SeaweedFS) shares the
machine. What counts as archived is what a manifest names.
"""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from bench.measuring import Round, median, usage
from projections import roles
from projections.services import ProjectionService
from streams.app import Deployment, SealingService, open_deployment
from streams.clock import SystemClock
from streams.garbage import collect_rarely
from streams.objects import CheckedStore
from streams.ports import NewRecord, ObjectInfo, ObjectVersion, Published
from streams.settings import load_settings
from streams.telemetry import metrics
from streams.telemetry.health import Health
from tests.support.local_s3 import ACCESS_KEY, SECRET, LocalS3

KEY = "11" * 32
VALUE_BYTES = 300
CHECKPOINT_S = 0.5  # until what was sealed last is covered


class Together(NamedTuple):
    """Sealing and archiving at once: both rates while sealing lasted, and what came after.

    That of archiving is taken from the first manifest to the last one of that time: what is
    filled and on its way is no part of it.
    """

    sealing: float
    archiving: float
    behind: int
    drained_s: float
    cpu_us: float


class Watched(CheckedStore):
    """The store, and how far its newest manifest reaches."""

    def __init__(self, store: CheckedStore) -> None:
        self._store = store
        self.manifests: list[tuple[float, int]] = [(0.0, 0)]  # when, and how far it reaches

    @property
    def archived(self) -> int:
        return self.manifests[-1][1]

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        version_id = await self._store.create(key, body, retain_days=retain_days)
        if "/manifests/" in key and "/authz.decisions/" in key:
            reached = int(json.loads(body)["last_index"]) + 1
            self.manifests.append((time.perf_counter(), reached))
        return version_id

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        return await self._store.get(key, version_id)

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        return await self._store.head(key, version_id)

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        await self._store.extend(key, version_id, until)

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        return await self._store.versions(prefix)

    async def newest(self, key: str) -> Published | None:
        return await self._store.newest(key)

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        return await self._store.replace(key, body, over=over)

    async def check_bucket(self) -> None:
        await self._store.check_bucket()

    async def close(self) -> None:
        await self._store.close()


def report(*, quick: bool) -> list[str]:
    """Markdown lines: medians of several rounds, each in a home and a bucket of its own."""
    count, times = (400_000, 1) if quick else (800_000, 5)
    collect_rarely()  # as `run` and `worker` do
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        (Path(folder) / "s3").mkdir()
        with LocalS3(Path(folder) / "s3") as s3:
            alone: list[Round] = []
            together: list[Together] = []
            for number in range(times):
                home = Path(folder) / str(number)
                together.append(asyncio.run(beside_sealing(s3, home / "both", count)))
                alone.append(asyncio.run(by_itself(s3, home / "alone", count)))
    return [*lines_alone(alone, count), "", *lines_together(together, count)]


def lines_alone(found: list[Round], count: int) -> list[str]:
    one = median(found)
    return [
        "| what | events/s | µs CPU an event |",
        "|---|---|---|",
        f"| archiving alone, {count:,} × {VALUE_BYTES} B | {one.rate:,.0f} | {one.cpu_us:.1f} |",
    ]


def lines_together(found: list[Together], count: int) -> list[str]:
    ordered = sorted(found, key=lambda one: one.archiving / one.sealing)
    one = ordered[len(ordered) // 2]
    return [
        f"| a burst of {count:,} × {VALUE_BYTES} B | |",
        "|---|---|",
        f"| sealing, events/s | {one.sealing:,.0f} |",
        f"| archiving meanwhile, events/s | {one.archiving:,.0f} |",
        f"| of sealing | {one.archiving / one.sealing:.2f} |",
        f"| behind when all was sealed, events | {one.behind:,} |",
        f"| until all was archived, s | {one.drained_s:.1f} |",
        f"| both together, µs CPU an event | {one.cpu_us:.1f} |",
    ]


async def by_itself(s3: LocalS3, home: Path, count: int) -> Round:
    async with opened(s3, home) as (deployment, store):
        await fill(deployment, count)
        async with running(SealingService(deployment).run()) as task:
            await until(task, lambda: sealed_now() >= count)
            await asyncio.sleep(CHECKPOINT_S)
        with usage() as used:
            async with running(archiving(deployment).run()) as task:
                await until(task, lambda: store.archived >= count)
    return Round(count / used.wall, used.cpu / count * 1e6)


async def beside_sealing(s3: LocalS3, home: Path, count: int) -> Together:
    async with opened(s3, home) as (deployment, store):
        await fill(deployment, count)
        with usage() as drained:
            with usage() as burst:
                stack = AsyncExitStack()
                sealing = await stack.enter_async_context(
                    running(SealingService(deployment).run())
                )
                writing = await stack.enter_async_context(running(archiving(deployment).run()))
                await until(sealing, lambda: sealed_now() >= count)
                meanwhile = store.manifests[1:]
            await until(writing, lambda: store.archived >= count)
            await stack.aclose()
    (first, begun), (last, reached) = meanwhile[0], meanwhile[-1]
    return Together(
        count / burst.wall,
        (reached - begun) / (last - first),
        count - reached,
        drained.wall - burst.wall,
        drained.cpu / count * 1e6,
    )


@asynccontextmanager
async def opened(s3: LocalS3, home: Path) -> AsyncIterator[tuple[Deployment, Watched]]:
    bucket = f"bench-{secrets.token_hex(6)}"
    config = Config(s3={"addressing_style": "path"})
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=config,
    )
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    settings = load_settings(
        {
            "ATTESTREAM_ARCHIVE": f"s3://{bucket}/log",
            "ATTESTREAM_HOME": str(home),
            "ATTESTREAM_SEGMENT_IDLE_S": "0.2",
            "AUDIT_SIGNING_PRIVATE_KEY": KEY,
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_ENDPOINT": s3.endpoint,
            "S3_SECRET": SECRET,
        }
    )
    metrics.SEALED_RECORDS.clear()
    async with open_deployment(settings, Health(), SystemClock()) as deployment:
        store = Watched(deployment.objects)
        yield replace(deployment, objects=store), store


async def fill(deployment: Deployment, count: int) -> None:
    engine = deployment.engine
    async with engine.sink(engine.topology.decisions) as sink:
        for number in range(count):
            value = secrets.token_bytes(VALUE_BYTES)
            at = 1_700_000_000_000 + number
            await sink.send(NewRecord(at, value, b"k%d" % (number % 97)))


def archiving(deployment: Deployment) -> ProjectionService:
    spec = roles._archive(deployment)
    return ProjectionService(deployment, replace(spec, sources=spec.sources[:1]))


def sealed_now() -> float:
    family = next(iter(metrics.SEALED_RECORDS.collect()))
    return sum(
        sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["topic"] == "authz.decisions"
    )


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(task: asyncio.Task[None], condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)
        if task.done():
            task.result()
