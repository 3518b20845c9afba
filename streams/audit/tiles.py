"""The tree and its entries as static files (C2SP tlog-tiles.md), and proofs read from them.

A hash tile holds up to 256 consecutive hashes of every eighth level of the tree: hash i of tile N
at level L is the root of the leaves [(256·N + i)·256^L, (256·N + i + 1)·256^L). An entry bundle
holds up to 256 leaf entries. A log of any size has full tiles, and at most one partial tile a
level, whose width is part of its name: so no file ever changes.

A proof is planned first and read after: the plan names the subtrees it needs, `tile_of` the tile
each of them lies in, and whoever can read fetches those tiles, together. At any size that is at
most two tiles a level, of which 2^32 leaves have four.

    plan = inclusion_plan(index, size)
    bodies = {tile: read(tile) for tile in {tile_of(s, stored) for s in plan.subtrees}}
    proof = plan.hashes(TileNodes(stored, bodies.__getitem__))
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from streams.audit.merkle import HASH_BYTES, fold, hash_pairs, node_hash
from streams.audit.note import MalformedError

__all__ = [
    "ENTRIES",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "ProofPlan",
    "StreamedNodes",
    "Subtree",
    "Tile",
    "TileNodes",
    "consistency_plan",
    "decode_bundle",
    "encode_bundle",
    "frontier_plan",
    "inclusion_plan",
    "new_tiles",
    "parse_tile_path",
    "tile_at",
    "tile_hashes",
    "tile_of",
    "tile_root",
]

TILE_WIDTH = 256
TILE_HEIGHT = 8  # levels of the tree in a tile
LEVEL_MAX = 63
ENTRIES = -1  # the level of entry bundles
ENTRY_BYTES_MAX = 65_535
LENGTH_BYTES = 2

PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<number>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """A hash tile, or an entry bundle (`level` is ENTRIES); partial where `width` < 256."""

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Its name below the log's prefix."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        rest, last = divmod(self.number, 1000)
        groups = f"{last:03d}"
        while rest:
            rest, group = divmod(rest, 1000)
            groups = f"x{group:03d}/{groups}"
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{groups}{partial}"

    @property
    def full(self) -> "Tile":
        """The full tile that holds this one's hashes too."""
        return Tile(self.level, self.number)


class Subtree(NamedTuple):
    """The complete subtree over the leaves [number·2^level, (number + 1)·2^level)."""

    level: int
    number: int


class ProofPlan(NamedTuple):
    """What hashes of a proof are made of: one group of subtrees a hash, largest first."""

    groups: tuple[tuple[Subtree, ...], ...]

    @property
    def subtrees(self) -> frozenset[Subtree]:
        """Every subtree the hashes are made of."""
        return frozenset(subtree for group in self.groups for subtree in group)

    def hashes(self, node: Callable[[Subtree], bytes]) -> tuple[bytes, ...]:
        """The hashes, from the subtrees' roots."""
        return tuple(fold([node(subtree) for subtree in group]) for group in self.groups)


class TileNodes:
    """The roots of complete subtrees, from the tiles of a tree of `stored` leaves.

    `read` is asked for the tiles `tile_of` names, each once.
    """

    def __init__(self, stored: int, read: Callable[[Tile], bytes]) -> None:
        self._stored = stored
        self._read = read
        self._tiles: dict[Tile, list[bytes]] = {}
        self._known: dict[Subtree, bytes] = {}

    def __call__(self, subtree: Subtree) -> bytes:
        """The root of a subtree. Raises MalformedError where a tile is not as wide as named."""
        node = self._known.get(subtree)
        if node is None:
            node = self._known[subtree] = self._from_tile(subtree)
        return node

    def _from_tile(self, subtree: Subtree) -> bytes:
        tile = tile_of(subtree, self._stored)
        hashes = self._tiles.get(tile)
        if hashes is None:
            hashes = self._tiles[tile] = tile_hashes(self._read(tile), tile.width)
        width = 1 << subtree.level % TILE_HEIGHT
        first = (subtree.number * width) % TILE_WIDTH
        return tile_root(hashes[first : first + width])


class StreamedNodes:
    """The roots of the subtrees `wanted`, from all leaves in order; memory is flat."""

    def __init__(self, wanted: Collection[Subtree]) -> None:
        self._wanted = wanted
        self._found: dict[Subtree, bytes] = {}
        self._open: list[bytes] = []  # the compact range of what was added
        self._size = 0

    def add(self, leaves: Iterable[bytes]) -> None:
        """Take the next leaf hashes."""
        for leaf in leaves:
            level, number, node = 0, self._size, leaf
            while True:
                if (level, number) in self._wanted:
                    self._found[Subtree(level, number)] = node
                if not number & 1:
                    break
                level, number, node = level + 1, number >> 1, node_hash(self._open.pop(), node)
            self._open.append(node)
            self._size += 1

    def __call__(self, subtree: Subtree) -> bytes:
        """The root of a subtree that was wanted, once its leaves were added."""
        return self._found[subtree]


