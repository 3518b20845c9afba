"""Snapshots of a running projection: taken beside it, restored at its start, or refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from projections.snapshots.keeper import SnapshotKeeper
from projections.snapshots.manifest import Manifest
from projections.snapshots.names import new_snapshot_id
from projections.snapshots.parts import StateParts
from projections.snapshots.world import OpenedPlace, Schedule
from streams.audit.note import ED25519, TrustedKeys, Vkey
from streams.errors import AttestreamError, TransientError
from streams.keys.wrapping import AesWrappingKey
from tests.support.memory_objects import EPOCH, MemoryObjectStore
from tests.support.sealed_log import SealedLog
from tests.support.snapshot_states import (
    DAY_MS,
    KEY,
    PROJECTION,
    Ledger,
    Said,
    SnapshotPlace,
    saved_at,
)

OTHER_KEY = b"o" * 32


class Told:
    """What is saved beside a state."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.away = False

    def export(self) -> bytes:
        return self.data

    async def load(self, data: bytes) -> None:
        if self.away:
            raise TransientError("the registry is away")
        self.data = data


def sealed(*lengths: int) -> SealedLog:
    log = SealedLog()
    grow(log, *lengths)
    return log


def grow(log: SealedLog, *lengths: int) -> None:
    for length in lengths:
        log.append(length)
        log.checkpoint()


async def started(place: SnapshotPlace, ledger: Ledger, log: SealedLog) -> SnapshotKeeper:
    """As a projection starts: restored, then read to the log's end."""
    keeper = place.keeper(ledger, log)
    position = await keeper.resume()
    assert position.index == ledger.leaves
    ledger.learn(log.size - ledger.leaves)
    keeper.stands(saved_at(log))
    return keeper


async def taken(place: SnapshotPlace, log: SealedLog) -> tuple[Ledger, Manifest]:
    """The state of a projection that was saved and ended."""
    ledger = Ledger()
    keeper = await started(place, ledger, log)
    manifest = await keeper.create()
    await keeper.close()
    return ledger, manifest


async def restored(place: SnapshotPlace, log: SealedLog) -> tuple[Ledger, int]:
    """A start, and the leaf it went on from."""
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    position = await keeper.resume()
    await keeper.close()
    return ledger, position.index


def why(said: Said) -> str:
    """The one reason why a start restored nothing, or another snapshot than the newest."""
    (line,) = [one for one in said if one["event"] in {"snapshot refused", "no snapshot"}]
    assert "\n" not in line["why"]
    return str(line["why"])


async def test_a_start_goes_on_where_the_newest_snapshot_stands(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5, 3)
    saved, manifest = await taken(place, log)
    assert manifest.saved_at.size == 8
    grow(log, 4)
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    position = await keeper.resume()
    assert (position.index, position.opening) == (8, saved_at(sealed(5, 3)).opening)
    assert position.offset == 13  # behind genesis, 5 and 3 records, and what ends transactions
    assert ledger.content == saved.content
    await keeper.close()
    assert [one["event"] for one in said] == ["snapshot taken", "snapshot restored"]


async def test_without_a_snapshot_a_start_begins_at_leaf_0() -> None:
    ledger, index = await restored(SnapshotPlace(), sealed(5))
    assert (ledger.content, index) == (Ledger().content, 0)


async def test_what_is_learned_while_a_snapshot_is_written_is_not_in_it() -> None:
    place, log = SnapshotPlace(), sealed(5)
    ledger = Ledger()
    keeper = await started(place, ledger, log)
    creating = asyncio.create_task(keeper.create())
    for _ in range(20):
        keeper.breaks_up()
        ledger.learn(3)
        await asyncio.sleep(0)
        grow(log, 3)
        keeper.stands(saved_at(log))
    manifest = await creating
    await keeper.close()
    again, index = await restored(place, log)
    assert index == manifest.saved_at.size
    straight = Ledger()
    straight.learn(index)
    assert again.content == straight.content


async def test_a_state_is_copied_only_where_it_is_whole() -> None:
    place, log = SnapshotPlace(), sealed(5)
    ledger = Ledger()
    keeper = await started(place, ledger, log)
    keeper.breaks_up()
    ledger.learn(1)
    creating = asyncio.create_task(keeper.create())
    await asyncio.sleep(0.05)
    assert not creating.done()
    ledger.learn(1)
    grow(log, 2)
    keeper.stands(saved_at(log))
    assert (await creating).saved_at.size == 7
    await keeper.close()
    assert (await restored(place, log))[0].content == ledger.content


