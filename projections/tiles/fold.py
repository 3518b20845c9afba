"""The files of a static log, as a pure step over sealed records (C2SP tlog-tiles.md).

Name and bytes of a file follow from the log alone, so whoever writes one writes the same. In
memory is what no full tile covers yet: at most 255 hashes a level, and 255 entries.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from projections.ports import SealedRecord
from streams.audit.leaf import leaf_entry
from streams.audit.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, encode_bundle, tile_root

__all__ = ["TileFile", "TileFold"]


class TileFile(NamedTuple):
    """A tile or an entry bundle, ready to be written."""

    tile: Tile
    body: bytes


class TileFold:
    """The right edge of a tree of `size` leaves, and of its entries."""

    def __init__(
        self, size: int = 0, rows: Iterable[list[bytes]] = (), entries: Iterable[bytes] = ()
    ) -> None:
        """Begin behind what full tiles hold.

        Args:
            size: how many leaves there are.
            rows: the hashes in the partial tile of each level, from level 0 on.
            entries: the entries in the partial bundle.
        """
        self.size = size
        self._rows = [row.copy() for row in rows]
        self._entries = list(entries)

    def add(self, records: Sequence[SealedRecord]) -> list[TileFile]:
        """Take the records from index `size` on; the files that are full now."""
        self._entries += [leaf_entry(r.index, r.source, r.content) for r in records]
        files = []
        first = self.size // TILE_WIDTH
        for number, entries in enumerate(_cut(self._entries), first):
            files.append(TileFile(Tile(ENTRIES, number), encode_bundle(entries)))
        hashes, level = [r.leaf for r in records], 0
        while hashes:
            if level == len(self._rows):
                self._rows.append([])
            self._rows[level] += hashes
            first = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
            hashes = []
            for number, row in enumerate(_cut(self._rows[level]), first):
                files.append(TileFile(Tile(level, number), b"".join(row)))
                hashes.append(tile_root(row))
            level += 1
        self.size += len(records)
        return files

    def partial(self) -> list[TileFile]:
        """The files that a checkpoint of `size` needs besides the full ones."""
        files = []
        if self._entries:
            edge = Tile(ENTRIES, self.size // TILE_WIDTH, len(self._entries))
            files.append(TileFile(edge, encode_bundle(self._entries)))
        for level, row in enumerate(self._rows):
            if row:
                number = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
                files.append(TileFile(Tile(level, number, len(row)), b"".join(row)))
        return files


def _cut(row: list[bytes]) -> list[list[bytes]]:
    """Take the full runs off the front of `row`."""
    full = len(row) // TILE_WIDTH * TILE_WIDTH
    runs = [row[at : at + TILE_WIDTH] for at in range(0, full, TILE_WIDTH)]
    del row[:full]
    return runs
