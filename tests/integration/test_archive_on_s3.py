"""The archiver on a real S3 server: competing, crashing, and a server that is killed."""

import asyncio
import random

import pytest

from projections.archive.fold import CutRules
from streams.objects.s3 import Patience, S3ObjectStore
from tests.support.archives import archiver, check_archive, run_archiver, stand_still
from tests.support.faulty_objects import FATES, Fate, FaultyObjects
from tests.support.local_s3 import LocalS3
from tests.support.s3_fixtures import S3Server
from tests.support.sealed_log import SealedLog

pytestmark = pytest.mark.integration


def grown(batches: int, seed: int) -> SealedLog:
    chance = random.Random(seed)
    log = SealedLog()
    for _ in range(batches):
        log.append(chance.randint(1, 9))
        log.checkpoint()
    return log


async def test_every_segment_is_locked_and_has_one_version(
    s3_server: S3Server, locked_bucket: str
) -> None:
    log = grown(6, 1)
    store = s3_server.store(locked_bucket)
    await run_archiver(store, log, CutRules(records_max=10))
    await check_archive(store, log, size=log.size)
    for version in await store.versions(""):
        info = await store.head(version.key, version.version_id)
        assert info is not None
        assert info.lock_mode == "COMPLIANCE"


async def test_archivers_of_different_cuts_crash_and_compete(
    s3_server: S3Server, locked_bucket: str
) -> None:
    chance = random.Random(11)
    log = grown(20, 2)
    stores = [
        FaultyObjects(
            s3_server.store(locked_bucket),
            lambda _call, _number: chance.choice(FATES) if chance.random() < 0.05 else "",
        )
        for _ in range(4)
    ]
    await asyncio.gather(
        *(
            run_archiver(store, log, CutRules(records_max=size), starts=200)
            for store, size in zip(stores, (4, 9, 20, 60), strict=True)
        )
    )
    await check_archive(s3_server.store(locked_bucket), log, size=log.size)


@pytest.mark.slow
async def test_a_server_killed_in_the_middle_is_caught_up_with(
    s3_local: LocalS3, s3_server: S3Server, locked_bucket: str
) -> None:
    log = grown(12, 3)
    server = s3_server.at(s3_local.endpoint)
    bucket = locked_bucket if server == s3_server else server.make_bucket()
    store = S3ObjectStore(server.connection, bucket, "", Patience(attempts=9))
    under_way, creates = asyncio.Event(), list[str]()

    def seventh_write(call: str, _number: int) -> Fate:
        creates.extend([call] if call.startswith("create") else [])
        if len(creates) == 7:
            under_way.set()
        return ""

    first = archiver(FaultyObjects(store, seventh_write), CutRules(records_max=1))
    running = asyncio.create_task(stand_still(first, log))
    await under_way.wait()
    await asyncio.to_thread(s3_local.kill)
    await asyncio.to_thread(s3_local.start)
    await asyncio.gather(running, return_exceptions=True)
    await run_archiver(store, log, CutRules(records_max=5))
    await check_archive(store, log, size=log.size)
