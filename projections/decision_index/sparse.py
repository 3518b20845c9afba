"""Rows of sparse integer vectors, and their exact similarities.

A row is kept twice: by row, to compare with a few candidates, and so that it can be compared with
all: the newest rows with all their columns, the others by column. Dot products are sums of
integers below 2^24, so they are exact in any order and as floating point, and a similarity is one
correctly rounded square root and one division away: the same on every machine.
"""

from array import array
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from projections.decision_index.embedding import DIMENSION, Vector
from projections.decision_index.stored import Appended, Parts, StateError, appended_array

__all__ = ["Near", "SparseRows", "cosines", "dense"]

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
Singles = NDArray[np.float32]

HOT_ROWS_AT_FIRST = 16
BLOCK_ROWS = 65_536  # numbers within a block take 2 bytes
FULL_SHARE = 1 / 3  # of the rows have a column that is kept for every row
RANKED_TOGETHER = 64  # rows whose best stands for them at first
DOUBT = 1e-5  # a similarity of single precision is off by less than a hundredth of this


class Near(NamedTuple):
    """A row and its exact similarity."""

    row: int
    similarity: float


def dense(vector: Vector) -> Integers:
    """A vector with all its columns, shape (384,)."""
    full = np.zeros(DIMENSION, np.int64)
    full[list(vector.columns)] = vector.values
    return full


class _Block:
    """Up to 65,536 rows by column.

    A column that few rows have is kept as their numbers within the block, rising, and their
    values; one that many have as a value for each row, which takes less and is scanned faster.
    """

    __slots__ = ("full", "rows", "sparse")

    def __init__(self) -> None:
        self.sparse = [(array("H"), array("h")) for _ in range(DIMENSION)]
        self.full: dict[int, array[int]] = {}
        self.rows = 0

    @property
    def memory_bytes(self) -> int:
        """What the columns take, near enough."""
        held = sum(4 * len(rows) + 160 for rows, _ in self.sparse)
        return held + len(self.full) * 2 * self.rows

    def add_dots(self, vector: Vector, sums: NDArray[np.int32]) -> None:
        """Add the dot product with every row to `sums`, shape (rows,)."""
        for column, value in zip(vector.columns, vector.values, strict=True):
            full = self.full.get(column)
            if full is not None:
                sums += np.frombuffer(full, np.int16) * np.int32(value)
                continue
            rows, values = self.sparse[column]
            if rows:
                products = np.frombuffer(values, np.int16) * np.int32(value)
                np.add.at(sums, np.frombuffer(rows, np.uint16), products)

    def append(
        self, lengths: Integers, columns: NDArray[np.uint16], values: NDArray[np.int16]
    ) -> None:
        """Add rows of so many columns each, all columns one behind the other."""
        numbers = np.repeat(np.arange(self.rows, self.rows + len(lengths)), lengths)
        order = np.argsort(columns, kind="stable")
        numbers, values = numbers[order].astype(np.uint16), values[order]
        limits = np.arange(DIMENSION + 1, dtype=np.uint16)
        bounds = np.searchsorted(columns[order], limits).tolist()
        self.rows += len(lengths)
        for column, (first, end) in enumerate(pairwise(bounds)):
            if column in self.full:
                added = np.zeros(len(lengths), np.int16)
                added[numbers[first:end] - (self.rows - len(lengths))] = values[first:end]
                self.full[column].frombytes(added.tobytes())
            elif first < end:
                rows, kept = self.sparse[column]
                rows.frombytes(numbers[first:end].tobytes())
                kept.frombytes(values[first:end].tobytes())
                if len(rows) > self.rows * FULL_SHARE:
                    self._fill(column)

    def _fill(self, column: int) -> None:
        rows, values = self.sparse[column]
        full = np.zeros(self.rows, np.int16)
        full[np.frombuffer(rows, np.uint16)] = np.frombuffer(values, np.int16)
        self.full[column] = array("h", full.tobytes())
        self.sparse[column] = (array("H"), array("h"))


