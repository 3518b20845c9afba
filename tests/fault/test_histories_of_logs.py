"""Histories that broke an earlier text of the sealing protocol, on the side of the audit log.

Each was found by a model of the protocol (docs/explanation/sealing.md says what follows from
them), and each is played here by the real sealer. The other half: `test_histories_of_sources`.
"""

import asyncio
from itertools import pairwise

from schemas.records import Record
from streams.audit.merkle import Frontier
from streams.audit.sealing import plan_batch
from streams.ports import NewRecord
from tests.fault.simulator.network import Cell, Planned
from tests.fault.simulator.scene import Scene, on_stage
from tests.fault.simulator.world import LIMITS, TOPIC

MINUTE_S = 70.0


@on_stage
async def test_a_full_tail_is_flushed_by_a_note_alone(scene: Scene) -> None:
    """Deadlock: the note is ready, appending waits for it, and no transaction comes to take it."""
    await scene.start()
    scene.may_sign.clear()
    scene.produce(2 * LIMITS.tail_records_max)
    await scene.leaves(LIMITS.tail_records_max)
    await asyncio.sleep(MINUTE_S)
    assert len(scene.log.laws.leaves) == LIMITS.tail_records_max
    scene.may_sign.set()
    await scene.sealed()


@on_stage
async def test_a_genesis_that_was_aborted_is_written_again(scene: Scene) -> None:
    """Genesis refused for ever: the end offset is above 0, and nothing is committed."""
    scene.world.network.planned = [Planned(Cell("genesis", "applied", "restart"), 1)]
    scene.produce(3)
    await scene.start()
    assert scene.shape() == ""
    await scene.restart()
    await scene.sealed()
    assert scene.log.audit.readable()[0].offset > 0
    assert scene.shape().startswith("C0 R0")


@on_stage
async def test_records_that_a_checkpoint_does_not_cover_may_lie_before_it(scene: Scene) -> None:
    """A healthy log misread: the last checkpoint and one record are not enough."""
    await scene.start()
    scene.may_sign.clear()
    scene.produce(2)
    await scene.leaves(2)
    scene.produce(1)
    await scene.leaves(3)
    scene.may_sign.set()  # for who waits now
    scene.may_sign.clear()
    await scene.until(lambda: scene.shape().endswith("C2"), "the note over two")
    assert scene.shape() == "C0 R0 R1 R2 C2"
    await scene.restart()
    scene.produce(1)
    scene.may_sign.set()
    await scene.sealed()


@on_stage
async def test_acknowledged_records_without_a_genesis_never_come_to_be(scene: Scene) -> None:
    """The genesis is cut away before its commit, whose marker takes its offset."""
    coordinator, commit = scene.log.coordinator, scene.log.coordinator.commit

    def cut_first(epoch: int) -> None:
        coordinator.commit = commit  # type: ignore[method-assign]
        scene.cut_audit(0)
        commit(epoch)

    coordinator.commit = cut_first  # type: ignore[method-assign]
    scene.produce(3)
    await scene.start()
    await scene.sealed()
    assert scene.shape().startswith("C0 R0")


@on_stage
async def test_a_marker_that_is_lost_hangs_and_what_went_with_it_comes_back(scene: Scene) -> None:
    """As a single broker does, killed between its answer to a commit and the marker."""
    await scene.start()
    scene.may_sign.clear()
    scene.produce(2)
    await scene.leaves(2)
    await scene.until(lambda: scene.log.group.posted is not None, "posted")
    await scene.until(lambda: scene.log.coordinator.is_idle, "the marker")
    assert scene.log.group.posted is not None
    assert scene.log.group.posted.size == 2
    scene.kill()
    scene.cut_audit(scene.log.audit.high_watermark - 1)
    await scene.restart()
    assert await scene.stops() == "hanging_transaction"
    scene.log.coordinator.abort_hanging()
    scene.may_sign.set()
    await scene.sealed()
    assert scene.shape().count("R") == 2


@on_stage
async def test_an_idle_sealer_notices_a_suffix_that_is_lost(scene: Scene) -> None:
    await scene.start()
    scene.produce(5)
    await scene.sealed()
    before = scene.shape()
    scene.cut_audit(2)
    assert scene.shape() != before
    await asyncio.sleep(MINUTE_S)
    await scene.sealed()
    assert scene.shape().count("R") == 5


@on_stage
async def test_an_end_of_the_right_length_with_something_else_in_it_is_noticed(
    scene: Scene,
) -> None:
    """The last commit's marker is lost, and an operator's abort takes its offset."""
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    whole = scene.log.audit.high_watermark
    scene.cut_audit(whole - 1)
    scene.log.coordinator.abort_hanging()
    assert scene.log.audit.bounds().end == whole
    assert not scene.log.laws.is_sealed
    await asyncio.sleep(MINUTE_S)
    await scene.sealed()


@on_stage
async def test_a_sealer_that_wrote_nothing_since_its_start_notices_it_too(scene: Scene) -> None:
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    await scene.restart()
    whole = scene.log.audit.high_watermark
    scene.cut_audit(whole - 1)
    scene.log.coordinator.abort_hanging()
    await asyncio.sleep(MINUTE_S)
    await scene.sealed()


@on_stage
async def test_an_idle_sealer_notices_what_somebody_else_appended(scene: Scene) -> None:
    await scene.start()
    scene.produce(5)
    await scene.sealed()
    scene.log.laws.damages.add("audit cut")  # what breaks the log is not the sealer's doing
    scene.log.audit.append([NewRecord(0, b"not an audit value")])
    assert await scene.stops() == "broken"


