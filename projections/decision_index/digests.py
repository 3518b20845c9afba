"""Digests numbered by the order in which they came, found again by value.

A table of open addressing over one flat array of digests takes 16 bytes a digest and 6 to 12 for
its place, a fifth of what a dict of Python objects takes. Places are chosen with a factor that
differs in each process, so that nobody can send digests that all fall on one place; nothing but
speed depends on it.
"""

from array import array

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGEST_BYTES", "Digests"]

DIGEST_BYTES = 16
SHIFT = 4  # 16 bytes a digest
SLOTS_AT_FIRST = 16
BITS = 64
SECRET_FACTOR = hash("places of digests") & (2**BITS - 1) | 1  # strings hash anew each process


class Digests:
    """Digests 0, 1, 2, …; each of 16 bytes, each once."""

    __slots__ = ("_bytes", "_mask", "_places")

    def __init__(self) -> None:
        self._bytes = bytearray()
        # A number + 1 at the place of its digest or behind it; 0 is free.
        self._places = array("I", bytes(4 * SLOTS_AT_FIRST))
        self._mask = SLOTS_AT_FIRST - 1

    def __len__(self) -> int:
        return len(self._bytes) >> SHIFT

    @property
    def memory_bytes(self) -> int:
        """What the table takes, near enough."""
        return len(self._bytes) + 4 * len(self._places)

    def find(self, digest: bytes) -> int | None:
        """The number of a digest."""
        places, known, mask = self._places, self._bytes, self._mask
        at = (int.from_bytes(digest[:8], "little") * SECRET_FACTOR >> 32) & mask
        while number := places[at]:
            end = number << SHIFT
            if known[end - DIGEST_BYTES : end] == digest:
                found: int = number - 1
                return found
            at = (at + 1) & mask
        return None

    def append(self, digest: bytes) -> int:
        """Number a digest that has none yet."""
        number = len(self)
        if 3 * (number + 1) > 2 * len(self._places):
            self._rehash(2 * len(self._places))
        self._bytes += digest
        places, mask = self._places, self._mask
        at = (int.from_bytes(digest[:8], "little") * SECRET_FACTOR >> 32) & mask
        while places[at]:
            at = (at + 1) & mask
        places[at] = number + 1
        return number

    def part(self, first: int, end: int) -> bytes:
        """The digests numbered `first` to `end`, one behind the other."""
        return bytes(self._bytes[first << SHIFT : end << SHIFT])

    @classmethod
    def of(cls, digests: bytes) -> "Digests":
        """The table of digests that were numbered before. Raises ValueError: one stands twice."""
        if len(digests) % DIGEST_BYTES:
            raise ValueError("a digest is cut off")
        table = cls()
        table._bytes += digests
        size = SLOTS_AT_FIRST
        while 3 * len(table) > 2 * size:
            size *= 2
        table._rehash(size)
        halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        if (halves[order[1:]] == halves[order[:-1]]).all(axis=1).any():
            raise ValueError("a digest stands twice")
        return table

    def _rehash(self, size: int) -> None:
        """Give every digest its place in a table of `size` places, many at a time."""
        places: NDArray[np.uint32] = np.zeros(size, np.uint32)
        mask = np.uint64(size - 1)
        low = np.frombuffer(bytes(self._bytes), "<u8")[::2]
        at = ((low * np.uint64(SECRET_FACTOR)) >> np.uint64(32)) & mask
        homeless = np.arange(len(low))
        while len(homeless):
            free = homeless[places[at[homeless]] == 0]
            places[at[free]] = free + 1  # of several at one place the last gets it
            homeless = homeless[places[at[homeless]] != homeless + 1]
            at[homeless] = (at[homeless] + np.uint64(1)) & mask
        self._places = array("I", places.tobytes())
        self._mask = size - 1
