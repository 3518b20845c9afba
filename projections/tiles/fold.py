"""The files of a static log, as a pure step over sealed records (C2SP tlog-tiles.md).

A file's name and bytes follow from the log alone, so whoever writes one writes the same. Held in
memory is what no full tile covers yet: at most 255 hashes a level, and 255 entries.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from projections.ports import SealedRecord
from streams.audit.leaf import leaf_entry
from streams.audit.tiles import ENTRIES, TILE_WIDTH, Tile, encode_bundle, tile_at, tile_root

__all__ = ["TileFile", "TileFold"]


class TileFile(NamedTuple):
    """A tile or an entry bundle, ready to be written."""

    tile: Tile
    body: bytes


class TileFold:
    """The right edge of the tree, and of the entries."""

    def __init__(self, rows: Sequence[list[bytes]] = (), entries: Sequence[bytes] = ()) -> None:
        """Begin behind what full tiles hold, from nothing by default.

        Args:
            rows: the hashes of the partial tile of each level, from level 0 on.
            entries: the entries of the partial bundle.
        """
        self.size = 0
        self._rows = [_Row(level) for level in range(len(rows))]
        self._entries = list(entries)

    @classmethod
    def at(
        cls, size: int, rows: Sequence[list[bytes]], entries: Sequence[bytes]
    ) -> "TileFold":
        raise NotImplementedError