@on_stage
async def test_a_busy_sealer_notices_what_somebody_else_appended(scene: Scene) -> None:
    await scene.start()
    scene.produce(5)
    await scene.sealed()
    scene.log.laws.damages.add("audit cut")
    scene.log.audit.append([NewRecord(0, b"not an audit value")])
    scene.produce(1)
    assert await scene.stops() == "broken"


@on_stage
async def test_a_note_is_not_written_twice_when_the_answer_to_its_commit_is_lost(
    scene: Scene,
) -> None:
    scene.world.network.planned = [Planned(Cell("note alone commit", "applied", "retry"), 1)]
    await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.produce(1)
    await scene.sealed()
    assert scene.world.network.hit
    notes = [part for part in scene.shape().split() if part.startswith("C")]
    assert len(notes) == len(set(notes))


@on_stage
async def test_a_zombie_does_not_page(scene: Scene) -> None:
    """A starts and stands still; B opens a transaction; A wakes up and sees it hang."""
    sleeper = await scene.start()
    scene.produce(2)
    await scene.sealed()
    scene.world.pause(sleeper)
    await scene.start(1)
    scene.log.group.move()
    scene.world.network.unreachable = {"records commit"}
    scene.produce(2)
    scene.world.wake(sleeper)
    for _ in range(60):
        await asyncio.sleep(0.5)
        assert sleeper.stopped is None
    scene.world.network.unreachable = set()
    await scene.sealed()


@on_stage
async def test_what_is_restored_keeps_to_the_limit_of_the_tail(scene: Scene) -> None:
    await scene.start()
    scene.produce(4 * LIMITS.tail_records_max)
    await scene.sealed()
    scene.kill()
    scene.cut_audit(2)
    scene.may_sign.clear()
    await scene.restart()
    await scene.leaves(LIMITS.tail_records_max - LIMITS.records_max + 1)
    await asyncio.sleep(MINUTE_S)
    assert len(scene.log.laws.leaves) <= LIMITS.tail_records_max
    await scene.posted(size=4 * LIMITS.tail_records_max)  # it is never lowered
    scene.may_sign.set()
    await scene.sealed()
    covered = sizes(scene.shape())
    assert all(leaves - signed <= LIMITS.tail_records_max for leaves, signed in covered)


@on_stage
async def test_a_second_genesis_deep_in_the_log_is_found_when_its_end_was_lost(
    scene: Scene,
) -> None:
    """A cut inside an open transaction revives what was aborted, far before the end."""
    scene.world.network.unreachable = {"anchor", "segment"}
    await scene.start()
    scene.produce(5)
    await scene.sealed()
    rows = scene.log.audit.readable()
    scene.kill()
    scene.cut_audit(0)
    doubled = [rows[0], *rows[:4]]
    scene.log.audit.append([NewRecord(r.timestamp, r.value or b"") for r in doubled])
    await scene.restart()
    assert await scene.stops() == "broken"


@on_stage
async def test_a_record_in_the_place_of_the_posted_one_is_never_signed(scene: Scene) -> None:
    """Somebody else's record, well made, where retention left nothing to compare it with."""
    await scene.start()
    scene.may_sign.clear()
    scene.produce(1)
    await scene.posted(size=1)
    scene.kill()
    scene.trim(1)
    scene.cut_audit(2)
    other = plan_batch(Frontier(), TOPIC, 0, [Record(0, 0, None, b"another")])
    scene.log.audit.append(other.records)
    scene.may_sign.set()
    await scene.restart()
    assert await scene.stops() == "rollback"


@on_stage
async def test_a_log_whose_source_is_trimmed_is_restored_from_the_archive(scene: Scene) -> None:
    await scene.start()
    scene.produce(9)
    await scene.sealed()
    await scene.until(lambda: scene.log.laws.archived() == 9, "archived")
    scene.kill()
    scene.produce(2)
    scene.trim(9)
    scene.cut_audit(0)
    await scene.restart()
    await scene.sealed()
    assert scene.shape().count("R") == 11


@on_stage
async def test_a_log_that_neither_source_nor_archive_can_restore_stops(scene: Scene) -> None:
    scene.world.network.unreachable = {"anchor", "segment"}
    await scene.start()
    scene.produce(5)
    await scene.sealed()
    scene.kill()
    scene.trim(3)
    scene.cut_audit(2)
    await scene.restart()
    assert await scene.stops() == "rollback"
    assert len(scene.log.laws.leaves) < 5


def test_a_record_planned_again_gives_the_same_bytes_however_it_is_cut_into_batches() -> None:
    """What a record becomes depends on it and its index, never on when it is sealed, or with whom.

    A key chosen by the time of sealing would break this; encrypted content is reserved.
    """
    records = [Record(n, 7 * n - 1, b"k", b"event %d" % n) for n in range(9)]
    whole = plan_batch(Frontier(), "topic", 0, records)
    for cuts in ([0, 9], [0, 1, 9], [0, 4, 5, 9]):
        frontier, rows = Frontier(), list[NewRecord]()
        for low, high in pairwise(cuts):
            plan = plan_batch(frontier, "topic", 0, records[low:high])
            frontier, rows = plan.frontier, [*rows, *plan.records]
        assert (rows, frontier.root()) == (whole.records, whole.frontier.root())


def sizes(shape: str) -> list[tuple[int, int]]:
    """Leaves and signed leaves behind each record of the log."""
    leaves = signed = 0
    found = []
    for part in shape.split():
        if part.startswith("R"):
            leaves += 1
        else:
            signed = int(part[1:])
        found.append((leaves, signed))
    return found
