"""The one module that knows hnswlib: an approximate graph over the vectors of dense rows.

What it returns are candidates, never answers: callers compare the vectors themselves. The traps of
hnswlib 0.8 are closed here.

- Asking for more neighbours than there are raises there: k is clamped, and where a graph cannot
  reach k of them it is asked for fewer.
- Labels come back unchecked: each is checked against the rows that were added.
- Adding, growing and searching at once is a data race: one that meets another raises.
- `ef` is 10 until it is set, and again after a file is loaded: it is set with the graph, and none
  is loaded. Pickles and files of hnswlib are read without any check of their numbers.
- NaN and infinity make every comparison false, so that a row is never found and hides others, and
  a query of another width is read beyond its end or refused with the error for too few neighbours:
  shape and numbers are checked first.
- A full graph refuses rows: it grows by a quarter.
- Threads and random levels change which candidates are found, so one thread and a fixed seed are
  used; nothing may depend on either.
"""

from threading import Lock
from typing import NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray

__all__ = ["GRAPH", "GraphSettings", "OverlapError", "VectorGraph"]

ROWS_AT_FIRST = 1024


class GraphSettings(NamedTuple):
    """Links a node (`m`), effort of adding and of searching, and the seed of the levels.

    More links find more and take 8 bytes a row each; more effort finds more and takes longer.
    `k` is how many rows a search is to name; a search's effort is the greater of `ef` and `k`.
    """

    m: int = 16
    ef_construction: int = 200
    ef: int = 50
    k: int = 150
    seed: int = 100


GRAPH = GraphSettings()


class OverlapError(RuntimeError):
    """A search met an add on one graph: a fault of the caller, who keeps the phases apart."""


class VectorGraph:
    """Rows 0, 1, 2, … with one vector each; rows are added, never taken away."""

    def __init__(self, dimension: int, settings: GraphSettings = GRAPH) -> None:
        self._dimension = dimension
        self._links = settings.m
        self._size = 0
        self._busy = Lock()
        self._graph = hnswlib.Index(space="cosine", dim=dimension)
        self._graph.init_index(
            max_elements=ROWS_AT_FIRST,
            M=settings.m,
            ef_construction=settings.ef_construction,
            random_seed=settings.seed,
        )
        self._graph.set_num_threads(1)
        self._graph.set_ef(settings.ef)

    @property
    def size(self) -> int:
        """Rows added."""
        return self._size

    @property
    def memory_bytes(self) -> int:
        """What the graph takes, near enough: measured, links and locks of a row and a place."""
        row = 4 * self._dimension + 8 * self._links + 77
        return int(self._graph.get_max_elements()) * 70 + self._size * row

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add rows `size`, `size + 1`, … with these vectors, shape (rows, dimension).

        Raises:
            ValueError: another shape, or a number that is none.
            OverlapError: the graph is in use.
        """
        rows = len(vectors)
        self._check(vectors, (rows, self._dimension))
        if not rows:
            return
        if not self._busy.acquire(blocking=False):
            raise OverlapError("rows were added to a graph in use")
        try:
            capacity = self._graph.get_max_elements()
            if self._size + rows > capacity:
                self._graph.resize_index(max(capacity * 5 // 4, self._size + rows))
            self._graph.add_items(vectors, np.arange(self._size, self._size + rows))
            self._size += rows
        finally:
            self._busy.release()

    def nearest(self, vector: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """At most `k` rows near `vector`, shape (dimension,), in the graph's own order.

        Raises ValueError, OverlapError as `add`; IndexError: the graph named a row there is not.
        """
        self._check(vector, (self._dimension,))
        k = min(k, self._size)
        if not self._busy.acquire(blocking=False):
            raise OverlapError("a graph in use was searched")
        try:
            while k > 0:
                try:
                    return self._labels(vector, k)
                except RuntimeError:
                    k //= 2
        finally:
            self._busy.release()
        return np.empty(0, np.int64)

    def _labels(self, vector: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found, _ = self._graph.knn_query(vector, k=k)
        labels: NDArray[np.int64] = found[0].astype(np.int64)
        if labels.max() >= self._size or labels.min() < 0:
            raise IndexError(f"the graph of {self._size} rows named row {labels.max()}")
        return labels

    @staticmethod
    def _check(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        if vectors.shape != shape:
            raise ValueError(f"expected rows of {shape[-1]}, got {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("expected finite numbers, got NaN or infinity")
