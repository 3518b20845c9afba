"""Whatever call to the store fails or is a process's last: what is restored equals a rebuild."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from projections.snapshots.manifest import Manifest
from streams.errors import AttestreamError, TransientError
from streams.objects import DirectoryObjectStore
from streams.tasks import cancelled
from tests.support.archives import Died
from tests.support.faulty_objects import FATES, Fate, FaultyObjects
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import SealedLog
from tests.support.snapshot_states import Ledger, Said, SnapshotPlace, saved_at


def sealed(*lengths: int) -> SealedLog:
    log = SealedLog()
    for length in lengths:
        log.append(length)
        log.checkpoint()
    return log


def rebuilt(leaves: int) -> tuple[bytes, int]:
    ledger = Ledger()
    ledger.learn(leaves)
    return ledger.content


async def run(place: SnapshotPlace, log: SealedLog) -> Manifest:
    """A start, the rest of the log, and a snapshot; the process ends or dies with it."""
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    try:
        position = await keeper.resume()
        assert ledger.content == rebuilt(position.index)
        ledger.learn(log.size - position.index)
        keeper.stands(saved_at(log))
        creating = asyncio.create_task(keeper.create())
        task = keeper._task
        assert task is not None
        await asyncio.wait({creating, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await cancelled(creating)
            task.result()
        return await creating
    finally:
        await keeper.close()


async def restored(place: SnapshotPlace, log: SealedLog) -> tuple[int, tuple[bytes, int]]:
    ledger = Ledger()
    keeper = place.keeper(ledger, log)
    position = await keeper.resume()
    await keeper.close()
    return position.index, ledger.content


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    lines = Said()
    monkeypatch.setattr("projections.snapshots.keeper.log", lines)
    return lines


@pytest.mark.parametrize("fate", FATES)
async def test_any_call_may_fail_or_be_the_last(said: Said, fate: Fate) -> None:
    outcomes: list[str] = []
    for struck in count():
        first = SnapshotPlace()
        assert isinstance(first.objects, MemoryObjectStore)
        await run(first, sealed(4))
        log = sealed(4, 3)
        first.clock.ms += 1000

        def struck_once(_call: str, number: int, at: int = struck) -> Fate:
            return fate if number == at else ""

        objects = FaultyObjects(first.objects, struck_once)
        faulty = SnapshotPlace(clock=first.clock, objects=objects)
        try:
            await run(faulty, log)
        except (AttestreamError, Died) as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("taken")
        assert all("\n" not in str(line.get("why", "")) for line in said)
        index, content = await restored(first, log)
        assert index in {4, 7}
        assert content == rebuilt(index)
        # And the next one is taken as if nothing had been.
        first.clock.ms += 1000
        assert (await run(first, log)).saved_at.size == 7
        assert await restored(first, log) == (7, rebuilt(7))
        if len(objects.calls) <= struck:
            break
    assert len(outcomes) > 20
    assert outcomes[-1] == "taken"
    assert len(set(outcomes)) > 1


def files_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def damages(body: bytes) -> Iterator[bytes]:
    for place in {0, 5, 11, 12, len(body) // 2, len(body) - 17, len(body) - 2, len(body) - 1}:
        yield body[:place] + bytes([body[place] ^ 0x01]) + body[place + 1 :]
    yield body[:-1]
    yield body + b"\0"
    yield b""


async def test_any_object_may_be_damaged_and_what_is_restored_equals_a_rebuild(
    tmp_path: Path, said: Said
) -> None:
    log = sealed(4)
    place = SnapshotPlace(objects=DirectoryObjectStore(tmp_path))
    await run(place, log)
    files = files_in(tmp_path / "snapshots")
    assert len(files) == 4  # two chunks, a key, a manifest
    for path in files:
        whole = path.read_bytes()
        path.chmod(0o600)
        for damaged in damages(whole):
            path.write_bytes(damaged)
            said.clear()
            index, content = await restored(place, log)
            assert (index, content) == (0, rebuilt(0))
            (line,) = [line for line in said if line["event"] == "snapshot refused"]
            assert "\n" not in line["why"]
        path.write_bytes(whole)
    assert (await restored(place, log))[0] == 4


async def test_a_full_disk_fails_the_snapshot_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    log, place = sealed(4), SnapshotPlace(objects=DirectoryObjectStore(tmp_path))
    await run(place, log)
    place.clock.ms += 1000
    fsync: Callable[[int], None] = os.fsync

    def full(handle: int) -> None:
        fsync(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TransientError, match="No space left on device"):
        await run(place, sealed(4, 3))
    monkeypatch.undo()
    assert await restored(place, sealed(4, 3)) == (4, rebuilt(4))
    assert not files_in(tmp_path / ".unfinished")


async def test_two_writers_of_one_place_harm_nobody() -> None:
    place, log = SnapshotPlace(), sealed(4, 3)
    one, other = Ledger(), Ledger()
    keepers = [place.keeper(one, log), place.keeper(other, log)]
    for keeper, ledger in zip(keepers, (one, other), strict=True):
        await keeper.resume()
        ledger.learn(7)
        keeper.stands(saved_at(log))
    made = await asyncio.gather(*(keeper.create() for keeper in keepers))
    assert len({manifest.snapshot for manifest in made}) == 2
    for keeper in keepers:
        await keeper.close()
    assert await restored(place, log) == (7, rebuilt(7))
