"""A new key: objects are added, nothing is rewritten, and what the old key had alone stays so."""

import pytest

from projections.snapshots.rekeying import Rekeyed, rekey
from projections.snapshots.store import SnapshotStore
from streams.keys.wrapping import AesWrappingKey, WrappingKeys
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import ORIGIN, SealedLog
from tests.support.snapshot_states import (
    DAY_MS,
    KEY,
    PROJECTION,
    Ledger,
    Said,
    SnapshotPlace,
    saved_at,
)
from tests.unit.projections.snapshots.test_cleanup import clean, grown

NEW = b"n" * 24
OLD_ID, NEW_ID = AesWrappingKey(KEY).key_id, AesWrappingKey(NEW).key_id


async def rekeyed(place: SnapshotPlace, *keys: bytes) -> Rekeyed:
    assert place.objects is not None
    store = SnapshotStore(objects=place.objects, origin=ORIGIN, projection=PROJECTION)
    return await rekey(store, WrappingKeys([AesWrappingKey(key) for key in keys]), place.clock)


async def contents(place: SnapshotPlace) -> dict[str, bytes | None]:
    assert place.objects is not None
    listed = await place.objects.versions("snapshots/v1/")
    return {version.key: await place.objects.get(version.key) for version in listed}


async def test_every_snapshot_opens_with_the_new_key_alone_and_nothing_was_rewritten() -> None:
    place = SnapshotPlace()
    log, ledger, _ = await grown(place, 3)
    before = await contents(place)
    done = await rekeyed(place, NEW, KEY)
    assert done == (3, 0, [OLD_ID], [])
    after = await contents(place)
    assert {name: after[name] for name in before} == before
    assert {name.rpartition("/")[2] for name in after.keys() - before} == {f"{NEW_ID}.json"}
    place.keys = (NEW,)
    again = Ledger()
    keeper = place.keeper(again, log)
    assert (await keeper.resume()).index == 9
    assert again.content == ledger.content
    await keeper.close()


async def test_a_second_run_adds_nothing_and_a_broken_one_is_completed() -> None:
    place = SnapshotPlace()
    await grown(place, 3)
    await rekeyed(place, NEW, KEY)
    assert await rekeyed(place, NEW, KEY) == (0, 3, [OLD_ID], [])
    assert isinstance(place.objects, MemoryObjectStore)
    added = [name for name in await contents(place) if NEW_ID in name]
    place.objects.lose(added[1])
    assert await rekeyed(place, NEW, KEY) == (1, 2, [OLD_ID], [])


async def test_the_key_of_a_chunk_that_is_named_again_is_wrapped_too() -> None:
    place = SnapshotPlace()
    log, ledger, _ = await grown(place, 2)
    place.clock.ms += 200 * DAY_MS
    await clean(place)  # of the first snapshot, the chunks that the second names stay
    await rekeyed(place, NEW, KEY)
    place.keys = (NEW,)
    again = Ledger()
    keeper = place.keeper(again, log)
    assert (await keeper.resume()).index == 6
    assert again.content == ledger.content
    await keeper.close()


async def test_a_data_key_that_no_key_at_hand_opens_is_told() -> None:
    place = SnapshotPlace()
    await grown(place, 1)
    done = await rekeyed(place, NEW)
    assert (done.added, len(done.refused)) == (0, 1)
    assert f"wrapped by {OLD_ID}; at hand: {NEW_ID}" in done.refused[0]


@pytest.mark.parametrize("length", [16, 24, 32])
async def test_keys_of_any_size_may_follow_each_other(length: int) -> None:
    place = SnapshotPlace()
    await grown(place, 1)
    assert (await rekeyed(place, b"z" * length, KEY)).added == 1


async def test_a_planted_object_under_the_new_keys_name_is_told_and_hides_no_old_one() -> None:
    place = SnapshotPlace()
    log, ledger, ids = await grown(place, 1)
    assert place.objects is not None
    name = f"snapshots/v1/{ORIGIN}/{PROJECTION}/keys/{ids[0]}/{NEW_ID}.json"
    await place.objects.create(name, b"planted", retain_days=9)
    done = await rekeyed(place, NEW, KEY)
    assert (done.added, done.before, len(done.refused)) == (0, 0, 1)
    place.keys = (NEW, KEY)
    again = Ledger()
    keeper = place.keeper(again, log)
    assert (await keeper.resume()).index == 3
    assert again.content == ledger.content
    await keeper.close()


async def test_what_is_written_under_the_old_key_once_the_new_one_writes_is_refused(
    said: Said,
) -> None:
    place = SnapshotPlace()
    log, _, _ = await grown(place, 1)
    place.keys = (NEW, KEY)
    place.clock.ms += 1000
    await saved(place, log)
    place.keys = (KEY,)
    place.clock.ms += 1000
    await saved(place, log)  # as whoever has stolen the old key would
    place.keys = (NEW, KEY)
    said.clear()
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    assert (await keeper.resume()).index == 3
    await keeper.close()
    (refused,) = [line["why"] for line in said if line["event"] == "snapshot refused"]
    assert f"written under {OLD_ID}, when {NEW_ID} had taken its place" in refused


async def saved(place: SnapshotPlace, log: SealedLog) -> None:
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    await keeper.resume()
    ledger.forget()
    ledger.learn(log.size)
    keeper.stands(saved_at(log))
    await keeper.create()
    await keeper.close()
