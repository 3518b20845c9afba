"""Histories that broke an earlier text of the sealing protocol, on the side of the source.

See `test_histories_of_logs`. In all of them nothing is ever seeded from what merely survived, and
no two signed texts of one origin contradict each other: the laws look at every signature.
"""

import asyncio

from streams.ports import NewRecord, Posted
from tests.fault.simulator.actions import PRODUCER
from tests.fault.simulator.scene import Scene, on_stage

MINUTE_S = 70.0


@on_stage
async def test_a_second_deployment_of_the_same_origin_writes_nothing(scene: Scene) -> None:
    """A claim that stands is another's, even if no anchor is larger than nothing."""
    twin = scene.world.deployments[1]
    await scene.start()
    scene.produce(1)
    await scene.start(log=twin)
    assert await scene.stops() == "identity"
    await asyncio.sleep(MINUTE_S)
    assert twin.audit.high_watermark == 0
    assert scene.log.laws.is_sealed
    verdicts = [v.key for v in await scene.world.store.versions("") if "verdict" in v.key]
    assert verdicts == []


@on_stage
async def test_a_log_without_a_leaf_still_knows_where_its_source_began(scene: Scene) -> None:
    await scene.start()
    await scene.until(lambda: scene.log.laws.has_begun, "genesis")
    scene.kill()
    scene.produce(3)
    scene.trim(2)
    await scene.restart()
    assert await scene.stops() == "gap"


@on_stage
async def test_a_trimmed_tail_is_no_difference(scene: Scene) -> None:
    """A leaf is committed and unsigned, and retention takes its source: nothing is wrong."""
    await scene.start()
    scene.may_sign.clear()
    scene.produce(2)
    await scene.leaves(2)
    scene.kill()
    scene.trim(2)
    await scene.restart()
    scene.may_sign.set()
    scene.produce(1)
    await scene.sealed()


@on_stage
async def test_a_position_does_not_hide_that_the_log_lost_what_it_passed(scene: Scene) -> None:
    """Leaf 0 is signed, retention takes its source, the log loses it: offset 1 is no leaf 0."""
    scene.world.network.unreachable = {"anchor", "segment"}
    await scene.start()
    scene.produce(1)
    await scene.sealed()
    scene.kill()
    scene.produce(1)
    scene.trim(1)
    scene.cut_audit(2)
    await scene.restart()
    assert await scene.stops() == "rollback"
    assert scene.log.laws.leaves == []


@on_stage
async def test_a_signature_under_way_while_log_and_source_are_cut_forks_nothing(
    scene: Scene,
) -> None:
    await scene.start()
    scene.may_sign.clear()
    scene.produce(1)
    await scene.posted(size=1)
    scene.cut_source(0, regrow=1)
    scene.cut_audit(2)
    scene.may_sign.set()
    await asyncio.sleep(1.0)
    await scene.restart()
    assert await scene.stops() in {"rollback", "source_changed"}


@on_stage
async def test_what_was_fetched_before_a_cut_is_not_followed_by_what_came_after_it(
    scene: Scene,
) -> None:
    """Both leaves are cut and regrown between two looks; the next record is the new leader's."""
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.cut_source(0, regrow=3)
    assert await scene.stops() == "source_changed"
    assert len(scene.log.laws.leaves) == 2


@on_stage
async def test_what_was_restored_counts_as_looked_through(scene: Scene) -> None:
    """A log gets its end back from its source, and then the source is cut within that."""
    await scene.start()
    scene.produce(1)
    await scene.sealed()
    first = scene.log.audit.high_watermark
    scene.produce(5)
    await scene.sealed()
    scene.kill()
    scene.cut_audit(first)
    await scene.restart()
    await scene.sealed()
    scene.cut_source(3, regrow=5)
    assert await scene.stops() == "source_changed"
    assert len(scene.log.laws.leaves) == 6


@on_stage
async def test_a_cut_is_noticed_although_nothing_new_is_produced(scene: Scene) -> None:
    await scene.start()
    scene.produce(3)
    await scene.sealed()
    scene.cut_source(2, regrow=1)
    assert await scene.stops() == "source_changed"


@on_stage
async def test_a_new_leader_that_has_everything_stops_nothing(scene: Scene) -> None:
    await scene.start()
    for _ in range(3):
        scene.produce(2)
        await scene.sealed()
        scene.log.source.elect()
    await asyncio.sleep(MINUTE_S)
    scene.produce(1)
    await scene.sealed()


@on_stage
async def test_an_equal_last_record_does_not_hide_a_cut(scene: Scene) -> None:
    """A B C sealed; cut to A, X written, C sent again to its old offset."""
    await scene.start()
    scene.produce(3)
    await scene.sealed()
    last = scene.log.source.readable()[-1]
    scene.cut_source(1, regrow=1)
    scene.log.source.append([NewRecord(last.timestamp, last.value or b"", last.key)])
    assert await scene.stops() == "source_changed"


@on_stage
async def test_an_equal_last_record_does_not_hide_a_cut_from_a_start_either(scene: Scene) -> None:
    await scene.start()
    scene.produce(3)
    await scene.sealed()
    last = scene.log.source.readable()[-1]
    scene.kill()
    scene.cut_source(1, regrow=1)
    scene.log.source.append([NewRecord(last.timestamp, last.value or b"", last.key)])
    await scene.restart()
    assert await scene.stops() == "source_changed"


@on_stage
async def test_fetching_goes_on_behind_the_last_leaf_and_not_behind_markers(scene: Scene) -> None:
    """Markers were passed, then cut away: a record stands in their place, and is sealed."""
    worker = await scene.start()
    scene.produce(1)
    scene.produce_aborted()
    await scene.sealed()
    await scene.posted(offset=3)
    assert worker.stopped is None
    scene.cut_source(1, regrow=4)
    await scene.sealed()
    assert scene.shape().count("R") == 5


