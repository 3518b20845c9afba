"""The tail: committed leaves no checkpoint covers yet, and how the next checkpoint settles them.

It holds the tree under the last checkpoint and one hash per leaf behind it, so its memory is
bounded by the bounds of formats §2, whatever the length of the log.
"""

from collections.abc import Sequence
from typing import NamedTuple

from streams.audit.merkle import Frontier
from streams.audit.sealing import TAIL_BYTES_MAX, TAIL_RECORDS_MAX

__all__ = ["Settled", "Tail"]


class Settled(NamedTuple):
    """What a checkpoint settles.

    Attributes:
        before: the compact range under the checkpoint before.
        leaves: the leaf hashes it newly covers; empty where not all of them are in hand.
        altered: the index of the record to blame, and why; None where all is well.
        is_folded: the leaves fold to the signed root, the computed ones or the stored ones.
    """

    before: tuple[bytes, ...]
    leaves: list[bytes]
    altered: tuple[int, str] | None
    is_folded: bool


class Tail:
    """Leaves behind a checkpoint.

    Attributes:
        frontier: the tree under the last checkpoint.
        first: the index of `leaves[0]`; above `frontier.size` where records are missing.
        due: the index of the next leaf.
        leaves: leaf hashes as computed from the records.
        lengths: the size of each record's Kafka value.
        bytes: the sum of `lengths`.
        stored: leaf hashes that records carry and do not hash to, by index.
    """

    __slots__ = ("bytes", "due", "first", "frontier", "leaves", "lengths", "stored")

    def __init__(self, frontier: Frontier) -> None:
        self.frontier = frontier
        self.first = self.due = frontier.size
        self.leaves: list[bytes] = []
        self.lengths: list[int] = []
        self.bytes = 0
        self.stored: dict[int, bytes] = {}

    @property
    def accounted(self) -> bool:
        """Whether every leaf between the last checkpoint and the next one due is in hand."""
        return self.first == self.frontier.size

    def has_room(self, lengths: Sequence[int]) -> bool:
        """Whether records of these lengths keep the tail within its bounds."""
        records, size = len(self.leaves) + len(lengths), self.bytes + sum(lengths)
        return records <= TAIL_RECORDS_MAX and size <= TAIL_BYTES_MAX

    def extend(self, leaves: Sequence[bytes], lengths: Sequence[int]) -> None:
        """Take the leaves that are due, of records that hash to what they carry."""
        self.leaves += leaves
        self.lengths += lengths
        self.bytes += sum(lengths)
        self.due += len(leaves)

    def append(self, leaf: bytes, stored: bytes, length: int) -> None:
        """Take the leaf that is due."""
        if leaf != stored:
            self.stored[self.due] = stored
        self.leaves.append(leaf)
        self.lengths.append(length)
        self.bytes += length
        self.due += 1

    def restart(self, index: int) -> None:
        """Go on at `index`, with records before it unaccounted for."""
        self._drop(len(self.leaves))
        self.first = self.due = index

    def shrink(self) -> None:
        """Forget the older half, so that a tail over its bounds cannot grow without end."""
        self._drop((len(self.leaves) + 1) // 2)

    def settle(self, claimed: Frontier) -> Settled:
        """Move on to a checkpoint whose frontier, folded to its signed root, is `claimed`."""
        size, before = claimed.size, self.frontier
        leaves = self.leaves[: size - before.size]
        altered = None
        if not self.accounted or size > self.due:
            leaves = []
        elif _extended(before, leaves).root() != claimed.root():
            altered, leaves = self._blame(claimed, leaves)
        elif self.stored and min(self.stored) < size:
            altered = min(self.stored), "the stored leaf hash is not the record's"
        self._drop(max(0, min(size - self.first, len(self.leaves))))
        if size > self.due:
            self.first = self.due = size
        self.frontier = claimed
        is_folded = len(leaves) == size - before.size
        return Settled(before.nodes, leaves, altered, is_folded)

    def _blame(
        self, claimed: Frontier, leaves: list[bytes]
    ) -> tuple[tuple[int, str], list[bytes]]:
        first = self.frontier.size
        stored = [self.stored.get(index, leaf) for index, leaf in enumerate(leaves, first)]
        if stored != leaves and _extended(self.frontier, stored).root() == claimed.root():
            return (min(self.stored), "the record does not hash to its leaf"), stored
        low, high = _interval(_extended(self.frontier, leaves), claimed)
        low = max(low, first)
        detail = f"the records [{low}, {high}) do not fold to what the checkpoint signs"
        return (first, detail), []

    def _drop(self, count: int) -> None:
        self.first += count
        self.bytes -= sum(self.lengths[:count])
        del self.leaves[:count]
        del self.lengths[:count]
        if self.stored:
            self.stored = {i: leaf for i, leaf in self.stored.items() if i >= self.first}


def _extended(frontier: Frontier, leaves: list[bytes]) -> Frontier:
    extended = frontier.copy()
    extended.extend(leaves)
    return extended


def _interval(ours: Frontier, claimed: Frontier) -> tuple[int, int]:
    """The leaves under the first frontier hash that differs."""
    low = 0
    for mine, other in zip(ours.nodes, claimed.nodes, strict=True):
        rest = ours.size - low
        width = 1 << (rest.bit_length() - 1)
        if mine != other:
            return low, low + width
        low += width
    return low, ours.size
