"""The rows one tenant's decisions of one log are compared with: each different one once.

A decision seen before is found by its digest and costs no search. A new one is compared first
with the newest rows, then with candidates of a graph, last with every row. Each step raises the
best similarity known, never beyond the true one, so a caller may stop as soon as what is known is
similar enough; what it acts on comes from the last step. So nothing that is acted on depends on
the graph: it may miss any row, and lag behind.

Adding a row to the graph costs as much as comparing one decision with 20,000 rows, which few
decisions need. So there is none until the rows are many; then it catches up, a part at a time, as
whoever holds the rows calls `merge`. Searching and adding never meet: both need the caller.
"""

from array import array
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from projections.decision_index.digests import DIGEST_BYTES, Digests
from projections.decision_index.embedding import Features, Vector
from projections.decision_index.lexicon import FIELDS, Ids, Lexicon
from projections.decision_index.sparse import Near, SparseRows
from projections.decision_index.stored import Appended, Parts, StateError, appended_array

__all__ = ["CandidateGraph", "DecisionRows", "MakeGraph", "Near", "Row", "Tiers"]


class CandidateGraph(Protocol):
    """Approximate neighbours among rows 0, 1, 2, …; it may miss any of them."""

    @property
    def size(self) -> int:
        """Rows added."""

    @property
    def width(self) -> int:
        """Columns of a row; it divides 384, and columns equal modulo the width are summed."""

    @property
    def memory_bytes(self) -> int:
        """What it takes, near enough."""

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add the next rows, shape (rows, width)."""

    def candidates(self, vector: Vector) -> NDArray[np.int64]:
        """Rows that are probably near."""


MakeGraph = Callable[[], CandidateGraph]


class Row(NamedTuple):
    """One row: what was decided, how often, and where in the log first and last."""

    features: Features
    times: int
    first: int
    last: int


class Tiers(NamedTuple):
    """How rows are searched: so many newest ones first; by a graph from so many on."""

    hot_rows: int = 256  # at least, and less than twice as many: 5 to 10 µs
    graph_from: int = 32_768  # rows, compared in 0.3 ms


TIERS = Tiers()


class DecisionRows:
    """Rows numbered by the order in which they were first learned."""

    def __init__(self, make_graph: MakeGraph, tiers: Tiers = TIERS) -> None:
        self.lexicon = Lexicon()
        self._digests = Digests()
        self._features = array("I")  # the numbers of a row's seven fields in the lexicon
        self._times = array("Q")
        self._firsts = array("Q")
        self._lasts = array("Q")
        self._vectors = SparseRows(tiers.hot_rows)
        self._tiers = tiers
        self._make_graph = make_graph
        self._graph: CandidateGraph | None = None

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def memory_bytes(self) -> int:
        """What the index takes, near enough."""
        tables = self._digests.memory_bytes + len(self) * (4 * FIELDS + 3 * 8)
        graph = self._graph.memory_bytes if self._graph else 0
        return tables + self.lexicon.memory_bytes + self._vectors.memory_bytes + graph

    def find(self, digest: bytes) -> int | None:
        """The row with this digest."""
        return self._digests.find(digest)

    def row(self, number: int, tenant: str = "") -> Row:
        """What a row stands for."""
        return Row(
            self.lexicon.features(tenant, self.ids(number)),
            self._times[number],
            self._firsts[number],
            self._lasts[number],
        )

    def ids(self, number: int) -> Ids:
        """A row in the numbers of the lexicon."""
        return Ids._make(self._features[number * FIELDS : (number + 1) * FIELDS])

    def similar_hot(self, vector: Vector) -> float:
        """The greatest similarity among the newest rows; 0 where there is none."""
        return self._vectors.hot_similarity(vector)

    def similar_candidates(self, vector: Vector) -> float:
        """The greatest similarity among the candidates of the graph; 0 where there is none."""
        if self._graph is None:
            return 0.0
        found = self._graph.candidates(vector)
        return float(self._vectors.similarities_to(vector, found).max()) if len(found) else 0.0

    def nearest(self, vector: Vector, k: int) -> list[Near]:
        """The `k` nearest of all rows, exactly, nearest first, ties to the lowest row."""
        return self._vectors.nearest(vector, k)

    def learn(self, digest: bytes, features: Features, vector: Vector | None, leaf: int) -> int:
        """Count a decision of this leaf; its row. `vector` is needed only where that is new."""
        row = self._digests.find(digest)
        if row is None:
            assert vector is not None, "a new row without vector"
            self._features.extend(self.lexicon.learn(features))
            self._times.append(1)
            self._firsts.append(leaf)
            self._lasts.append(leaf)
            self._vectors.append(vector)
            return self._digests.append(digest)
        self.count(row, leaf)
        return row

    def count(self, row: int, leaf: int) -> None:
        """Count a decision of this leaf that is this row."""
        self._times[row] += 1
        self._lasts[row] = leaf

    @property
    def unmerged(self) -> int:
        """Rows that a graph should have and has not."""
        rows = len(self)
        if rows < self._tiers.graph_from:
            return 0
        return max(rows - self._tiers.hot_rows - (self._graph.size if self._graph else 0), 0)

    def merge(self, rows_max: int) -> None:
        """Let the graph come nearer, by at most so many rows, to having all but the newest."""
        rows = min(self.unmerged, rows_max)
        if rows < 1:
            return
        if self._graph is None:
            self._graph = self._make_graph()
        first = self._graph.size
        self._graph.add(self._vectors.folded(first, first + rows, self._graph.width))

    def digest_into(self, update: Callable[[bytes], None]) -> None:
        """Digests, times, first and last leaves of all rows."""
        update(len(self).to_bytes(8, "little"))
        update(self._digests.part(0, len(self)))
        for numbers in (self._times, self._firsts, self._lasts):
            update(np.array(numbers, "<u8").tobytes())

    def appended(self) -> list[Appended]:
        """What is to be stored and never changes."""
        return [
            Appended("digests", DIGEST_BYTES, len(self), self._digests.part),
            appended_array("features", self._features, FIELDS),
            appended_array("firsts", self._firsts),
            *self._vectors.appended(),
            *self.lexicon.appended(),
        ]

    def changing(self) -> dict[str, bytes]:
        """What is to be stored anew each time."""
        return {
            "times": np.array(self._times, "<u8").tobytes(),
            "lasts": np.array(self._lasts, "<u8").tobytes(),
        }

    def restore(self, parts: Parts) -> None:
        """Become the rows that were stored. Raises ValueError: there can be no such rows."""
        digests = Digests.of(parts.bytes("digests"))
        rows = len(digests)
        features = parts.numbers("features", "I", rows * FIELDS).reshape(rows, FIELDS)
        self.lexicon = Lexicon.of(parts)
        if (features >= np.array(self.lexicon.sizes)).any():
            raise StateError("a row names a word there is not")
        vectors = SparseRows.of(self._tiers.hot_rows, parts)
        if len(vectors) != rows:
            raise StateError(f"{len(vectors)} vectors of {rows} rows")
        self._features = parts.array("features", "I")
        self._times = parts.array("times", "Q", rows)
        self._firsts = parts.array("firsts", "Q", rows)
        self._lasts = parts.array("lasts", "Q", rows)
        self._vectors, self._digests, self._graph = vectors, digests, None
