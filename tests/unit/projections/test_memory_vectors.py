"""Searching vectors, and forgetting them for good."""

import gc

import numpy as np
import pytest
from numpy.typing import NDArray

from projections.memory_index.graph import NamespaceVectors
from projections.memory_index.projection import MemoryIndex, MemoryQuery
from schemas.events import Operation
from tests.support.decision_log import EventLog, mutation
from tests.support.sealed_log import START_MS, batches_of

DIMENSION = 8

Values = list[tuple[int, bytes | None]]


def units(count: int, seed: int = 5) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)


def filled(count: int, *, exact_rows: int = 10_000) -> NamespaceVectors:
    vectors = NamespaceVectors(DIMENSION, exact_rows * DIMENSION)
    for number, vector in enumerate(units(count)):
        vectors.put(f"n{number}", vector)
    return vectors


def rebuilt(vectors: NamespaceVectors) -> NamespaceVectors:
    for _ in vectors.rebuild():
        pass
    return vectors


def brute(rows: NDArray[np.float32], gone: set[int], query: NDArray[np.float32]) -> list[str]:
    similarities = rows @ query
    order = sorted(range(len(rows)), key=lambda row: (-similarities[row], f"n{row}"))
    return [f"n{row}" for row in order if row not in gone]


@pytest.mark.parametrize("exact_rows", [10_000, 20], ids=["compared", "by graph"])
def test_the_nearest_come_first_with_their_own_similarity(exact_rows: int) -> None:
    vectors, rows = rebuilt(filled(150, exact_rows=exact_rows)), units(150)
    assert (vectors._graph is None) == (exact_rows > 150)
    for query in units(10, seed=6):
        found = vectors.nearest(query, 5, -1.0)
        assert [similar.node_id for similar in found] == brute(rows, set(), query)[:5]
        for node_id, similarity in found:
            assert similarity == pytest.approx(float(rows[int(node_id[1:])] @ query), abs=1e-6)


@pytest.mark.parametrize("exact_rows", [10_000, 20], ids=["compared", "by graph"])
def test_what_was_dropped_or_changed_is_never_found_again(exact_rows: int) -> None:
    vectors, rows = rebuilt(filled(150, exact_rows=exact_rows)), units(150)
    gone = set(range(0, 150, 3))
    for number in gone:
        vectors.drop(f"n{number}")
    vectors.drop("n0")
    rows[1] = -rows[1]
    vectors.put("n1", rows[1])
    assert len(vectors) == 100
    for query in (*units(5, seed=7), rows[1], -rows[1], rows[0]):
        found = vectors.nearest(query, 4, -1.0)
        assert [similar.node_id for similar in found] == brute(rows, gone, query)[:4]


def test_a_threshold_and_a_filter_leave_the_rest_out() -> None:
    vectors, rows = rebuilt(filled(150, exact_rows=20)), units(150)
    query = rows[7]
    near = vectors.nearest(query, 50, 0.5)
    assert near[0].node_id == "n7"
    assert all(similar.similarity >= 0.5 for similar in near)
    assert len(near) == int((rows @ query >= 0.5).sum())
    even = vectors.nearest(query, 3, -1.0, lambda node_id: int(node_id[1:]) % 2 == 0)
    expected = [name for name in brute(rows, set(), query) if int(name[1:]) % 2 == 0]
    assert [similar.node_id for similar in even] == expected[:3]
    assert vectors.nearest(query, 3, -1.0, lambda _: False) == []
    assert NamespaceVectors(DIMENSION).nearest(query, 3, -1.0) == []


