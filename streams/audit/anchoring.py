"""Anchors against a history: checkpoints kept elsewhere, compared as their sizes go by.

An anchor may stand between two checkpoints of the log, since a log stays valid when one of its
checkpoints is dropped; so the root at its size is computed from the leaves.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import Frontier
from streams.errors import BreakError

__all__ = ["AnchorWalk"]


class AnchorWalk:
    """The anchors of one log, in order of size.

    Attributes:
        compared: those that could be compared with the history.
    """

    __slots__ = ("_agreed", "_anchors", "compared")

    def __init__(self, anchors: Iterable[CheckpointText]) -> None:
        self._anchors = deque(sorted(anchors, key=lambda anchor: anchor.size))
        self._agreed = 0
        self.compared: list[CheckpointText] = []

    def keep(self, origin: str) -> None:
        """Forget the anchors of every other log."""
        self._anchors = deque(anchor for anchor in self._anchors if anchor.origin == origin)

    def pass_by(self, before: Frontier, leaves: list[bytes], size: int) -> Iterator[BreakError]:
        """Settle the anchors up to `size`; one that `leaves` do not reach says nothing.

        Args:
            before: the tree before `leaves`.
            leaves: leaf hashes from `before.size` on.
            size: how far the history went.
        """
        walked, done = before.copy(), 0
        while self._anchors and self._anchors[0].size <= size:
            anchor = self._anchors.popleft()
            known = anchor.size - before.size
            if not 0 <= known <= len(leaves):
                continue
            walked.extend(leaves[done:known])
            done = known
            self.compared.append(anchor)
            if walked.root() == anchor.root:
                self._agreed = anchor.size
            else:
                detail = f"the anchor of size {anchor.size} has another root"
                yield BreakError("fork", self._agreed, detail)

    def end(self, due: int) -> Iterator[BreakError]:
        """Settle what is left when nothing follows the `due` leaves there are."""
        if self._anchors:
            self.compared += self._anchors
            detail = f"the log ends here, and an anchor has {self._anchors[-1].size} records"
            yield BreakError("shorter_than_anchor", due, detail)
