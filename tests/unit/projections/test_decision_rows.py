"""Rows, their nearest, and the graph that may miss but never mislead."""

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from projections.decision_index.digests import Digests
from projections.decision_index.embedding import Features, Vector, digest_of, embed
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import CandidateGraph, DecisionRows, Tiers
from projections.hnsw import GraphSettings, OverlapError, VectorGraph


def asked(number: int) -> Features:
    return Features(
        "",
        f"p{number % 17}",
        (f"r{number % 5}",),
        f"s{number % 3}",
        f"k{number % 11}",
        f"{number}",
        f"a{number % 7}",
        "ALLOW",
    )


def rows_of(
    count: int, *, hot_rows: int = 64, graph: CandidateGraph | None = None
) -> DecisionRows:
    rows = DecisionRows(lambda: graph or FoldedGraph(), Tiers(hot_rows, graph_from=hot_rows))
    for number in range(count):
        features = asked(number)
        rows.learn(digest_of(features), features, embed(features), number)
        rows.merge(4)
    return rows


def cosine(left: Vector, right: Vector) -> float:
    values = dict(zip(right.columns, right.values, strict=True))
    dot = sum(value * values.get(column, 0) for column, value in zip(*left[:2], strict=True))
    return dot / sqrt(left.norm * right.norm)


def brute(count: int, vector: Vector, k: int) -> list[tuple[int, float]]:
    found = [(row, cosine(vector, embed(asked(row)))) for row in range(count)]
    return sorted(found, key=lambda near: (-near[1], near[0]))[:k]


class Blind:
    """A graph that finds nothing."""

    def __init__(self) -> None:
        self.size = 0
        self.width = 32
        self.memory_bytes = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        assert rows.shape[1] == self.width
        self.size += len(rows)

    def candidates(self, vector: Vector) -> NDArray[np.int64]:
        del vector
        return np.empty(0, np.int64)


@pytest.mark.parametrize("count", [1, 5, 64, 65, 200], ids=lambda count: f"{count} rows")
def test_the_nearest_are_exact_with_ties_to_the_lowest_row(count: int) -> None:
    rows = rows_of(count)
    for number in (0, 7, 1000, 1001):
        vector = embed(asked(number))
        near = rows.nearest(vector, 6)
        assert [(row, similarity) for row, similarity in near] == brute(count, vector, 6)


def test_every_step_knows_at_most_the_true_similarity_and_together_every_row_is_seen() -> None:
    rows = rows_of(300, hot_rows=64)
    known = [embed(asked(number)) for number in range(300)]
    for number in range(1000, 1010):
        vector = embed(asked(number))
        true = rows.nearest(vector, 1)[0].similarity
        hot, candidates = rows.similar_hot(vector), rows.similar_candidates(vector)
        assert max(hot, candidates) <= true
        assert hot in [cosine(vector, row) for row in known]
    last = embed(asked(299))
    assert rows.similar_hot(last) == 1.0
    assert rows.similar_candidates(embed(asked(0))) == 1.0


def test_a_blind_graph_changes_no_nearest() -> None:
    seeing, blind = rows_of(200), rows_of(200, graph=Blind())
    for number in range(1000, 1020):
        vector = embed(asked(number))
        assert blind.similar_candidates(vector) == 0.0
        assert blind.nearest(vector, 4) == seeing.nearest(vector, 4)


def test_few_rows_need_no_graph_and_a_graph_catches_up_with_all_but_the_newest() -> None:
    graph = Blind()
    rows_of(64, graph=graph)
    assert graph.size == 0
    rows_of(200, hot_rows=32, graph=graph)
    assert 200 - 32 - 4 <= graph.size <= 200 - 32
    late = Blind()
    rows = DecisionRows(lambda: late, Tiers(16, graph_from=150))
    for number in range(180):
        rows.learn(digest_of(asked(number)), asked(number), embed(asked(number)), number)
        rows.merge(2)
    assert late.size == 31 * 2
    rows.merge(1000)
    assert (late.size, rows.unmerged) == (180 - 16, 0)


def test_a_row_counts_and_remembers_its_first_and_last_leaf() -> None:
    rows = rows_of(10)
    digest = digest_of(asked(3))
    rows.learn(digest, asked(3), None, 77)
    number = rows.find(digest)
    assert number is not None
    assert rows.row(number)[1:] == (2, 3, 77)
    assert rows.row(number).features == asked(3)
    assert len(rows) == 10
    assert rows.find(digest_of(asked(10))) is None


def test_an_empty_index_has_no_nearest() -> None:
    rows = rows_of(0)
    vector = embed(asked(0))
    assert rows.nearest(vector, 5) == []
    assert rows.similar_hot(vector) == rows.similar_candidates(vector) == 0.0


def test_memory_is_counted() -> None:
    assert rows_of(300).memory_bytes > 300 * 500


def test_a_folded_width_divides_the_columns() -> None:
    with pytest.raises(ValueError, match="columns"):
        FoldedGraph(width=100)


