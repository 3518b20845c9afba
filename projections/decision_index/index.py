"""The rows one tenant's decisions of one log are compared with: each different one once.

A decision seen before is found by its digest and costs no search. A new one is compared first
with the newest rows, then with candidates of a graph, last with every row. Each step raises the
best similarity known, never beyond the true one, so a caller may stop as soon as what is known is
similar enough; what it acts on comes from the last step. So nothing that is acted on depends on
the graph: it may miss any row, and lag behind.

Adding a row to the graph costs as much as comparing one decision with 25,000 rows, which few
decisions need. So there is none until the rows are many; then it catches up, a few rows at a time.
"""

from array import array
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from projections.decision_index.embedding import DIMENSION, Features, Vector
from projections.decision_index.sparse import SparseRows, cosines, dense

__all__ = ["CandidateGraph", "DecisionRows", "MakeGraph", "Near", "Row", "Tiers"]

CANDIDATES = 10
HOT_ROWS_AT_FIRST = 64
MERGE_EVERY = 2  # new rows
MERGE_ROWS = 4  # go into the graph then, until it has all but the newest: 1 ms


class CandidateGraph(Protocol):
    """Approximate neighbours among rows 0, 1, 2, …; it may miss any of them."""

    @property
    def size(self) -> int:
        """Rows added."""

    @property
    def memory_bytes(self) -> int:
        """What it takes, near enough."""

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add the next rows, shape (rows, 384)."""

    def candidates(self, row: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """At most `k` rows that are probably near `row`, shape (384,)."""


MakeGraph = Callable[[], CandidateGraph]


class Row(NamedTuple):
    """One row: what was decided, how often, and where in the log first and last."""

    features: Features
    times: int
    first: int
    last: int


class Near(NamedTuple):
    """A row and its exact similarity."""

    row: int
    similarity: float


class Tiers(NamedTuple):
    """How rows are searched: so many newest ones first; by a graph from so many on."""

    hot_rows: int = 512  # 20 µs
    graph_from: int = 32_768  # rows, compared in 0.5 ms


TIERS = Tiers()


class DecisionRows:
    """Rows numbered by the order in which they were first learned."""

    def __init__(self, make_graph: MakeGraph, tiers: Tiers = TIERS) -> None:
        self._rows_of: dict[bytes, int] = {}
        self._features: list[Features] = []
        # One copy of each word and set of roles, however many rows have them.
        self._words: dict[str, str] = {}
        self._role_sets: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._times = array("Q")
        self._firsts = array("Q")
        self._lasts = array("Q")
        self._vectors = SparseRows()
        self._tiers = tiers
        # The newest rows: row r stands at r modulo the length.
        self._hot = np.zeros((min(HOT_ROWS_AT_FIRST, tiers.hot_rows), DIMENSION), np.float32)
        self._make_graph = make_graph
        self._graph: CandidateGraph | None = None

    def __len__(self) -> int:
        return len(self._features)

    @property
    def memory_bytes(self) -> int:
        """What the index takes, near enough."""
        tables = len(self) * 330 + len(self._words) * 170  # Python objects
        graph = self._graph.memory_bytes if self._graph else 0
        return tables + self._vectors.memory_bytes + self._hot.nbytes + graph

    def find(self, digest: bytes) -> int | None:
        """The row with this digest."""
        return self._rows_of.get(digest)

    def row(self, number: int) -> Row:
        """What a row stands for."""
        return Row(
            self._features[number],
            self._times[number],
            self._firsts[number],
            self._lasts[number],
        )

    def similar_hot(self, vector: Vector) -> float:
        """The greatest similarity among the newest rows; 0 where there is none."""
        end = len(self)
        if not end:
            return 0.0
        first = max(end - len(self._hot), 0)
        # Sums of integers below 2^24: exact, though floating point.
        dots = (self._hot @ dense(vector).astype(np.float32)).astype(np.int64)
        places = np.arange(first, end) % len(self._hot)
        norms = self._vectors.norms(first)
        return float(cosines(dots[places], vector.norm, norms).max())

    def similar_candidates(self, vector: Vector) -> float:
        """The greatest similarity among the candidates of the graph; 0 where there is none."""
        if self._graph is None:
            return 0.0
        found = self._graph.candidates(dense(vector).astype(np.float32), CANDIDATES)
        if not len(found):
            return 0.0
        return float(self._vectors.similarities_to(vector, found).max())

    def nearest(self, vector: Vector, k: int) -> list[Near]:
        """The `k` nearest of all rows, exactly, nearest first, ties to the lowest row."""
        similarities = self._vectors.similarities(vector)
        k = min(k, len(similarities))
        if k < 1:
            return []
        least = np.partition(similarities, -k)[-k]
        near = np.flatnonzero(similarities >= least)
        order = near[np.argsort(-similarities[near], kind="stable")][:k]
        return [Near(int(row), float(similarities[row])) for row in order]

    def learn(self, digest: bytes, features: Features, vector: Vector | None, leaf: int) -> None:
        """Count a decision of this leaf; `vector` is asked for only where it makes a new row."""
        row = self._rows_of.get(digest)
        if row is None:
            assert vector is not None, "a new row without vector"
            self._append(digest, features, vector, leaf)
            return
        self._times[row] += 1
        self._lasts[row] = leaf

    def _append(self, digest: bytes, features: Features, vector: Vector, leaf: int) -> None:
        row = len(self)
        if row == len(self._hot) < self._tiers.hot_rows:
            self._widen()
        self._hot[row % len(self._hot)] = dense(vector)
        self._rows_of[digest] = row
        self._features.append(self._shared(features))
        self._times.append(1)
        self._firsts.append(leaf)
        self._lasts.append(leaf)
        self._vectors.append(vector)
        if row >= self._tiers.graph_from and row % MERGE_EVERY == 0:
            self._merge(row - len(self._hot))

    def _shared(self, features: Features) -> Features:
        once = self._words.setdefault
        tenant, principal, roles, *others = features
        return Features(
            once(tenant, tenant),
            once(principal, principal),
            self._role_sets.setdefault(roles, roles),
            *(once(word, word) for word in others),
        )

    def _widen(self) -> None:
        length = len(self._hot)
        wider = np.zeros((min(2 * length, self._tiers.hot_rows), DIMENSION), np.float32)
        wider[:length] = self._hot
        self._hot = wider

    def _merge(self, end: int) -> None:
        """Let the graph come a step nearer to having the rows below `end`."""
        if self._graph is None:
            self._graph = self._make_graph()
        first = self._graph.size
        if first < end:
            self._graph.add(self._vectors.dense_rows(first, min(first + MERGE_ROWS, end)))
