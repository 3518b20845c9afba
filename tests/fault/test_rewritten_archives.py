"""An owner who rewrites log and archive together, and the second place he does not own."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from streams.anchors import AnchorStore
from streams.clock import SystemClock
from streams.heads import newest_checkpoint
from streams.objects.directory import DirectoryObjectStore
from streams.sealer import PartitionSealer
from streams.second_anchors import PairedAnchors
from tests.support.sealing_world import FAST, Faults, SealingWorld, sealing_world


async def sealed(world: SealingWorld, second: Path, size: int) -> str:
    """Seal up to `size` with anchors in both places; the reason where it stops, else empty."""
    first = AnchorStore(world.objects, retain_days=1)
    paired = PairedAnchors(first, AnchorStore(DirectoryObjectStore(second), retain_days=1))
    logs = replace(world.world(Faults()), anchors=paired)
    task = asyncio.create_task(PartitionSealer(logs, FAST, world.health, SystemClock()).run())
    try:
        async with asyncio.timeout(10):
            while await world.sealed() < size:
                for state in world.health.parts.values():
                    if state.state == "stopped":
                        return state.kind
                await asyncio.sleep(0.01)
        await anchored(world, paired)
    finally:
        task.cancel()
        await asyncio.wait({task})
    return ""


async def anchored(world: SealingWorld, paired: PairedAnchors) -> None:
    """What the archive projection and the copier do."""
    audit = world.engine.reader(world.engine.topology.audit(world.topic), 0)
    newest = await newest_checkpoint(audit)
    assert newest is not None
    size = int(newest.note.split("\n")[1])
    await AnchorStore(world.objects, retain_days=1).put(world.origin, size, newest.note)
    await paired.copy(world.origin, world.world(Faults()).trust.history.keys)


@pytest.fixture
async def second(tmp_path: Path) -> Path:
    """A place that holds what a first deployment left of its log of four records."""
    async with sealing_world(tmp_path / "owned") as world:
        await world.produce(b"a", b"b", b"c", b"d")
        assert await sealed(world, tmp_path / "second", 4) == ""
    return tmp_path / "second"


async def test_archive_that_was_deleted_is_no_fresh_start(tmp_path: Path, second: Path) -> None:
    shutil.rmtree(tmp_path / "owned" / "archive")
    async with sealing_world(tmp_path / "owned") as world:
        await world.produce(b"e")
        assert await sealed(world, second, 5) == ""
        claim = await AnchorStore(world.objects, retain_days=1).claim(world.origin)
        assert claim == await AnchorStore(DirectoryObjectStore(second), retain_days=1).claim(
            world.origin
        )


async def test_log_and_archive_made_anew_under_the_same_key_are_refused(
    tmp_path: Path, second: Path
) -> None:
    shutil.rmtree(tmp_path / "owned")
    async with sealing_world(tmp_path / "owned") as world:
        await world.produce(b"a", b"other", b"c", b"d", b"e")
        assert await sealed(world, second, 5) == "identity"
        assert await world.log() == []


async def test_log_and_archive_put_back_to_an_earlier_copy_do_not_go_on_otherwise(
    tmp_path: Path, second: Path
) -> None:
    async with sealing_world(tmp_path / "owned") as world:
        await world.produce(b"e", b"f")
        copy = tmp_path / "earlier"
        # A copy from before the two records: the source has other ones in their place.
        shutil.copytree(tmp_path / "owned", copy)
        assert await sealed(world, second, 6) == ""
    shutil.rmtree(tmp_path / "owned")
    shutil.move(copy, tmp_path / "owned")
    async with sealing_world(tmp_path / "owned") as world:
        # The log is shorter than its anchor elsewhere; what the source still holds gives it back.
        assert await sealed(world, second, 6) == ""


async def test_earlier_copy_without_the_records_of_the_anchor_elsewhere_is_a_rollback(
    tmp_path: Path, second: Path
) -> None:
    copy = tmp_path / "earlier"
    shutil.copytree(tmp_path / "owned", copy)
    async with sealing_world(tmp_path / "owned") as world:
        await world.produce(b"e", b"f")
        assert await sealed(world, second, 6) == ""
    shutil.rmtree(tmp_path / "owned")
    shutil.move(copy, tmp_path / "owned")
    async with sealing_world(tmp_path / "owned") as world:
        await world.produce(b"e", b"another f", b"g")
        before = await world.sealed()
        assert await sealed(world, second, 7) in {"rollback", "source_changed"}
        assert await world.sealed() == before == 4
