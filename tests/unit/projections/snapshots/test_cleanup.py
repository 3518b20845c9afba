"""Clean-up: what no rule keeps goes once its lock ends, and nothing that is still named."""

import os
from pathlib import Path

import pytest

from projections.snapshots.cleanup import Cleaner, CleanupReport
from projections.snapshots.names import snapshot_of
from projections.snapshots.retention import Kept
from projections.snapshots.store import SnapshotStore
from streams.keys.wrapping import AesWrappingKey, WrappingKeys
from streams.objects import DirectoryObjectStore
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import ORIGIN, SealedLog
from tests.support.snapshot_states import (
    DAY_MS,
    KEY,
    PROJECTION,
    Ledger,
    SnapshotPlace,
    saved_at,
)

LATER_MS = 200 * DAY_MS  # every lock has ended
ONE = Kept(daily=1, weekly=0, monthly=0)
HOUR_MS = 3_600_000


def objects_of(place: SnapshotPlace) -> MemoryObjectStore:
    assert isinstance(place.objects, MemoryObjectStore)
    return place.objects


async def clean(
    place: SnapshotPlace, kept: Kept = ONE, *, dry_run: bool = False, key: bytes = KEY
) -> CleanupReport:
    objects = objects_of(place)
    cleaner = Cleaner(
        store=SnapshotStore(objects=objects, origin=ORIGIN, projection=PROJECTION),
        objects=objects,
        keys=WrappingKeys([AesWrappingKey(key)]),
        clock=place.clock,
        kept=kept,
    )
    return await cleaner.run(dry_run=dry_run)


async def names(place: SnapshotPlace) -> set[str]:
    return {version.key for version in await objects_of(place).versions("snapshots/v1/")}


async def grown(place: SnapshotPlace, times: int) -> tuple[SealedLog, Ledger, list[str]]:
    """A log whose projection took so many snapshots, an hour apart, each naming the first's."""
    log, ledger, ids = SealedLog(), Ledger(), []
    keeper = place.keeper(ledger, log)
    await keeper.resume()
    for _ in range(times):
        log.append(3)
        log.checkpoint()
        ledger.learn(3)
        keeper.stands(saved_at(log))
        ids.append((await keeper.create()).snapshot)
        place.clock.ms += HOUR_MS
    await keeper.close()
    return log, ledger, ids


async def test_a_chunk_and_key_that_are_named_again_stay_when_their_snapshot_goes() -> None:
    place = SnapshotPlace()
    log, ledger, ids = await grown(place, 3)
    place.clock.ms += LATER_MS
    report = await clean(place)
    assert [(v.snapshot, v.is_kept) for v in report.verdicts] == [
        (ids[2], True),
        (ids[1], False),
        (ids[0], False),
    ]
    left = await names(place)
    writers = {named[1] for name in left if (named := snapshot_of(name))}
    assert writers == {ids[0], ids[2]}
    assert report.objects > 0
    again = Ledger()
    keeper = place.keeper(again, log)
    assert (await keeper.resume()).index == 9
    assert again.content == ledger.content
    await keeper.close()
    assert (await clean(place)).objects == 0


async def test_nothing_goes_before_its_lock_ends() -> None:
    place = SnapshotPlace()
    await grown(place, 3)
    before = await names(place)
    report = await clean(place)
    assert all(verdict.is_kept for verdict in report.verdicts)
    assert "no rule keeps it, but its lock does" in {v.reason for v in report.verdicts}
    assert (await names(place), report.objects) == (before, 0)


async def test_a_dry_run_says_the_same_and_removes_nothing() -> None:
    place = SnapshotPlace()
    await grown(place, 3)
    place.clock.ms += LATER_MS
    before = await names(place)
    dry = await clean(place, dry_run=True)
    assert await names(place) == before
    assert await clean(place) == dry


async def test_with_another_key_nothing_is_judged_and_nothing_goes() -> None:
    place = SnapshotPlace()
    await grown(place, 2)
    place.clock.ms += LATER_MS
    before = await names(place)
    report = await clean(place, key=b"o" * 32)
    assert all(v.is_kept and "cannot be read" in v.reason for v in report.verdicts)
    assert (await names(place), report.objects) == (before, 0)


async def test_what_was_half_written_goes_when_its_lock_ends() -> None:
    place = SnapshotPlace()
    _, _, ids = await grown(place, 2)
    objects = objects_of(place)
    objects.lose(f"snapshots/v1/{ORIGIN}/{PROJECTION}/manifests/{ids[1]}.json")
    report = await clean(place)
    assert (report.objects, report.waiting) == (0, 3)  # two chunks and a key
    place.clock.ms += 2 * DAY_MS
    assert (await clean(place)).objects == 3
    assert ids[1] not in " ".join(await names(place))


async def test_a_snapshot_without_a_chunk_counts_for_no_rule_and_goes() -> None:
    place = SnapshotPlace()
    log, _, ids = await grown(place, 2)
    place.clock.ms += LATER_MS
    objects = objects_of(place)
    objects.lose(f"snapshots/v1/{ORIGIN}/{PROJECTION}/chunks/{ids[1]}/0000000000")
    report = await clean(place)
    assert [(v.snapshot, v.is_kept) for v in report.verdicts] == [(ids[1], False), (ids[0], True)]
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    assert (await keeper.resume()).index == 3
    await keeper.close()


async def test_a_crash_between_two_removals_leaves_what_can_be_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class DiedError(BaseException):
        pass

    died = 0
    for most in range(12):
        place = SnapshotPlace()
        log, ledger, _ = await grown(place, 3)
        place.clock.ms += LATER_MS
        objects, left = objects_of(place), most
        delete = objects.delete

        async def mortal(key: str, version_id: str) -> bool:
            nonlocal left
            left -= 1
            if left < 0:
                raise DiedError
            return await delete(key, version_id)  # noqa: B023  # called before the next turn

        monkeypatch.setattr(MemoryObjectStore, "delete", lambda _self, k, v: mortal(k, v))
        try:
            await clean(place)
        except DiedError:
            died += 1
        monkeypatch.undo()
        await clean(place)
        again = Ledger()
        keeper = place.keeper(again, log)
        assert (await keeper.resume()).index == 9
        assert again.content == ledger.content
        await keeper.close()
    assert died > 3


async def test_a_directory_deletes_nothing_before_its_date_and_leaves_no_empty_folder(
    tmp_path: Path,
) -> None:
    store = DirectoryObjectStore(tmp_path)
    version_id = await store.create("a/b/c", b"retained", retain_days=1)
    assert not await store.delete("a/b/c", version_id)
    assert await store.delete("a/b/c", "another version")
    assert await store.get("a/b/c") == b"retained"
    os.utime(tmp_path / "a/b/c", (0, 0))
    assert await store.delete("a/b/c", version_id)
    assert await store.delete("a/b/c", version_id)
    assert await store.get("a/b/c") is None
    assert not (tmp_path / "a/b").exists()