async def test_what_only_grows_is_saved_once_while_its_lock_lasts() -> None:
    place, log = SnapshotPlace(), sealed(50)
    ledger = Ledger()
    keeper = await started(place, ledger, log)
    first = await keeper.create()
    place.clock.ms += 3_600_000
    ledger.learn(5)
    grow(log, 5)
    keeper.stands(saved_at(log))
    second = await keeper.create()
    assert second.chunks[0] == first.chunks[0]
    assert [chunk.writer for chunk in second.chunks[1:]] == [second.snapshot] * 2
    assert min(chunk.retained_until for chunk in second.chunks) >= second.retained_until
    await keeper.close()
    again, index = await restored(place, log)
    assert (index, again.content) == (55, ledger.content)
    # A start that restored it names the same chunks again.
    _, third = await taken(place, log)
    assert third.chunks[0] == first.chunks[0]
    # The first of a later month is locked for longer than anything before, so it is whole.
    place.clock.ms += 40 * DAY_MS
    _, fourth = await taken(place, log)
    assert {chunk.writer for chunk in fourth.chunks} == {fourth.snapshot}


async def test_after_a_new_key_nothing_written_under_the_old_one_is_named_again() -> None:
    place, log = SnapshotPlace(), sealed(5)
    _, first = await taken(place, log)
    place.keys = (OTHER_KEY, KEY)
    place.clock.ms += 1000
    ledger, second = await taken(place, log)
    assert {chunk.writer for chunk in second.chunks} == {second.snapshot}
    assert first.key != second.key
    place.keys = (OTHER_KEY,)
    assert (await restored(place, log))[0].content == ledger.content


async def test_without_the_key_a_start_begins_at_leaf_0_and_says_so(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    await taken(place, log)
    place.keys = (OTHER_KEY,)
    assert (await restored(place, log))[1] == 0
    assert "its data key is wrapped by aes-" in why(said)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (sealed(3), "the log holds no checkpoint of that size: the log is another, or lost"),
        (sealed(4, 4), "it is of 5 leaves of"),
        (SealedLog(), "the log is another, or lost its end"),
    ],
    ids=["shorter", "other checkpoints", "begun anew"],
)
async def test_a_snapshot_the_log_does_not_hold_is_refused(
    said: Said, log: SealedLog, sentence: str
) -> None:
    place = SnapshotPlace()
    await taken(place, sealed(5))
    assert (await restored(place, log))[1] == 0
    assert sentence in why(said)


async def test_a_snapshot_of_another_history_is_refused(said: Said) -> None:
    place = SnapshotPlace()
    await taken(place, sealed(5))
    other = SealedLog(salt=b"other")
    grow(other, 5, 2)
    assert (await restored(place, other))[1] == 0
    assert "it is of another history of" in why(said)


