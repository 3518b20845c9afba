"""Alerts are a function of the log: batches, restarts, graphs and their seeds change none."""

import random
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.embedding import Vector
from projections.decision_index.fold import DecisionFold, MakeRows
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows, MakeGraph, Tiers
from projections.decision_index.projection import DecisionIndex, DecisionIndexWorld
from projections.decision_index.scoring import Rules
from projections.hnsw import GraphSettings
from projections.ports import SealedBatch
from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from streams.clock import SystemClock
from streams.errors import FencedError, OutcomeUnknownError
from tests.support.decision_log import EventLog, habits
from tests.support.output_partition import OutputPartition
from tests.support.sealed_log import ORIGIN, batches_of

RULES = Rules(threshold=0.1, warm_up=30, dedup_window_ms=7_200_000, alerts_per_hour=3)
VALUES = list(habits(160, seed=11, odd_share=0.1))


@pytest.fixture(scope="module", autouse=True)
def graph_asked_wherever_it_may_be() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.decision_index.fold.HARDLY_NEARER", 1.0)
        yield


class Misleading:
    """A graph that names any rows at all, near or not."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.size = 0
        self.width = 64
        self.memory_bytes = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        self.size += len(rows)

    def candidates(self, vector: Vector) -> NDArray[np.int64]:
        del vector
        count = self._dice.randrange(min(10, self.size) + 1)
        return np.array([self._dice.randrange(self.size) for _ in range(count)], np.int64)


def rows_with(kind: str, tiers: Tiers, seed: int) -> MakeRows:
    poor = GraphSettings(m=2, ef_construction=2, ef=1, seed=seed)
    graphs: dict[str, MakeGraph] = {
        "folded": lambda: FoldedGraph(GraphSettings(seed=seed)),
        "full": lambda: FoldedGraph(GraphSettings(seed=seed), width=384),
        "poor": lambda: FoldedGraph(poor, width=2),
        "misleading": lambda: Misleading(seed),
    }
    return lambda: DecisionRows(graphs[kind], tiers)


def index_of(output: OutputPartition, make_rows: MakeRows) -> DecisionIndex:
    world = DecisionIndexWorld(
        make_writer=output.writer,
        make_reader=output.reader,
        rules=RULES,
        clock=SystemClock(),
        make_rows=make_rows,
    )
    return DecisionIndex(world, ORIGIN)


async def run(
    output: OutputPartition, batches: list[SealedBatch], make_rows: MakeRows, restart_at: list[int]
) -> list[AnomalyAlert]:
    """Follow the log; begin anew before the batches named, and after any lost answer."""
    restarts = [*restart_at, len(batches)]
    while restarts:
        index = index_of(output, make_rows)
        try:
            await index.resume()
            for batch in batches[: restarts[0]]:
                await index.apply(batch)
            restarts.pop(0)
        except (FencedError, OutcomeUnknownError):
            await index.close()
    return [decode_alert(record) for record in output.records]


@cache
def exhaustive() -> tuple[AnomalyAlert, ...]:
    """All in one batch, every row scanned."""
    _, batch = batches_of(EventLog.sealed(VALUES))
    fold = DecisionFold(RULES, rows_with("folded", Tiers(10_000, 10_000), 0))
    told = [item for record in batch.records for item in fold.apply(record)]
    assert min(fold.tallies.repeated, fold.tallies.held_back, fold.tallies.unreadable) > 0
    return tuple(alerts_of(told, batch, Stamp.of(RULES)))


def test_the_log_has_findings_and_summaries_to_compare() -> None:
    rules = [alert.rule.id for alert in exhaustive()]
    assert rules.count("decision-risk") > 8
    assert len(set(rules)) > 1


# No shrinking: the labels of a failing example say enough, and each costs a whole log.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
async def test_the_same_log_gives_the_same_alerts_however_it_is_read(data: st.DataObject) -> None:
    draw = data.draw
    lengths = draw(st.lists(st.integers(1, 60), max_size=8), label="batches")
    batches = list(batches_of(EventLog.sealed(VALUES, lengths)))
    restart_at = draw(st.lists(st.integers(0, len(batches)), max_size=3), label="restarts")
    kind = draw(st.sampled_from(["folded", "full", "poor", "misleading"]), label="graph")
    tiers = Tiers(
        draw(st.sampled_from([1, 16, 128]), label="scanned rows"),
        draw(st.sampled_from([0, 40, 10_000]), label="graph from"),
    )
    seed = draw(st.integers(0, 1000), label="seed")
    output = OutputPartition()
    fates = st.sampled_from(["lost", "applied"])
    output.faults = draw(st.dictionaries(st.integers(1, 6), fates, max_size=3), label="faults")
    alerts = await run(output, batches, rows_with(kind, tiers, seed), sorted(restart_at))
    expected = exhaustive()
    assert [alert.alert_id for alert in alerts] == [alert.alert_id for alert in expected]
    for alert, other in zip(alerts, expected, strict=True):
        # Only the proof may differ: it is under the first checkpoint that covers the leaf.
        assert (alert.risk, alert.neighbours, alert.features, alert.description) == (
            other.risk,
            other.neighbours,
            other.features,
            other.description,
        )
