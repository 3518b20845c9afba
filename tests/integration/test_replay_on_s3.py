"""A real S3 archive with Object Lock, restored and drilled."""

from pathlib import Path

import pytest

from projections.archive.fold import CutRules
from projections.drill.running import DrillRequest, run_drill
from projections.replay.fold import in_order
from projections.replay.opening import ReplayRequest, open_replay
from streams.clock import SystemClock
from streams.settings import load_settings
from tests.support.archives import run_archiver
from tests.support.replays import archived, copied, long_log, place_at, staged_rows, values
from tests.support.s3_fixtures import S3Server
from tests.support.sealed_log import BASE, KEYS

LOG = long_log()
pytestmark = pytest.mark.integration


async def test_an_archive_on_s3_is_restored_and_drilled(
    s3_server: S3Server, locked_bucket: str, tmp_path: Path
) -> None:
    store = s3_server.store(locked_bucket)
    await run_archiver(store, LOG, CutRules(records_max=6))
    async with place_at(tmp_path / "staging") as place:
        done = await copied(archived(store), place)
        assert (done.size, done.rows) == (LOG.size, len(LOG.rows))
        assert values(await staged_rows(place)) == values(in_order(LOG.rows, 0))
    await store.close()
    settings = load_settings(
        {
            "ATTESTREAM_HOME": str(tmp_path / "none"),
            "ATTESTREAM_ORIGIN": BASE,
            "ATTESTREAM_ARCHIVE": f"s3://{locked_bucket}/deployment",
            "S3_ENDPOINT": s3_server.endpoint,
            "S3_ACCESS_KEY": s3_server.access_key,
            "S3_SECRET": s3_server.secret,
        }
    )
    async with open_replay(settings, ReplayRequest(source="archive", keys=KEYS)) as replay:
        (plan,) = [await replay.plan(origin) for origin in replay.origins]
        assert (plan.size, plan.missing) == (LOG.size, ())
        report = await run_drill(replay, DrillRequest(segments=99, seed="s"), SystemClock())
    assert report.passed, report.failures
    assert report.records == LOG.size
