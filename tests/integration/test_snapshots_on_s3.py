"""Snapshots in a real bucket with Object Lock."""

import pytest

from projections.snapshots.cleanup import Cleaner
from projections.snapshots.retention import Kept
from projections.snapshots.store import SnapshotStore
from streams.clock import SystemClock
from streams.keys.wrapping import AesWrappingKey, WrappingKeys
from streams.objects.disposal import DisposableStore
from tests.support.s3_fixtures import S3Server
from tests.support.sealed_log import ORIGIN, SealedLog
from tests.support.snapshot_states import (
    KEY,
    PROJECTION,
    Ledger,
    SetClock,
    SnapshotPlace,
    saved_at,
)

pytestmark = pytest.mark.integration

HOUR_MS = 3_600_000


async def test_a_snapshot_is_locked_by_tier_restored_and_not_removed_before_its_time(
    s3_server: S3Server, locked_bucket: str
) -> None:
    store = s3_server.store(locked_bucket, "snapshots-of-tests")
    assert isinstance(store, DisposableStore)
    clock = SetClock(SystemClock().now_ms())
    place, log, ledger = SnapshotPlace(clock=clock, objects=store), SealedLog(), Ledger()
    keeper = place.keeper(ledger, log)
    await keeper.resume()
    made = []
    for _ in range(2):
        log.append(5)
        log.checkpoint()
        ledger.learn(5)
        keeper.stands(saved_at(log))
        made.append(await keeper.create())
        clock.ms += 1000
    await keeper.close()
    days = []
    for name in [f"manifests/{manifest.snapshot}.json" for manifest in made]:
        key = f"snapshots/v1/{ORIGIN}/{PROJECTION}/{name}"
        (version,) = await store.versions(key)
        info = await store.head(key, version.version_id)
        assert info is not None
        assert info.retain_until is not None
        assert info.lock_mode == "COMPLIANCE"
        days.append(round((info.retain_until.timestamp() * 1000 - clock.ms) / HOUR_MS / 24))
        assert not await store.delete(key, version.version_id)
    assert days == [186, 1]
    assert made[1].chunks[0] == made[0].chunks[0]
    again = Ledger()
    keeper = place.keeper(again, log)
    assert (await keeper.resume()).index == 10
    assert again.content == ledger.content
    await keeper.close()
    # A clean-up whose clock is ahead asks for what the server refuses, and goes on.
    clock.ms += 400 * 24 * HOUR_MS
    cleaner = Cleaner(
        store=SnapshotStore(objects=store, origin=ORIGIN, projection=PROJECTION),
        objects=store,
        keys=WrappingKeys([AesWrappingKey(KEY)]),
        clock=clock,
        kept=Kept(daily=1, weekly=0, monthly=0),
    )
    report = await cleaner.run()
    assert [verdict.is_kept for verdict in report.verdicts] == [True, True]
    assert report.verdicts[1].reason == "no rule keeps it, but the store does"
    await store.close()


async def test_a_version_without_lock_is_deleted_for_good(
    s3_server: S3Server, locked_bucket: str
) -> None:
    store = s3_server.store(locked_bucket)
    await store.replace("a/b", b"public")
    (version,) = await store.versions("a/b")
    assert await store.delete("a/b", version.version_id)
    assert await store.versions("a/b") == []
    assert await store.delete("a/b", version.version_id)
    await store.close()
