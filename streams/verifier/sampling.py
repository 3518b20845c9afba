"""Which segments a sample takes: the ones a seed ranks first.

By hash, so that whoever is told the seed takes the same, in any language. Nobody who writes an
archive can know the seed of a later verification, so nothing can be hidden where it is not read.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

__all__ = ["Sample"]


class Sample(NamedTuple):
    """So many percent of the segments of each log, at least one of each.

    The segment of first index f ranks by SHA-256 of `seed ‖ LF ‖ origin ‖ LF ‖ f` in decimal.
    """

    percent: float
    seed: str

    def of(self, origin: str, firsts: Sequence[int]) -> set[int]:
        """The positions in `firsts` that are taken."""
        count = math.ceil(len(firsts) * self.percent / 100)
        ranked = sorted(range(len(firsts)), key=lambda at: self._rank(origin, firsts[at]))
        return set(ranked[:count])

    def _rank(self, origin: str, first: int) -> bytes:
        return sha256(f"{self.seed}\n{origin}\n{first}".encode()).digest()