def unit_rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def test_a_graph_gives_fewer_where_more_are_asked_for_than_there_are() -> None:
    graph = VectorGraph(8)
    assert graph.nearest(unit_rows(1)[0], 5).tolist() == []
    graph.add(unit_rows(3))
    assert sorted(graph.nearest(unit_rows(1)[0], 4).tolist()) == [0, 1, 2]


def test_a_graph_grows_beyond_its_first_size_and_finds_more_than_its_effort() -> None:
    graph = VectorGraph(8, GraphSettings(ef_construction=20, ef=4))
    vectors = unit_rows(1200)
    graph.add(vectors[:1000])
    graph.add(vectors[1000:])
    assert graph.size == 1200
    found = graph.nearest(vectors[1199], 40)
    assert len(found) == 40
    assert found[0] == 1199


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="expected rows of 8"):
        VectorGraph(8).add(np.zeros((2, 9), np.float32))


def test_searching_while_adding_is_refused() -> None:
    graph = VectorGraph(8)
    graph.add(unit_rows(3))
    graph._busy.acquire()
    with pytest.raises(OverlapError):
        graph.nearest(unit_rows(1)[0], 1)
    with pytest.raises(OverlapError):
        graph.add(unit_rows(1))
    graph._busy.release()
    assert len(graph.nearest(unit_rows(1)[0], 1)) == 1


def test_a_label_no_row_has_is_refused() -> None:
    graph = VectorGraph(8)
    graph.add(unit_rows(3))
    graph._graph.add_items(unit_rows(1, seed=2), np.array([99]))
    with pytest.raises(IndexError, match="row 99"):
        graph.nearest(unit_rows(1, seed=2)[0], 1)


def test_a_graph_that_cannot_reach_k_rows_gives_what_it_reaches() -> None:
    graph = VectorGraph(8)
    graph.add(unit_rows(5))
    for label in range(4):
        graph._graph.mark_deleted(label)
    assert graph.nearest(unit_rows(1)[0], 5).tolist() == [4]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf], ids=str)
def test_numbers_that_are_none_are_refused_by_a_graph(wrong: float) -> None:
    graph = VectorGraph(8)
    graph.add(unit_rows(3))
    bad = unit_rows(2)
    bad[1, 3] = wrong
    with pytest.raises(ValueError, match="finite"):
        graph.add(bad)
    with pytest.raises(ValueError, match="finite"):
        graph.nearest(bad[1], 1)
    assert graph.size == 3
    assert sorted(graph.nearest(bad[0], 5).tolist()) == [0, 1, 2]


def test_a_question_of_another_width_is_refused_and_no_rows_are_none() -> None:
    graph = VectorGraph(8)
    graph.add(unit_rows(3))
    for wrong in (np.zeros(7, np.float32), np.zeros(9, np.float32), unit_rows(1)):
        with pytest.raises(ValueError, match="expected rows of 8"):
            graph.nearest(wrong, 1)
    graph.add(np.zeros((0, 8), np.float32))
    assert graph.size == 3


def test_memory_of_a_graph_rises_with_its_links_and_its_width() -> None:
    sizes = []
    for width, links in ((8, 16), (8, 32), (64, 32)):
        graph = VectorGraph(width, GraphSettings(m=links))
        graph.add(np.ones((5, width), np.float32))
        sizes.append(graph.memory_bytes)
    assert sizes == sorted(set(sizes))


def test_rows_are_found_exactly_across_blocks_and_dense_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("projections.decision_index.sparse.BLOCK_ROWS", 100)
    rows = rows_of(350, hot_rows=7)
    assert len(rows._vectors._blocks) == 4
    assert any(block.full for block in rows._vectors._blocks)
    for number in (0, 99, 100, 349, 1000):
        vector = embed(asked(number))
        assert [tuple(near) for near in rows.nearest(vector, 8)] == brute(350, vector, 8)


def test_digests_are_found_however_many_there_are_and_taken_back() -> None:
    digests = [digest_of(asked(number)) for number in range(500)]
    table = Digests()
    for number, digest in enumerate(digests):
        assert table.find(digest) is None
        assert table.append(digest) == number
    for known in (table, Digests.of(table.part(0, 500))):
        assert [known.find(digest) for digest in digests] == list(range(500))
        assert known.find(digest_of(asked(500))) is None
    with pytest.raises(ValueError, match="twice"):
        Digests.of(digests[0] + digests[1] + digests[0])
    with pytest.raises(ValueError, match="cut off"):
        Digests.of(digests[0][:-1])


def test_a_graph_searches_with_the_effort_it_was_given() -> None:
    graph = VectorGraph(8, GraphSettings(m=5, ef_construction=33, ef=77))
    assert (graph._graph.ef, graph._graph.M, graph._graph.ef_construction) == (77, 5, 33)
    assert graph._graph.num_threads == 1
