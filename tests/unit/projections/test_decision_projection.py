"""Alerts are published exactly once, whatever happens to the writer."""

import asyncio
import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from projections.decision_index.embedding import Features
from projections.decision_index.fold import MakeRows
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows, Tiers
from projections.decision_index.projection import DecisionIndex, DecisionIndexWorld
from projections.decision_index.scoring import Mode, Rules
from projections.ports import SealedBatch
from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from schemas.records import Record
from streams.clock import SystemClock
from streams.errors import FencedError, OutcomeUnknownError, TransientError
from streams.ports import NewRecord
from tests.support.decision_log import EventLog, decision, habits
from tests.support.output_partition import OutputPartition
from tests.support.sealed_log import ORIGIN, START_MS, batches_of

RULES = Rules(threshold=0.3, warm_up=20, alerts_per_hour=4)


@pytest.fixture(scope="module")
def batches() -> list[SealedBatch]:
    return list(batches_of(EventLog.sealed(list(habits(150, seed=3)), [40, 1, 9, 30, 30])))


def plain_rows() -> DecisionRows:
    return DecisionRows(FoldedGraph)


def index_of(
    output: OutputPartition,
    origin: str = ORIGIN,
    *,
    replayed: bool = False,
    rules: Rules = RULES,
    make_rows: MakeRows = plain_rows,
) -> DecisionIndex:
    world = DecisionIndexWorld(
        make_writer=output.writer,
        make_reader=output.reader,
        rules=rules,
        clock=SystemClock(),
        replayed=replayed,
        make_rows=make_rows,
    )
    return DecisionIndex(world, origin)


async def follow(output: OutputPartition, batches: list[SealedBatch]) -> DecisionIndex:
    """As the read loop does: after an error a new projection, from the start."""
    for _ in range(20):
        index = index_of(output)
        try:
            await index.resume()
            for batch in batches:
                await index.apply(batch)
        except (FencedError, OutcomeUnknownError, TransientError):
            await index.close()
        else:
            return index
    raise AssertionError("it never got through")


async def apply_all(index: DecisionIndex, batches: list[SealedBatch]) -> None:
    for batch in batches:
        await index.apply(batch)


def published(output: OutputPartition) -> list[AnomalyAlert]:
    return [decode_alert(record) for record in output.records]


async def expected(batches: list[SealedBatch]) -> list[bytes | None]:
    output = OutputPartition()
    await follow(output, batches)
    return [record.value for record in output.records]


async def test_alerts_carry_the_timestamp_of_their_leaf_and_come_in_order(
    batches: list[SealedBatch],
) -> None:
    output = OutputPartition()
    index = await follow(output, batches)
    leaves = [alert.evidence[0].index for alert in published(output)]
    assert len(leaves) > 5
    assert leaves == sorted(leaves)
    sealed = [record for batch in batches for record in batch.records]
    for record, leaf in zip(output.records, leaves, strict=True):
        assert record.timestamp == max(sealed[leaf].source.timestamp, 0)
    assert index.size == batches[-1].size
    assert index.tallies.leaves == len(sealed)
    assert index.tallies.unreadable > 0


@pytest.mark.parametrize("fate", ["lost", "applied"])
async def test_an_append_of_unknown_outcome_loses_and_doubles_nothing(
    batches: list[SealedBatch], fate: str
) -> None:
    straight = await expected(batches)
    for append in range(1, 6):
        output = OutputPartition()
        output.faults = {append: fate, append + 2: fate}
        await follow(output, batches)
        assert [record.value for record in output.records] == straight


async def test_a_zombie_cannot_publish_beside_its_successor(batches: list[SealedBatch]) -> None:
    output = OutputPartition()
    zombie = index_of(output)
    await zombie.resume()
    await zombie.apply(batches[0])
    await zombie.apply(batches[1])
    await follow(output, batches)
    with pytest.raises(FencedError):
        await apply_all(zombie, batches[2:])
    assert [record.value for record in output.records] == await expected(batches)


async def test_the_last_commit_is_waited_for_before_the_output_is_read_back(
    batches: list[SealedBatch],
) -> None:
    output = OutputPartition()
    await follow(output, batches)
    count = len(output.records)
    output.hanging = 3
    await follow(output, batches)
    assert output.hanging == 0
    assert len(output.records) == count


async def test_records_of_other_logs_and_foreign_ones_do_not_count_as_ours(
    batches: list[SealedBatch],
) -> None:
    output = OutputPartition()
    await follow(output, batches[:3])
    writer = output.writer()
    await writer.start()
    await writer.append([NewRecord(0, b"not an alert")])
    other = index_of(output, origin=f"{ORIGIN}/e1")
    await other.resume()
    assert other._output.published == -1
    await follow(output, batches)
    ours = [r.value for r in output.records if r.value != b"not an alert"]
    assert ours == await expected(batches)


async def test_the_outputs_of_one_leaf_share_a_transaction() -> None:
    odd = [
        (START_MS + 300 + i, decision(i, ("p", "r", f"kind-{i}", f"burn-{i}"))) for i in range(9)
    ]
    # The leaf that sums up what was held back is odd itself: a summary and a finding, together.
    late = (START_MS + 3_600_000 * 3, decision(99, ("p", "r", "kind-99", "burn-99")))
    usual = [(START_MS + i, decision(i, ("p", "r", "k", "a"))) for i in range(40)]
    output = OutputPartition()
    await follow(output, list(batches_of(EventLog.sealed([*usual, *odd, late]))))
    last = [decode_alert(record) for record in output.transactions[-1][-2:]]
    assert [alert.evidence[0].index for alert in last] == [49, 49]
    assert [alert.rule.id for alert in last] == ["decision-risk-held-back", "decision-risk"]


