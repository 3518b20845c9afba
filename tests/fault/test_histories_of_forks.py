"""Logs that an operator forked: each epoch is sealed in order, and no zombie of an old one counts.

See `test_histories_of_logs`. The laws hold for the log of each epoch: its leaves are the records
of the source from the fork's offset on, every one, in order.
"""

import asyncio

from streams.ports import Posted
from tests.fault.simulator.scene import Scene, on_stage

MINUTE_S = 70.0


@on_stage
async def test_a_source_made_again_stops_and_the_next_epoch_has_all_of_the_new_one(
    scene: Scene,
) -> None:
    await scene.start()
    scene.produce(3)
    await scene.sealed()
    scene.recreate_source(regrow=2)
    assert await scene.stops() == "identity"
    scene.fork(3, 0)
    await scene.sealed()
    assert [leaf.source_offset for leaf in scene.log.laws.leaves] == [0, 1]
    assert len(scene.first.laws.leaves) == 3
    await scene.restart()
    scene.produce(2)
    await scene.sealed()
    assert scene.shape().count("R") == 4


@on_stage
async def test_a_source_that_was_cut_goes_on_where_it_differs(scene: Scene) -> None:
    await scene.start()
    scene.produce(4)
    await scene.sealed()
    scene.cut_source(2, regrow=3)
    assert await scene.stops() == "source_changed"
    scene.fork(4, scene.log.laws.first_unsealed(4))
    await scene.sealed()
    assert [leaf.source_offset for leaf in scene.log.laws.leaves] == [2, 3, 4]


@on_stage
async def test_a_log_beyond_repair_is_forked_at_what_survived(scene: Scene) -> None:
    """Nobody has what the log lost; what its source still has is sealed in the next epoch."""
    scene.world.network.unreachable = {"anchor", "segment"}
    await scene.start()
    scene.produce(1)
    await scene.sealed()
    whole = scene.log.audit.high_watermark
    scene.produce(4)
    await scene.sealed()
    scene.kill()
    scene.trim(3)
    scene.cut_audit(whole)
    scene.world.network.unreachable = set()
    await scene.restart()
    assert await scene.stops() == "rollback"
    scene.fork(1, 3)
    await scene.sealed()
    assert [leaf.source_offset for leaf in scene.log.laws.leaves] == [3, 4]


@on_stage
async def test_a_fork_ends_a_healthy_log_at_once_and_for_good(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.fork(2, 2)
    scene.produce(3)
    await scene.sealed()
    await asyncio.sleep(MINUTE_S)
    assert len(scene.first.laws.leaves) == 2
    assert [leaf.source_offset for leaf in scene.log.laws.leaves] == [2, 3, 4]


@on_stage
async def test_epochs_follow_one_another(scene: Scene) -> None:
    await scene.start()
    for epoch in range(1, 4):
        scene.produce(2)
        await scene.sealed()
        scene.recreate_source(regrow=epoch)
        assert await scene.stops() == "identity"
        scene.fork(len(scene.log.laws.leaves), 0)
        await scene.sealed()
        assert scene.log.origin.endswith(f"/0/e{epoch}")
        assert scene.shape().count("R") == epoch
    await scene.restart()
    await scene.sealed()


@on_stage
async def test_a_source_made_again_behind_a_fork_is_not_sealed_in_its_epoch(scene: Scene) -> None:
    """The note names the topic that the operator saw: another one is nobody's choice."""
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.recreate_source(regrow=2)
    assert await scene.stops() == "identity"
    seen = scene.log.source.topic_id
    scene.recreate_source(regrow=3)
    scene.fork(2, 0, topic_id=seen)
    scene.log.laws.damages.add("recreated")
    await scene.until(lambda: "identity" in (scene.stopped() or ""), "stopped again")
    await asyncio.sleep(MINUTE_S)
    assert scene.log.laws.leaves == []


@on_stage
async def test_retention_that_passes_the_offset_of_a_fork_is_a_gap(scene: Scene) -> None:
    await scene.start()
    scene.produce(3)
    await scene.sealed()
    scene.kill()
    scene.recreate_source(regrow=4)
    scene.fork(3, 0)
    scene.log.source.trim(2)
    scene.log.laws.damages.add("trimmed")
    await scene.restart()
    assert await scene.stops() == "gap"
    scene.accept_gap(0, 0, 2)
    await scene.sealed()
    assert [leaf.source_offset for leaf in scene.log.laws.leaves] == [2, 3]


@on_stage
async def test_a_position_of_a_later_epoch_keeps_who_has_not_read_its_order_from_sealing(
    scene: Scene,
) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.kill()
    scene.produce(2)
    scene.log.group.posted = Posted(4, 4, bytes(32), epoch=1)
    await scene.restart()
    await asyncio.sleep(MINUTE_S)
    assert len(scene.log.laws.leaves) == 2
    assert scene.stopped() is None


@on_stage
async def test_a_verdict_of_the_old_log_does_not_stop_its_next_epoch(scene: Scene) -> None:
    await scene.start()
    scene.produce(3)
    await scene.sealed()
    scene.cut_source(1, regrow=1)
    assert await scene.stops() == "source_changed"
    kept = await scene.world.store.versions("anchors/v1/")
    assert sum("/verdict" in version.key for version in kept) == 1
    scene.kill()
    scene.fork(3, 1)
    await scene.restart()
    await scene.sealed()
    assert scene.stopped() is None