@on_stage
async def test_a_start_does_not_go_on_behind_markers_either(scene: Scene) -> None:
    await scene.start()
    scene.produce(1)
    scene.produce_aborted()
    await scene.sealed()
    await scene.posted(offset=3)
    scene.kill()
    scene.cut_source(1, regrow=4)
    await scene.restart()
    await scene.sealed()
    assert scene.shape().count("R") == 5


@on_stage
async def test_a_verdict_is_not_forgotten_when_retention_takes_its_evidence(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.cut_source(1)
    assert await scene.stops() == "source_changed"
    await asyncio.sleep(MINUTE_S)
    scene.kill()
    scene.produce(3)
    scene.trim(2)
    for _ in range(2):
        await scene.restart()
        assert await scene.stops() == "source_changed"
    assert len(scene.log.laws.leaves) == 2


@on_stage
async def test_an_accepted_gap_lets_the_log_go_on_and_no_other_gap(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.kill()
    scene.produce(4)
    scene.trim(4)
    await scene.restart()
    assert await scene.stops() == "gap"
    scene.note_gap(3, 2, 4)  # another size
    scene.note_gap(2, 2, 5)  # it would pass over what is still there
    await asyncio.sleep(MINUTE_S)
    assert await scene.stops() == "gap"
    scene.accept_gap(2, 2, 4)
    await scene.sealed()
    assert scene.shape().count("R") == 4
    scene.kill()
    scene.produce(3)
    scene.trim(7)
    await scene.restart()
    assert await scene.stops() == "gap"
    kept = await scene.world.store.versions("anchors/v1/")
    verdicts = [v.key.rpartition("/")[2] for v in kept if "/verdict" in v.key]
    assert verdicts == ["verdict", "verdict.2"]
    scene.accept_gap(4, 6, 7)
    await scene.sealed()


@on_stage
async def test_retention_that_goes_on_beyond_an_accepted_gap_is_another_gap(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.kill()
    scene.produce(6)
    scene.trim(4)
    await scene.restart()
    assert await scene.stops() == "gap"
    scene.kill()
    scene.trim(6)
    scene.accept_gap(2, 2, 4)
    scene.log.laws.damages.add("trimmed")
    await scene.restart()
    assert await scene.stops() == "gap"
    scene.accept_gap(2, 4, 6)
    await scene.sealed()
    assert scene.shape().count("R") == 4


@on_stage
async def test_a_policy_that_is_mended_needs_no_restart(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.log.laws.damages.add("compacted")
    scene.log.source.policy = "compact"
    assert await scene.stops() == "policy"
    scene.log.source.policy = "delete"
    scene.produce(1)
    await scene.sealed()


@on_stage
async def test_markers_that_retention_passed_hide_no_record_behind_its_new_start(
    scene: Scene,
) -> None:
    await scene.start()
    scene.produce(1)
    scene.produce_aborted()
    await scene.sealed()
    await scene.posted(offset=3)
    scene.kill()
    scene.cut_source(1, regrow=4)
    scene.trim(2)
    await scene.restart()
    await scene.leaves(4)
    offsets = [leaf.source_offset for leaf in scene.log.laws.leaves]
    assert offsets == [0, 2, 3, 4]


@on_stage
async def test_a_verdict_that_cannot_be_kept_yet_is_kept_later(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.world.network.unreachable = {"verdict", "objects"}
    scene.cut_source(1, regrow=2)
    assert await scene.stops() == "source_changed"
    await asyncio.sleep(MINUTE_S)
    assert await scene.stops() == "source_changed"
    scene.world.network.unreachable = set()
    await asyncio.sleep(MINUTE_S)
    kept = await scene.world.store.versions("anchors/v1/")
    assert sum("/verdict" in version.key for version in kept) == 1


@on_stage
async def test_orders_that_cannot_be_read_hold_up_no_sealing(scene: Scene) -> None:
    scene.world.network.unreachable = {"operations"}
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    await asyncio.sleep(MINUTE_S)
    scene.produce(2)
    await scene.sealed()
    await scene.restart()
    scene.produce(2)
    await scene.sealed()


@on_stage
async def test_a_position_behind_markers_is_taken_back_where_records_stand_now(
    scene: Scene,
) -> None:
    """Else retention could pass a record, and the position would still call it a marker."""
    await scene.start()
    scene.produce(1)
    scene.produce_aborted()
    await scene.sealed()
    await scene.posted(offset=3)
    scene.kill()
    scene.cut_source(1, regrow=3)
    scene.world.network.unreachable = {"records", "records commit"}
    await scene.restart()
    back = Posted(1, 1, scene.log.laws.roots[1])
    await scene.until(lambda: scene.log.group.posted == back, "back")
    scene.kill()
    scene.trim(2)
    scene.world.network.unreachable = set()
    await scene.restart()
    assert await scene.stops() == "gap"
    assert len(scene.log.laws.leaves) == 1


@on_stage
async def test_an_aborted_record_that_a_cut_revives_between_sealed_ones_is_noticed(
    scene: Scene,
) -> None:
    """Its abort marker is cut away, far behind it, and another transaction commits it."""
    await scene.start()
    scene.produce(1)
    scene.produce_in_transaction()
    scene.produce(1)
    scene.log.source.mark(PRODUCER, commits=False)
    await scene.sealed()
    await scene.posted(offset=4)
    assert [leaf.source_offset for leaf in scene.log.laws.leaves] == [0, 2]
    scene.cut_source(3)
    scene.log.source.mark(PRODUCER, commits=True)
    scene.produce(1)
    assert await scene.stops() == "source_changed"
    assert len(scene.log.laws.leaves) == 2
