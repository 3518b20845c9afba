"""The vectors of one namespace: searched exactly while they are few, by candidates when many.

Every similarity that comes out was computed from the vector itself. Where the graph could have
hidden something (a filter, stale candidates) all vectors are compared.

Forgetting is real: the row of a dropped node is overwritten at once. hnswlib cannot forget, it can
only mark; so the graph is built anew without what was dropped, a few rows at a time, and the old
one is let go with all it held.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from projections.hnsw import VectorGraph

__all__ = ["EXACT_COMPONENTS", "NamespaceVectors", "Similar"]

EXACT_COMPONENTS = 4_000_000  # compared one by one: 2 ms
ROWS_AT_FIRST = 64
CANDIDATES_MORE = 32
BUILD_ROWS = 16  # between two yields of a rebuild
STALE_SHARE = 0.1  # of the graph's rows, from which on it is built anew

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Accepts = Callable[[str], bool]


class Similar(NamedTuple):
    """A node and its cosine similarity."""

    node_id: str
    similarity: float


class NamespaceVectors:
    """Vectors of length 1, one a node."""

    def __init__(self, dimension: int, exact_components: int = EXACT_COMPONENTS) -> None:
        self._dimension = dimension
        self._exact_rows = max(exact_components // dimension, 1)
        self._matrix: Vectors = np.zeros((ROWS_AT_FIRST, dimension), np.float32)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._graph: VectorGraph | None = None
        # What each row of the graph stands for; None where its node is gone or has another vector.
        self._labels: list[str | None] = []
        self._label_of: dict[str, int] = {}
        self._stale = 0

    def __len__(self) -> int:
        return len(self._ids)

    def holds(self, node_id: str) -> bool:
        """Whether a node has a vector here."""
        return node_id in self._rows

    def held(self) -> tuple[list[str], Vectors]:
        """All nodes, and a copy of their vectors in the same order."""
        return list(self._ids), self._matrix[: len(self._ids)].copy()

    def copy(self) -> "NamespaceVectors":
        """The same vectors apart from these; the graph is not copied, it is built anew."""
        copied = NamespaceVectors(self._dimension)
        copied._exact_rows = self._exact_rows
        copied._matrix = self._matrix.copy()
        copied._ids = list(self._ids)
        copied._rows = dict(self._rows)
        return copied

    @property
    def stale(self) -> int:
        """Vectors the graph still holds though nobody should."""
        return self._stale

    @property
    def wants_rebuild(self) -> bool:
        """Whether a graph is missing, or holds too much of what was dropped."""
        if self._graph is None:
            return len(self) > self._exact_rows
        return self._stale > STALE_SHARE * len(self._labels)

    def put(self, node_id: str, vector: Vectors) -> None:
        """Give a node this vector."""
        row = self._rows.get(node_id)
        if row is None:
            row = self._rows[node_id] = len(self._ids)
            self._ids.append(node_id)
            if row == len(self._matrix):
                self._resize(2 * row)
        self._matrix[row] = vector
        self._retire(node_id)
        if self._graph is not None:
            self._add([node_id])

    def drop(self, node_id: str) -> None:
        """Forget a node's vector; its row is overwritten."""
        row = self._rows.pop(node_id, None)
        if row is None:
            return
        last = len(self._ids) - 1
        if row != last:
            moved = self._ids[last]
            self._matrix[row] = self._matrix[last]
            self._ids[row] = moved
            self._rows[moved] = row
        self._matrix[last] = 0
        self._ids.pop()
        if len(self._matrix) > ROWS_AT_FIRST and 4 * last < len(self._matrix):
            self._resize(len(self._matrix) // 2)
        self._retire(node_id)

    def rebuild(self) -> Iterator[None]:
        """Build the graph anew, a few rows at each step; the old one answers until the last.

        Nothing may be put or dropped between the first step and the last.
        """
        ids = list(self._ids)
        if len(ids) <= self._exact_rows:
            self._install(None, [])
            return
        graph = VectorGraph(self._dimension)
        for first in range(0, len(ids), BUILD_ROWS):
            graph.add(self._matrix[first : min(first + BUILD_ROWS, len(ids))])
            yield
        self._install(graph, ids)

    def nearest(
        self, vector: Vectors, k: int, threshold: float, accepts: Accepts | None = None
    ) -> list[Similar]:
        """At most `k` nodes of at least `threshold` similarity, the most similar first.

        Exact where the vectors are few or `accepts` leaves some out; otherwise the graph may miss
        a node, but no similarity is wrong.
        """
        if self._graph is not None and accepts is None:
            found = self._candidates(vector, k)
            if len(found) >= min(k, len(self)):
                return self._best(found, self._matrix[found] @ vector, k, threshold)
        if accepts is None:
            rows = np.arange(len(self._ids))
            return self._best(rows, self._matrix[: len(rows)] @ vector, k, threshold)
        accepted = [row for row, node_id in enumerate(self._ids) if accepts(node_id)]
        rows = np.array(accepted, np.int64)
        return self._best(rows, self._matrix[rows] @ vector, k, threshold)

    def _candidates(self, vector: Vectors, k: int) -> Rows:
        assert self._graph is not None, "no graph to ask"
        labels = self._graph.nearest(vector, k + CANDIDATES_MORE)
        ids = (self._labels[label] for label in labels.tolist())
        return np.array([self._rows[node_id] for node_id in ids if node_id is not None], np.int64)

    def _best(self, rows: Rows, similarities: Vectors, k: int, threshold: float) -> list[Similar]:
        """The best of the rows compared; ties to the lesser id."""
        k = min(k, len(rows))
        if k < 1:
            return []
        least = max(float(np.partition(similarities, -k)[-k]), threshold)
        enough = np.flatnonzero(similarities >= least)
        found = [
            Similar(self._ids[row], min(max(similarity, -1.0), 1.0))
            for row, similarity in zip(
                rows[enough].tolist(), similarities[enough].tolist(), strict=True
            )
        ]
        return sorted(found, key=lambda similar: (-similar.similarity, similar.node_id))[:k]

    def _retire(self, node_id: str) -> None:
        label = self._label_of.pop(node_id, None)
        if label is not None:
            self._labels[label] = None
            self._stale += 1

    def _add(self, ids: list[str]) -> None:
        assert self._graph is not None, "no graph to add to"
        self._graph.add(self._matrix[[self._rows[node_id] for node_id in ids]])
        for node_id in ids:
            self._label_of[node_id] = len(self._labels)
            self._labels.append(node_id)

    def _install(self, graph: VectorGraph | None, ids: list[str]) -> None:
        self._graph = graph
        self._labels = list(ids)
        self._label_of = {node_id: label for label, node_id in enumerate(ids)}
        self._stale = 0

    def _resize(self, rows: int) -> None:
        resized: Vectors = np.zeros((rows, self._dimension), np.float32)
        kept = min(rows, len(self._matrix))
        resized[:kept] = self._matrix[:kept]
        self._matrix = resized