def holds(vectors: NamespaceVectors, value: float) -> bool:
    """Whether any number in the index's memory, graph included, is this one."""
    graph = [] if vectors._graph is None else vectors._graph._graph.__getstate__()[0].values()
    tables = [vectors._matrix.tobytes(), *(v.tobytes() for v in graph if hasattr(v, "tobytes"))]
    for table in tables:
        for start in range(4):
            whole = table[start : start + (len(table) - start) // 4 * 4]
            numbers = np.nan_to_num(np.frombuffer(whole, np.float32))
            if (abs(numbers.astype(np.float64) - value) < 1e-6).any():
                return True
    return False


def test_a_dropped_vector_leaves_memory_at_the_rebuild_not_at_the_mark() -> None:
    vectors = rebuilt(filled(150, exact_rows=20))
    secret = np.zeros(DIMENSION, np.float32)
    secret[3], secret[4] = 0.9234567, np.sqrt(1 - 0.9234567**2)
    vectors.put("secret", secret)
    assert holds(vectors, secret[3])
    vectors.drop("secret")
    assert vectors.stale == 1
    assert holds(vectors, secret[3])
    rebuilt(vectors)
    gc.collect()
    assert vectors.stale == 0
    assert not holds(vectors, secret[3])


def test_a_small_namespace_forgets_at_once_and_gives_memory_back() -> None:
    vectors = filled(500)
    secret = units(500)[77]
    vectors.drop("n77")
    assert not holds(vectors, secret[2])
    for number in range(500):
        vectors.drop(f"n{number}")
    assert len(vectors) == 0
    assert len(vectors._matrix) <= 128
    assert not vectors._matrix.any()


def test_a_graph_is_built_when_vectors_are_many_and_anew_when_many_are_stale() -> None:
    vectors = filled(20, exact_rows=20)
    wanted = [vectors.wants_rebuild]
    vectors.put("n20", units(21)[20])
    wanted.append(vectors.wants_rebuild)
    wanted.append(rebuilt(vectors).wants_rebuild)
    for number in range(3):
        vectors.drop(f"n{number}")
    wanted.append(vectors.wants_rebuild)
    wanted.append(rebuilt(vectors).wants_rebuild)
    assert wanted == [False, True, False, True, False]
    assert vectors._graph is None


async def followed(values: Values, *lengths: int) -> MemoryIndex:
    index = MemoryIndex()
    position = await index.resume()
    assert position.index == 0
    for batch in batches_of(EventLog.sealed(values, lengths)):
        await index.apply(batch)
    return index


def remembered() -> Values:
    values: Values = [
        (START_MS + n, mutation(f"n{n}", 1, vector=vector.tolist(), owner=f"owner-{n % 2}"))
        for n, vector in enumerate(units(40))
    ]
    values.append((START_MS + 50, mutation("n3", 2, Operation.DELETE)))
    values.append((START_MS + 51, b"junk"))
    values.append((START_MS + 52, mutation("n4", 1, vector=[1.0])))
    return values


async def test_memories_are_found_by_namespace_owner_and_threshold() -> None:
    index = await followed(remembered(), 10, 3, 20)
    assert index.size == 43
    assert index.memories == 39
    rows = units(40)
    (best, *_) = index.search(MemoryQuery(namespace="notes", vector=rows[5].tolist(), k=3))
    assert (best.node_id, best.leaf, best.version, best.owner) == ("n5", 5, 1, "owner-1")
    assert best.similarity == pytest.approx(1.0)
    owned = MemoryQuery(namespace="notes", vector=rows[5].tolist(), k=40, owner="owner-0")
    assert {memory.owner for memory in index.search(owned)} == {"owner-0"}
    assert index.search(MemoryQuery(namespace="other", vector=[1.0])) == []
    assert index.search(MemoryQuery(tenant="x", namespace="notes", vector=[1.0])) == []
    forgotten = index.search(MemoryQuery(namespace="notes", vector=rows[3].tolist(), k=40))
    assert "n3" not in {memory.node_id for memory in forgotten}
    assert index.tallies.rejected == 1


@pytest.mark.parametrize(
    ("vector", "why"),
    [
        ([1.0, 2.0], "components"),
        ([0.0] * DIMENSION, "length"),
        ([float("nan")] * DIMENSION, "length"),
        ([float("inf")] * DIMENSION, "length"),
        ([10**400] * DIMENSION, "beyond"),
    ],
    ids=["short", "zero", "nan", "infinite", "enormous"],
)
async def test_a_question_without_direction_is_refused(vector: list[float], why: str) -> None:
    index = await followed(remembered())
    with pytest.raises(ValueError, match=why):
        index.search(MemoryQuery(namespace="notes", vector=vector))


async def test_batches_and_restarts_change_no_answer() -> None:
    query = MemoryQuery(namespace="notes", vector=units(1, seed=9)[0].tolist(), k=40)
    expected = (await followed(remembered())).search(query)
    assert (await followed(remembered(), *[1] * 43)).search(query) == expected
    index = await followed(remembered()[:20])
    await index.resume()
    for batch in batches_of(EventLog.sealed(remembered(), [7])):
        await index.apply(batch)
    assert index.search(query) == expected
    await index.close()
    assert index.search(query) == []


async def test_idling_lets_go_of_what_a_graph_still_holds() -> None:
    index = MemoryIndex(exact_components=10 * DIMENSION)
    await index.resume()
    for batch in batches_of(EventLog.sealed(remembered(), [40])):
        await index.apply(batch)
    (vectors,) = index._vectors.values()
    assert vectors.stale == 1
    await index.idle()
    assert vectors.stale == 0
    assert index.memories == 39
