"""One log as static files: reading its checkpoint, tiles and bundles (C2SP tlog-tiles.md).

What is read is checked for its shape alone. Whoever wants more folds it to a signed root: a proof
made of wrong tiles does not lead there.
"""

import asyncio
from collections.abc import Collection

from streams.audit.note import MalformedError
from streams.audit.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Subtree,
    Tile,
    TileNodes,
    decode_bundle,
    tile_hashes,
    tile_of,
)
from streams.errors import BreakError
from streams.ports import PublicStore, Published

__all__ = ["CHECKPOINT", "StaticLog", "first_leaf"]

CHECKPOINT = "checkpoint"
READS_MAX = 16  # at once


def first_leaf(tile: Tile) -> int:
    """The index of the first leaf under a tile."""
    return tile.number * TILE_WIDTH << TILE_HEIGHT * max(tile.level, 0)


class StaticLog:
    """The files below `prefix` in a store; `prefix` is empty or ends in `/`."""

    def __init__(self, objects: PublicStore, prefix: str) -> None:
        self._objects = objects
        self._prefix = prefix

    def key(self, path: str) -> str:
        """The object a file is."""
        return self._prefix + path

    async def checkpoint(self) -> Published | None:
        """The newest published checkpoint, as it stands; None where nothing is published."""
        return await self._objects.newest(self.key(CHECKPOINT))

    async def hashes(self, tile: Tile) -> list[bytes]:
        """The hashes in a tile; a partial one that was cleaned up is cut from the full one.

        Raises:
            BreakError: `archive`: there is no such tile, or it is none.
            TransientError: the store cannot be read.
        """
        standing, body = await self._standing(tile)
        try:
            return tile_hashes(body, standing.width)[: tile.width]
        except MalformedError as error:
            raise self._fault(standing, str(error)) from error

    async def entries(self, bundle: Tile) -> list[bytes]:
        """The entries in a bundle. Raises as `hashes`."""
        assert bundle.level == ENTRIES
        standing, body = await self._standing(bundle)
        try:
            return decode_bundle(body, standing.width)[: bundle.width]
        except MalformedError as error:
            raise self._fault(standing, str(error)) from error

    async def nodes(self, subtrees: Collection[Subtree], stored: int) -> TileNodes:
        """The roots of subtrees, where tiles stand for a tree of `stored` leaves.

        All tiles are read at once. Raises as `hashes`.
        """
        tiles = sorted({tile_of(subtree, stored) for subtree in subtrees})
        bodies: dict[Tile, bytes] = {}
        for at in range(0, len(tiles), READS_MAX):
            some = tiles[at : at + READS_MAX]
            found = await asyncio.gather(*map(self.hashes, some))
            bodies |= zip(some, map(b"".join, found), strict=True)
        return TileNodes(stored, bodies.__getitem__)

    async def _standing(self, tile: Tile) -> tuple[Tile, bytes]:
        for standing in (tile, tile.full):
            found = await self._objects.newest(self.key(standing.path))
            if found is not None:
                return standing, found.body
        raise self._fault(tile, "it is not there")

    def _fault(self, tile: Tile, detail: str) -> BreakError:
        return BreakError("archive", first_leaf(tile), f"{self.key(tile.path)}: {detail}")