async def test_a_snapshot_moved_to_another_projection_is_refused(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    await taken(place, log)
    assert place.objects is not None
    for version in await place.objects.versions("snapshots/v1/"):
        body = await place.objects.get(version.key) or b""
        moved = version.key.replace("/ledger/", "/ledgers/")
        await place.objects.create(moved, body, retain_days=1)
    place.projection = "ledgers"
    assert (await restored(place, log))[1] == 0
    assert "its manifest is that of" in why(said)


async def test_planted_snapshots_push_no_honest_one_out(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    await taken(place, log)
    assert place.objects is not None
    root = f"snapshots/v1/{saved_at(log).origin}/{PROJECTION}"
    for number in range(20):
        planted = new_snapshot_id(place.clock.ms + 1000 + number, bytes(10))
        await place.objects.create(f"{root}/manifests/{planted}.json", b"{}", retain_days=9)
        key = f"{root}/keys/{planted}/{AesWrappingKey(KEY).key_id}.json"
        await place.objects.create(key, b"{}", retain_days=9)
    assert (await restored(place, log))[1] == 5
    refused = [line for line in said if line["event"] == "snapshot refused"]
    assert len(refused) == 3
    assert "an object that is none" in refused[0]["why"]


async def test_a_snapshot_whose_checkpoint_no_trusted_key_signed_is_refused(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    await taken(place, log)
    place.trusted = TrustedKeys([Vkey("test.example", ED25519, bytes(32))])
    assert (await restored(place, log))[1] == 0
    assert "its checkpoint does not verify: unknown_key" in why(said)


async def test_a_defect_while_saving_is_told_and_ends_nothing(said: Said) -> None:
    class Odd(Ledger):
        def export(self) -> StateParts:
            raise ZeroDivisionError("odd")

    place, log, ledger = SnapshotPlace(), sealed(5), Odd()
    keeper = await started(place, ledger, log)
    keeper.breaks_up()
    creating = asyncio.create_task(keeper.create())
    await asyncio.sleep(0.02)
    keeper.stands(saved_at(log))
    with pytest.raises(TransientError, match="a defect: ZeroDivisionError: odd"):
        await creating
    with pytest.raises(TransientError, match="a defect"):
        await keeper.create()
    assert [line["event"] for line in said] == ["snapshot failed"] * 2
    await keeper.close()


@pytest.mark.parametrize("planted", ["v" * 26, "v" * 25 + "0", "7" + "v" * 24 + "g"])
async def test_a_name_of_a_time_no_calendar_has_keeps_no_snapshot_from_being_taken(
    planted: str,
) -> None:
    place, log = SnapshotPlace(), sealed(5)
    assert place.objects is not None
    root = f"snapshots/v1/{saved_at(log).origin}/{PROJECTION}"
    await place.objects.create(f"{root}/manifests/{planted}.json", b"", retain_days=9)
    _, manifest = await taken(place, log)
    assert round((manifest.retained_until - place.clock.ms) / DAY_MS) == 186
    assert (await restored(place, log))[1] == 5


async def test_an_object_larger_than_what_was_stored_is_not_read(said: Said) -> None:
    class Large(MemoryObjectStore):
        async def get(self, key: str, version_id: str | None = None) -> bytes | None:
            body = await super().get(key, version_id)
            assert len(body or b"") < 100_000, "taken into memory"
            return body

    place, log = SnapshotPlace(objects=Large(now=lambda: EPOCH)), sealed(5)
    _, manifest = await taken(place, log)
    assert isinstance(place.objects, Large)
    for name in {version.key for version in await place.objects.versions("snapshots/v1/")}:
        if "/manifests/" not in name:
            body = await place.objects.get(name) or b""
            place.objects.lose(name)
            place.objects.overlay(name, bytes(200_000))
            assert (await restored(place, log))[1] == 0
            place.objects.lose(name)
            place.objects.overlay(name, body)
    assert len([line for line in said if "expected at most" in line.get("why", "")]) == 3
    assert manifest.saved_at.size == 5


async def test_what_was_restored_too_late_is_forgotten_whole(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lingering(SnapshotPlace):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[OpenedPlace]:
            async with super().open() as opened:
                yield opened
            if self.lingers:
                await asyncio.sleep(60)

        lingers = False

    place, log = Lingering(), sealed(5)
    await taken(place, log)
    place.lingers = True
    monkeypatch.setattr("projections.snapshots.keeper.RESTORE_S", 0.05)
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    assert ((await keeper.resume()).index, ledger.leaves) == (0, 0)
    assert "the store gave none within" in why(said)
    place.lingers = False
    with pytest.raises(AttestreamError, match="no leaf applied"):
        await keeper.create()
    await keeper.close()


async def test_a_state_with_leaves_behind_the_end_of_its_log_is_refused(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5, 3)
    await taken(place, log)
    place.ended = 7
    assert (await restored(place, log))[1] == 0
    assert "it has 8 leaves" in why(said)
    assert "which its operator ended at 7" in why(said)
    place.ended = 8
    assert (await restored(place, log))[1] == 8


async def test_a_state_of_other_rules_is_refused(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    await taken(place, log)
    place.parameters = {"rules": "two"}
    assert (await restored(place, log))[1] == 0
    assert why(said).endswith("its rules is one, that of now is two")


async def test_a_state_in_which_nothing_is_found_is_refused(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    await taken(place, log)
    ledger = Ledger()
    ledger.wrong = "row 3 is not its own nearest"
    keeper = place.keeper(ledger, log)
    assert (await keeper.resume()).index == 0
    assert ledger.leaves == 0
    await keeper.close()
    assert "row 3 is not its own nearest" in why(said)


async def test_what_belongs_to_a_state_is_saved_beside_it(said: Said) -> None:
    told = Told(b"three references")
    place, log = SnapshotPlace(beside={"schemas": told}), sealed(5)
    await taken(place, log)
    told.data = b""
    await restored(place, log)
    assert told.data == b"three references"
    told.away = True
    said.clear()
    ledger, index = await restored(place, log)
    assert (index, ledger.leaves) == (0, 0)
    assert why(said) == "the registry is away"


async def test_a_damaged_newest_snapshot_leaves_the_one_before(said: Said) -> None:
    place, log = SnapshotPlace(), sealed(5)
    assert isinstance(place.objects, MemoryObjectStore)
    await taken(place, log)
    place.clock.ms += 1000
    grow(log, 2)
    _, second = await taken(place, log)
    name = next(
        version.key
        for version in await place.objects.versions("snapshots/v1/")
        if second.snapshot in version.key and "/chunks/" in version.key
    )
    place.objects.lose(name)
    said.clear()
    assert (await restored(place, log))[1] == 5
    assert "is gone" in why(said)


async def test_a_store_that_is_away_delays_no_start_and_no_batch(said: Said) -> None:
    class Away(MemoryObjectStore):
        async def versions(self, prefix: str) -> Any:
            raise TransientError(f"{prefix}: no answer")

    place, log, ledger = SnapshotPlace(objects=Away()), sealed(5), Ledger()
    keeper = await started(place, ledger, log)
    with pytest.raises(TransientError):
        await keeper.create()
    ledger.learn(2)
    await keeper.close()
    assert [one["event"] for one in said] == ["no snapshot", "snapshot failed"]


async def test_a_store_that_hangs_delays_a_start_only_so_long(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(MemoryObjectStore):
        async def versions(self, prefix: str) -> Any:
            await asyncio.sleep(60)
            return await super().versions(prefix)

    monkeypatch.setattr("projections.snapshots.keeper.RESTORE_S", 0.05)
    place = SnapshotPlace(objects=Hanging())
    assert (await restored(place, sealed(5)))[1] == 0
    assert "the store gave none within" in why(said)


async def test_snapshots_are_taken_by_time_if_there_is_anything_new() -> None:
    place, log = SnapshotPlace(schedule=Schedule(period_s=0.05, leaves=10**9)), sealed(5)
    ledger = Ledger()
    keeper = await started(place, ledger, log)

    async def until(count: int) -> None:
        for _ in range(40):
            place.clock.ms += 60
            await asyncio.sleep(0.01)
            assert place.objects is not None
            if (
                len(await place.objects.versions(f"snapshots/v1/{saved_at(log).origin}/ledger/m"))
                >= count
            ):
                return
        raise AssertionError(f"{count} snapshots were not taken")

    await until(1)
    ledger.learn(1)
    grow(log, 1)
    keeper.stands(saved_at(log))
    await until(2)
    with pytest.raises(AssertionError, match="3 snapshots"):
        await until(3)
    await keeper.close()


async def test_snapshots_are_taken_by_leaves() -> None:
    place, log = SnapshotPlace(schedule=Schedule(period_s=1000.0, leaves=4)), sealed(5)
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    await keeper.resume()
    ledger.learn(5)
    place.clock.ms += 61_000
    keeper.stands(saved_at(log))
    for _ in range(100):
        await asyncio.sleep(0.01)
        assert place.objects is not None
        if await place.objects.versions("snapshots/v1/"):
            break
    await keeper.close()
    assert (await restored(place, log))[1] == 5


async def test_nothing_is_saved_before_a_leaf_was_applied() -> None:
    keeper = SnapshotPlace().keeper(Ledger(), sealed())
    await keeper.resume()
    with pytest.raises(AttestreamError, match="no leaf applied"):
        await keeper.create()
    await keeper.close()


async def test_whoever_waits_for_a_snapshot_hears_that_its_index_was_closed() -> None:
    place, log = SnapshotPlace(), sealed(5)
    keeper = await started(place, Ledger(), log)
    keeper.breaks_up()
    creating = asyncio.create_task(keeper.create())
    await asyncio.sleep(0.02)
    await keeper.close()
    with pytest.raises(TransientError, match="was closed"):
        await creating
    await keeper.close()