class SparseRows:
    """Rows 0, 1, 2, … appended one at a time; at least the newest `hot_rows` are scanned fast."""

    __slots__ = (
        "_blocks",
        "_columns",
        "_hot",
        "_hot_rows",
        "_inverses",
        "_norms",
        "_settled",
        "_starts",
        "_values",
    )

    def __init__(self, hot_rows: int) -> None:
        self._starts = array("I", [0])
        self._columns = array("H")
        self._values = array("h")
        self._norms = array("I")
        self._inverses = array("f")  # of the lengths, 0 for none
        self._hot_rows = hot_rows
        self._blocks: list[_Block] = []
        self._settled = 0  # rows that are in blocks; those behind are in `_hot`
        self._hot: Singles = np.zeros((min(HOT_ROWS_AT_FIRST, 2 * hot_rows), DIMENSION), "f4")

    def __len__(self) -> int:
        return len(self._norms)

    @property
    def memory_bytes(self) -> int:
        """What the rows take, near enough."""
        by_row = len(self) * (4 + 4 + 4) + len(self._columns) * (2 + 2)
        return by_row + sum(block.memory_bytes for block in self._blocks) + self._hot.nbytes

    def appended(self) -> list[Appended]:
        """What is to be stored."""
        return [
            appended_array("starts", self._starts),
            appended_array("columns", self._columns),
            appended_array("values", self._values),
        ]

    @classmethod
    def of(cls, hot_rows: int, parts: Parts) -> "SparseRows":
        """Rows that were stored. Raises StateError."""
        rows = cls(hot_rows)
        rows._starts = parts.array("starts", "I")
        rows._columns = parts.array("columns", "H")
        rows._values = parts.array("values", "h", len(rows._columns))
        bounds = np.array(rows._starts, np.int64)
        lengths = bounds[1:] - bounds[:-1]
        if not len(bounds) or bounds[0] or (lengths < 0).any() or bounds[-1] != len(rows._columns):
            raise StateError("the rows do not follow one another")
        if len(rows._columns) and max(rows._columns) >= DIMENSION:
            raise StateError("a column beyond the last")
        squares = np.array(rows._values, np.float64) ** 2
        norms = np.bincount(np.repeat(np.arange(len(lengths)), lengths), squares, len(lengths))
        inverses = np.divide(1.0, np.sqrt(norms), out=np.zeros(len(norms)), where=norms > 0)
        rows._norms = array("I", norms.astype(np.uint32).tobytes())
        rows._inverses = array("f", inverses.astype(np.float32).tobytes())
        rows._settle(max(len(rows) - hot_rows, 0) // hot_rows * hot_rows)
        rows._fill_hot()
        return rows

    def append(self, vector: Vector) -> None:
        """Add the next row."""
        row = len(self._norms) - self._settled
        if row == len(self._hot):
            row = self._make_room()
        self._hot[row] = 0
        self._hot[row, vector.columns] = vector.values
        self._norms.append(vector.norm)
        self._inverses.append(vector.norm**-0.5 if vector.norm else 0.0)
        self._columns.extend(vector.columns)
        self._values.extend(vector.values)
        self._starts.append(len(self._columns))

    def hot_similarity(self, vector: Vector) -> float:
        """The greatest similarity among the newest rows; 0 where there is none."""
        if not self._norms:
            return 0.0
        norms = np.frombuffer(self._norms, np.uint32)[self._settled :].astype(np.int64)
        return float(cosines(self._hot_dots(vector), vector.norm, norms).max())

    def similarities_to(self, vector: Vector, rows: Integers) -> Reals:
        """The similarity to some rows, shape (len(rows),)."""
        starts = np.frombuffer(self._starts, np.uint32)
        first, end = starts[rows].astype(np.int64), starts[rows + 1].astype(np.int64)
        places, owners = _spread(first, end)
        columns = np.frombuffer(self._columns, np.uint16)[places]
        products = dense(vector)[columns] * np.frombuffer(self._values, np.int16)[places]
        # Of integers below 2^53, so exact.
        dots = np.bincount(owners, products, minlength=len(rows)).astype(np.int64)
        norms = np.frombuffer(self._norms, np.uint32)[rows].astype(np.int64)
        return cosines(dots, vector.norm, norms)

    def nearest(self, vector: Vector, k: int) -> list[Near]:
        """The `k` nearest of all rows, exactly, nearest first, ties to the lowest row."""
        k = min(k, len(self))
        if k < 1:
            return []
        dots = self._dots(vector)
        norms = np.frombuffer(self._norms, np.uint32)
        near = dots.astype(np.float32) * np.frombuffer(self._inverses, np.float32)
        rows = _leading(near, k)
        exact = cosines(dots[rows].astype(np.int64), vector.norm, norms[rows].astype(np.int64))
        order = np.argsort(-exact, kind="stable")[:k]
        return [Near(int(rows[place]), float(exact[place])) for place in order]

    def folded(self, first: int, end: int, width: int) -> Singles:
        """Rows `first` to `end`, columns equal modulo `width` summed: shape (rows, width)."""
        starts = np.frombuffer(self._starts, np.uint32)[first : end + 1].astype(np.int64)
        part = slice(int(starts[0]), int(starts[-1]))
        columns = np.frombuffer(self._columns, np.uint16)[part].astype(np.int64) % width
        owners = np.repeat(np.arange(end - first), np.diff(starts))
        values = np.frombuffer(self._values, np.int16)[part]
        sums = np.bincount(owners * width + columns, values, minlength=(end - first) * width)
        return sums.reshape(end - first, width).astype(np.float32)

    def _hot_dots(self, vector: Vector) -> Integers:
        hot = self._hot[: len(self._norms) - self._settled]
        return (hot @ dense(vector).astype(np.float32)).astype(np.int64)

    def _dots(self, vector: Vector) -> NDArray[np.int32]:
        """The dot product with every row, shape (rows,)."""
        sums = np.zeros(len(self._norms), np.int32)
        for number, block in enumerate(self._blocks):
            first = number * BLOCK_ROWS
            block.add_dots(vector, sums[first : first + block.rows])
        sums[self._settled :] = self._hot_dots(vector)
        return sums

    def _make_room(self) -> int:
        """Settle the older half of the hot rows if they are enough; the place of the next one."""
        length = len(self._hot)
        if length < 2 * self._hot_rows:
            wider = np.zeros((min(2 * length, 2 * self._hot_rows), DIMENSION), np.float32)
            wider[:length] = self._hot
            self._hot = wider
            return length
        self._settle(self._settled + self._hot_rows)
        self._hot[: self._hot_rows] = self._hot[self._hot_rows :]
        return self._hot_rows

    def _fill_hot(self) -> None:
        starts = np.frombuffer(self._starts, np.uint32)[self._settled :].astype(np.int64)
        hot = len(starts) - 1
        while len(self._hot) < hot:
            self._hot = np.zeros((2 * len(self._hot), DIMENSION), np.float32)
        part = slice(int(starts[0]), int(starts[-1]))
        owners = np.repeat(np.arange(hot), np.diff(starts))
        columns = np.frombuffer(self._columns, np.uint16)[part]
        self._hot[owners, columns] = np.frombuffer(self._values, np.int16)[part]

    def _settle(self, end: int) -> None:
        """Put the rows below `end` into blocks."""
        starts = np.frombuffer(self._starts, np.uint32)
        columns, values = np.frombuffer(self._columns, "u2"), np.frombuffer(self._values, "i2")
        while self._settled < end:
            if self._settled % BLOCK_ROWS == 0:
                self._blocks.append(_Block())
            block = self._blocks[-1]
            until = min(end, self._settled + BLOCK_ROWS - block.rows)
            bounds = starts[self._settled : until + 1].astype(np.int64)
            part = slice(int(bounds[0]), int(bounds[-1]))
            block.append(np.diff(bounds), columns[part], values[part])
            self._settled = until


def cosines(dots: Integers, norm: int, norms: Integers) -> Reals:
    """Similarities from integers; 0 where a vector has no direction."""
    lengths = np.sqrt(norm * norms)
    return np.divide(dots, lengths, out=np.zeros(len(dots)), where=lengths > 0)


def _spread(first: Integers, end: Integers) -> tuple[Integers, Integers]:
    """All places of several ranges, one behind the other, and which range each belongs to."""
    lengths = end - first
    owners = np.repeat(np.arange(len(lengths)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(owners)) + (first - before)[owners], owners


def _leading(near: Singles, k: int) -> Integers:
    """The rows, rising, among which the `k` nearest are: ranked in single precision, with room."""
    whole = len(near) // RANKED_TOGETHER * RANKED_TOGETHER
    best = near[:whole].reshape(RANKED_TOGETHER, -1).max(axis=0)
    if len(best) < k:
        best = near
    least = float(np.partition(best, -k)[-k])
    return np.flatnonzero(near >= least - DOUBT * max(abs(least), 1.0))
