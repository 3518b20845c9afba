"""The tiles projection on a real S3 server: competing, crashing, and read by the verifier."""

import asyncio
import random

import pytest

from projections.tiles.projection import PublishRules
from streams.verifier import TileRequest, Trust, verify_tiles
from tests.support.faulty_objects import FATES, Fate, FaultyObjects
from tests.support.s3_fixtures import S3Server
from tests.support.sealed_log import KEYS, SealedLog
from tests.support.static_logs import PREFIX, check_tiles, entries, run_tiler

pytestmark = [pytest.mark.integration]


def grown(lengths: tuple[int, ...]) -> SealedLog:
    log = SealedLog()
    for length in lengths:
        log.append(length)
        log.checkpoint()
    return log


async def test_nothing_published_is_locked_and_all_of_it_verifies(
    s3_server: S3Server, locked_bucket: str
) -> None:
    store, log = s3_server.store(locked_bucket), grown((300, 7, 250))
    await run_tiler(store, log, PublishRules(records_max=1))
    assert await check_tiles(store, entries(log)) == log.size
    for version in await store.versions(PREFIX):
        info = await store.head(version.key, version.version_id)
        assert info is not None
        assert (info.lock_mode, info.retain_until) == (None, None)
    verdict = await verify_tiles(store, Trust(keys=KEYS), TileRequest(PREFIX))
    assert (verdict.breaks, verdict.size) == ((), log.size)


async def test_competing_writers_that_crash_leave_a_log_that_verifies(
    s3_server: S3Server, locked_bucket: str
) -> None:
    chance, log = random.Random(5), grown((90, 200, 3, 80))

    def fate(_name: str, _number: int) -> Fate:
        return chance.choice(FATES) if chance.random() < 0.05 else ""

    await asyncio.gather(
        *(
            run_tiler(
                FaultyObjects(s3_server.store(locked_bucket), fate),
                log,
                PublishRules(records_max=records),
                starts=100,
            )
            for records in (1, 100, 500)
        )
    )
    assert await check_tiles(s3_server.store(locked_bucket), entries(log)) == log.size


async def test_a_deleted_static_log_is_built_anew(s3_server: S3Server, locked_bucket: str) -> None:
    store, log = s3_server.store(locked_bucket), grown((300,))
    await run_tiler(store, log)
    client = s3_server.client()
    for version in await store.versions(PREFIX):
        await asyncio.to_thread(
            client.delete_object, Bucket=locked_bucket, Key=f"deployment/{version.key}"
        )
    assert await check_tiles(store, entries(log)) == 0
    await run_tiler(store, log)
    assert await check_tiles(store, entries(log)) == log.size
