"""One log, read in every way there is, gives the same alerts and the same content.

Restarts, merges at any rate, beside the loop or not, restores from stored state, workers that
share the partitions in any way, the full and the compact form.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.fold import DecisionFold, MakeRows
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows, Tiers
from projections.decision_index.scoring import Rules
from projections.decision_index.state import StoredTenant, export_state, restore_state
from projections.hnsw import GraphSettings
from projections.ports import SealedBatch
from tests.support.decision_log import EventLog, habits
from tests.support.sealed_log import batches_of

RULES = Rules(threshold=0.1, warm_up=30, alerts_per_hour=3, alert_budget=60)
PARTITIONS = 3
Told = tuple[tuple[str, ...], bytes]
"""Alert ids of a log, and the digest of what was learned."""


@pytest.fixture(scope="module", autouse=True)
def graph_asked_wherever_it_may_be() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.decision_index.fold.HARDLY_NEARER", 1.0)
        yield


@cache
def log(partition: int) -> tuple[SealedBatch, ...]:
    values = list(habits(200, seed=20 + partition, odd_share=0.15))
    return tuple(batches_of(EventLog.sealed(values, [13, 1, 40, 70, 5])))


def form(width: int, seed: int = 7) -> MakeRows:
    return lambda: DecisionRows(
        lambda: FoldedGraph(GraphSettings(seed=seed), width), Tiers(16, 40)
    )


def read(
    partition: int,
    make_rows: MakeRows,
    between: Callable[[DecisionFold, int], DecisionFold] = lambda fold, _: fold,
) -> Told:
    """Read a log leaf by leaf; `between` may do something to the fold, or give another."""
    fold, ids = DecisionFold(RULES, make_rows), []
    for batch in log(partition):
        told = []
        for record in batch.records:
            told += fold.apply(record)
            fold = between(fold, record.index)
        ids += [alert.alert_id for alert in alerts_of(told, batch, Stamp.of(RULES)) if told]
    return tuple(ids), fold.content_digest()


@cache
def exactly(partition: int) -> Told:
    """With every row compared, no graph, in one go."""
    return read(partition, lambda: DecisionRows(FoldedGraph, Tiers(10_000, 10_000)))


def stored_and_back(fold: DecisionFold, make_rows: MakeRows) -> DecisionFold:
    state = export_state(fold)
    stored = [
        StoredTenant(name, rows, {a.name: a.part(0, a.items) for a in appended}, changing)
        for name, rows, appended, changing in state.tenants
    ]
    return restore_state(state.changing, stored, RULES, make_rows)


def test_the_logs_have_alerts_to_compare_and_differ() -> None:
    told = [exactly(partition) for partition in range(PARTITIONS)]
    assert min(len(ids) for ids, _ in told) > 8
    assert len({digest for _, digest in told}) == PARTITIONS


@pytest.mark.parametrize("width", [384, 64, 32])
@pytest.mark.parametrize("rows_max", [0, 1, 1000])
def test_the_form_and_how_far_its_graph_is_change_nothing(width: int, rows_max: int) -> None:
    def merge(fold: DecisionFold, _leaf: int) -> DecisionFold:
        if rows_max:
            fold.merge(rows_max)
        return fold

    for partition in range(PARTITIONS):
        assert read(partition, form(width), merge) == exactly(partition)


@pytest.mark.parametrize("seed", range(4))
def test_when_it_is_merged_and_by_which_graph_changes_nothing(seed: int) -> None:
    dice = random.Random(seed)

    def merge(fold: DecisionFold, _leaf: int) -> DecisionFold:
        if dice.random() < 0.2:
            fold.merge(dice.randrange(1, 30))
        return fold

    assert read(seed % PARTITIONS, form(64, seed), merge) == exactly(seed % PARTITIONS)


@pytest.mark.parametrize("every", [1, 7, 64])
def test_being_stored_and_taken_back_changes_nothing(every: int) -> None:
    def restart(fold: DecisionFold, leaf: int) -> DecisionFold:
        fold.merge(5)
        width = 384 if leaf % 2 else 64
        return stored_and_back(fold, form(width)) if leaf % every == 0 else fold

    assert read(1, form(64), restart) == exactly(1)


@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_workers_in_threads_and_in_any_order_change_nothing(workers: int) -> None:
    """Partitions are shared out, read side by side, and graphs filled beside whoever reads."""

    async def work(partitions: list[int], turn: asyncio.Semaphore) -> dict[int, Told]:
        found = {}
        for partition in partitions:
            async with turn:
                found[partition] = await asyncio.to_thread(read_aside, partition)
        return found

    def read_aside(partition: int) -> Told:
        return read(partition, form(64), lambda fold, _: merged_aside(fold))

    order = random.Random(workers).sample(range(PARTITIONS), PARTITIONS)
    turn = asyncio.Semaphore(workers)
    shares = [order[first::workers] for first in range(workers)]
    found = await asyncio.gather(*(work(share, turn) for share in shares))
    merged = {partition: told for one in found for partition, told in one.items()}
    assert merged == {partition: exactly(partition) for partition in range(PARTITIONS)}


def merged_aside(fold: DecisionFold) -> DecisionFold:
    fold.merge(3)
    return fold