def parse_tile_path(path: str) -> Tile:
    """The tile a name stands for, in its one spelling. Raises MalformedError."""
    found = PATH.fullmatch(path)
    if found:
        level = ENTRIES if found["level"] == "entries" else int(found["level"])
        number = int(found["number"].replace("x", "").replace("/", ""))
        tile = Tile(level, number, int(found["width"] or TILE_WIDTH))
        # Width 256 spelt out, or a leading group x000, is another spelling of another name.
        if level <= LEVEL_MAX and tile.width <= TILE_WIDTH and tile.path == path:
            return tile
    raise MalformedError(f"not the name of a tile: {path[:200]!r}")


def tile_at(level: int, number: int, size: int) -> Tile | None:
    """Tile `number` of a level, as wide as it is in a tree of `size` leaves; None if empty."""
    width = min(_count(level, size) - number * TILE_WIDTH, TILE_WIDTH)
    return Tile(level, number, width) if width > 0 else None


def new_tiles(old: int, new: int) -> Iterator[Tile]:
    """What a log of `new` leaves has and one of `old` has not: bundles first, levels upwards."""
    level = ENTRIES
    while (had := _count(level, old)) < (has := _count(level, new)):
        for number in range(had // TILE_WIDTH, has // TILE_WIDTH):
            yield Tile(level, number)
        if has % TILE_WIDTH:
            yield Tile(level, has // TILE_WIDTH, has % TILE_WIDTH)
        level += 1


def tile_of(subtree: Subtree, stored: int) -> Tile:
    """The tile a subtree's root is read from, in a tree of `stored` leaves.

    Raises:
        ValueError: the tree does not reach that far.
    """
    level, height = divmod(subtree.level, TILE_HEIGHT)
    tile = tile_at(level, (subtree.number << height) // TILE_WIDTH, stored)
    if tile is None or (subtree.number + 1) << subtree.level > stored:
        raise ValueError(f"a tree of {stored} leaves has no complete {subtree}")
    return tile


def tile_hashes(body: bytes, width: int) -> list[bytes]:
    """The hashes in a tile. Raises MalformedError where they are not `width`."""
    if len(body) != width * HASH_BYTES:
        raise MalformedError(f"a tile of {width} hashes with {len(body)} bytes")
    return [body[at : at + HASH_BYTES] for at in range(0, len(body), HASH_BYTES)]


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = hash_pairs(row)
    return row[0]


def inclusion_plan(index: int, size: int) -> ProofPlan:
    """How leaf `index` is proved in the tree of `size` leaves: sibling of the leaf first.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    low, high = 0, size
    ranges = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return _plan(reversed(ranges))


def consistency_plan(old: int, new: int) -> ProofPlan:
    """How the tree of `new` leaves is proved to begin with the one of `old` (RFC 6962 §2.1.2).

    Raises:
        ValueError: not 0 < old <= new; nothing is proved from size 0.
    """
    if not 0 < old <= new:
        raise ValueError(f"no consistency proof leads from size {old} to size {new}")
    low, high = 0, new
    ranges = []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:
        ranges.append((low, high))
    return _plan(reversed(ranges))


def frontier_plan(size: int) -> ProofPlan:
    """The compact range of [0, size): a group of one subtree for each of its hashes."""
    return ProofPlan(tuple((subtree,) for subtree in _subtrees(0, size)))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each behind its length as two bytes, the most significant first."""
    if not 0 < len(entries) <= TILE_WIDTH or max(map(len, entries)) > ENTRY_BYTES_MAX:
        raise ValueError(f"expected 1 to {TILE_WIDTH} entries of at most {ENTRY_BYTES_MAX} bytes")
    return b"".join([len(entry).to_bytes(LENGTH_BYTES) + entry for entry in entries])


def decode_bundle(body: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. Raises MalformedError where they are not `width`, and no more."""
    entries = []
    at = 0
    for _ in range(width):
        first = at + LENGTH_BYTES
        at = first + int.from_bytes(body[at:first])
        entries.append(body[first:at])
        if at > len(body) or first > len(body):
            raise MalformedError(f"a bundle of {width} entries that ends within one")
    if at != len(body):
        raise MalformedError(f"{len(body) - at} bytes behind the {width} entries of a bundle")
    return entries


def _count(level: int, size: int) -> int:
    """How many hashes, or entries, a level of tiles has."""
    return size >> TILE_HEIGHT * max(level, 0)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _plan(ranges: Iterable[tuple[int, int]]) -> ProofPlan:
    return ProofPlan(tuple(tuple(_subtrees(low, high)) for low, high in ranges))


def _subtrees(low: int, high: int) -> Iterator[Subtree]:
    """The complete subtrees of [low, high), largest first; `low` is a multiple of the first."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield Subtree(level, low >> level)
        low += 1 << level
