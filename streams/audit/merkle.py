"""The Merkle tree of RFC 6962 §2.1, kept as its compact range.

A tree of any size is held as one hash per set bit of its size, the largest subtree first: enough
to append and to compute the root, and small enough to ride in every checkpoint.

    frontier = Frontier()
    frontier.extend(leaf_hashes)
    frontier.root()
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

__all__ = ["EMPTY_ROOT", "Frontier", "fold", "hash_pairs", "node_hash"]

EMPTY_ROOT = sha256(b"").digest()
NODE_PREFIX = b"\x01"
HASH_BYTES = 32


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 ‖ left ‖ right)."""
    return sha256(NODE_PREFIX + left + right).digest()


def fold(nodes: Sequence[bytes]) -> bytes:
    """The root of the tree whose compact range is `nodes`."""
    if not nodes:
        return EMPTY_ROOT
    root = nodes[-1]
    for node in reversed(nodes[:-1]):
        root = node_hash(node, root)
    return root


class Frontier:
    """The compact range [0, size) of a tree that only grows."""

    __slots__ = ("_nodes", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._nodes: list[bytes] = []

    @classmethod
    def of(cls, size: int, hashes: Iterable[bytes]) -> "Frontier":
        """A frontier from its parts.

        Raises:
            ValueError: a size below 0, or not one 32-byte hash per set bit of it.
        """
        nodes = list(hashes)
        if size < 0 or len(nodes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has not a frontier of {len(nodes)} hashes")
        if any(len(node) != HASH_BYTES for node in nodes):
            raise ValueError("expected hashes of 32 bytes")
        frontier = cls()
        frontier._size, frontier._nodes = size, nodes
        return frontier

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """One hash per set bit of the size, the largest subtree first."""
        return tuple(self._nodes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        nodes, size = self._nodes, self._size
        while size & 1:
            leaf = node_hash(nodes.pop(), leaf)
            size >>= 1
        nodes.append(leaf)
        self._size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order: as `append` for each, but level by level, which is faster."""
        row = list(leaves)
        level_size, added = self._size, len(row)
        kept: list[bytes] = []  # nodes without a right sibling, the smallest subtree first
        while row:
            # Now `row` holds the new complete subtrees of one level, `level_size` counts the old.
            if level_size & 1:
                row.insert(0, self._nodes.pop())
            if len(row) & 1:
                kept.append(row.pop())
            row = hash_pairs(row)
            level_size >>= 1
        self._nodes.extend(reversed(kept))
        self._size += added

    def root(self) -> bytes:
        """The root hash; `EMPTY_ROOT` of no leaf."""
        return fold(self._nodes)

    def copy(self) -> "Frontier":
        """An independent frontier of the same tree."""
        copied = Frontier()
        copied._size, copied._nodes = self._size, self._nodes.copy()
        return copied


def hash_pairs(row: list[bytes]) -> list[bytes]:
    """The parents of an even number of nodes."""
    nodes = iter(row)
    return [
        sha256(NODE_PREFIX + left + right).digest()
        for left, right in zip(nodes, nodes, strict=True)
    ]