async def test_a_log_shorter_than_its_alerts_is_not_taken_for_finished(
    batches: list[SealedBatch],
) -> None:
    output = OutputPartition()
    await follow(output, batches)
    index = index_of(output)
    await index.resume()
    await index.apply(batches[0])
    with pytest.raises(TransientError, match="speaks of leaf"):
        await index.idle()
    await (await follow(output, batches)).idle()


async def test_a_replay_marks_its_alerts_and_changes_no_id(batches: list[SealedBatch]) -> None:
    live, copy = OutputPartition(), OutputPartition()
    await follow(live, batches)
    index = index_of(copy, replayed=True)
    await index.resume()
    for batch in batches:
        await index.apply(batch)
    assert all(alert.replayed for alert in published(copy))
    assert not any(alert.replayed for alert in published(live))
    assert [a.alert_id for a in published(copy)] == [a.alert_id for a in published(live)]


async def test_a_search_finds_by_the_fields_that_are_named(batches: list[SealedBatch]) -> None:
    index = await follow(OutputPartition(), batches)
    query = Features("", "person-3", (), "", "", "", "", "")
    found = index.search(query, 5)
    assert len(found) == 5
    assert {neighbour.features.principal for neighbour in found} == {"person-3"}
    before = index.tallies.evaluations
    assessment = index.explain(found[0].features)
    assert assessment.score.risk < 0.05
    assert assessment.neighbours[0].features == found[0].features
    assert index.tallies.evaluations == before


async def test_an_event_of_very_many_evaluations_stops_nothing() -> None:
    asked = [(f"p{i}", "r", f"k{i % 50}", f"a{i % 7}") for i in range(600)]
    values: list[tuple[int, bytes | None]] = [(START_MS, decision(0, *asked))]
    output = OutputPartition()
    index = await follow(output, list(batches_of(EventLog.sealed(values))))
    assert index.tallies.evaluations == 600


async def test_what_is_withheld_is_counted_once_and_shown_while_the_index_lives(
    batches: list[SealedBatch],
) -> None:
    shadow = Rules(threshold=RULES.threshold, warm_up=RULES.warm_up, mode=Mode.SHADOW)
    before = {name: measured(name) for name in ("shadowed", "dropped", "rows", "queue")}
    output = OutputPartition()
    index = index_of(output, rules=shadow)
    await index.resume()
    await apply_all(index, batches)
    tallies = index.tallies
    grown = {name: measured(name) - before[name] for name in before}
    assert output.records == []
    assert grown["shadowed"] == tallies.shadowed == tallies.findings > 5
    assert grown["dropped"] == tallies.unreadable > 0
    assert grown["rows"] > 0
    assert grown["queue"] == 0
    await index.close()
    assert measured("rows") == before["rows"]
    assert measured("shadowed") == before["shadowed"] + tallies.shadowed


def measured(what: str) -> float:
    name, labels = {
        "shadowed": ("attestream_findings_withheld_total", {"why": "shadowed"}),
        "dropped": ("authz_embedding_worker_dropped_total", {}),
        "rows": ("authz_vector_store_size_total", {}),
        "queue": ("authz_embedding_worker_queue_size", {}),
    }[what]
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_fake_partition_keeps_the_laws_of_a_writer() -> None:
    output = OutputPartition()
    first = output.fence()
    second = output.fence()
    assert output.commit(second, [NewRecord(0, b"a"), NewRecord(0, b"b")]) == (0, 1)
    with pytest.raises(FencedError):
        output.commit(first, [NewRecord(0, b"c")])
    assert output.records == [Record(0, 0, None, b"a"), Record(1, 0, None, b"b")]


def few_rows() -> DecisionRows:
    return DecisionRows(FoldedGraph, Tiers(16, 40))


async def test_rows_go_into_the_graph_while_the_log_is_read_and_while_it_is_silent() -> None:
    asked = [decision(n, (f"p{n % 9}", "r", f"k{n}", "a")) for n in range(400)]
    values: list[tuple[int, bytes | None]] = [(START_MS + n, one) for n, one in enumerate(asked)]
    index = index_of(OutputPartition(), make_rows=few_rows)
    await index.resume()
    await apply_all(index, list(batches_of(EventLog.sealed(values, [350]))))
    rows = index._fold.tenant("").rows
    merged = rows._graph.size if rows._graph else 0
    assert 150 < merged <= 400 - 16
    await index.idle()
    assert rows.unmerged == 0


async def test_who_is_cancelled_while_rows_are_merged_leaves_no_thread_at_work() -> None:
    values: list[tuple[int, bytes | None]] = [
        (START_MS + n, decision(n, (f"p{n % 9}", "r", f"k{n}", "a"))) for n in range(300)
    ]
    working, released, done = threading.Event(), threading.Event(), threading.Event()

    class Slow(FoldedGraph):
        def add(self, rows: NDArray[np.float32]) -> None:
            working.set()
            released.wait(10)
            super().add(rows)
            done.set()

    index = index_of(OutputPartition(), make_rows=lambda: DecisionRows(Slow, Tiers(16, 40)))
    await index.resume()
    batches = list(batches_of(EventLog.sealed(values)))
    reading = asyncio.create_task(apply_all(index, batches))
    await asyncio.to_thread(working.wait, 10)
    reading.cancel()
    asyncio.get_running_loop().call_later(0.05, released.set)
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert done.is_set()
    await index.close()
