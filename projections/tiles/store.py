"""What is written of a static log, in which order, and what is found of an earlier writer.

Bundles, then tiles, then the checkpoint that covers them: so whatever a reader finds, every file
its checkpoint needs is there. A tile is written where nothing stands, and never changed; the same
bytes standing there already are taken for done. The checkpoint alone is replaced, on the tag of
what was read, and only by one that covers more: a writer that slept cannot bring back an old one.

Nothing here is locked. Every file but the checkpoint can be computed from the log or from the
archive, which are the evidence; whoever removes or changes one is found out by any reader's proof,
and costs a rebuild. A lock would make that rebuild impossible where somebody was there first.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from projections.tiles.fold import TileFile
from schemas.records import Checkpoint
from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.leaf import LEAF_PREFIX
from streams.audit.merkle import Frontier
from streams.audit.note import TrustedKeys, parse_note
from streams.audit.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    TileNodes,
    frontier_plan,
    tile_at,
)
from streams.errors import BreakError, ObjectExistsError, TransientError
from streams.ports import PublicStore
from streams.segments import tiles_prefix
from streams.static_log import CHECKPOINT, StaticLog, first_leaf

__all__ = ["Edge", "Published", "TileStore"]

WRITES_MAX = 16  # at once
RACES_MAX = 100  # each is lost to a writer that went on


class Published(NamedTuple):
    """The published checkpoint: what it says, the note, and the tag to replace it by."""

    text: CheckpointText
    note: str
    tag: str


class Edge(NamedTuple):
    """What a fold goes on from: the right edge under a published checkpoint.

    Attributes:
        checkpoint: the note, with its compact range.
        rows: the hashes in the partial tile of each level.
        entries: the entries in the partial bundle.
    """

    checkpoint: Checkpoint
    rows: list[list[bytes]]
    entries: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileStore:
    """The static log of one origin. `keys` are those that sign its checkpoints."""

    objects: PublicStore
    origin: str
    keys: TrustedKeys

    async def published(self) -> Published | None:
        """The published checkpoint, None where there is none.

        Raises:
            BreakError: what stands there is no checkpoint of this log.
            TransientError: try again.
        """
        found = await self._files.checkpoint()
        if found is None:
            return None
        try:
            note = found.body.decode()
        except UnicodeDecodeError as error:
            raise BreakError("altered", 0, "the published checkpoint is no text") from error
        return Published(open_note(note, self.origin, self.keys), note, found.tag)

    async def edge(self, published: Published) -> Edge:
        """What stands under the published checkpoint, checked against it.

        Raises:
            BreakError: `archive`: a file at the edge is missing, or not what the checkpoint signs.
            TransientError: try again.
        """
        size = published.text.size
        plan = frontier_plan(size)
        tiles = _edge_tiles(size)
        rows = [await self._files.hashes(tile) if tile else [] for tile in tiles]
        read = {tile: b"".join(row) for tile, row in zip(tiles, rows, strict=True)}
        frontier = Frontier.of(size, plan.hashes(TileNodes(size, read.__getitem__)))
        if frontier.root() != published.text.root:
            raise BreakError("archive", 0, f"the tiles of {size} do not fold to its checkpoint")
        entries: list[bytes] = []
        bundle = tile_at(ENTRIES, size // TILE_WIDTH, size)
        if bundle is not None:
            entries = await self._files.entries(bundle)
            for index, (entry, leaf) in enumerate(
                zip(entries, rows[0], strict=True), first_leaf(bundle)
            ):
                if sha256(LEAF_PREFIX + entry).digest() != leaf:
                    raise BreakError("archive", index, "the published entry is not the leaf's")
        return Edge(Checkpoint(published.note, frontier.nodes), rows, entries)

    async def put(self, files: Sequence[TileFile]) -> None:
        """Write bundles, then tiles. Some may be written where this raises.

        Raises:
            BreakError: `archive`: something else stands under one of the names.
            TransientError, OutcomeUnknownError: open anew.
        """
        bundles = [file for file in files if file.tile.level == ENTRIES]
        tiles = [file for file in files if file.tile.level != ENTRIES]
        for some in (bundles, tiles):
            for at in range(0, len(some), WRITES_MAX):
                # Each has ended, one way or another, before this goes on or raises.
                ended = await asyncio.gather(
                    *map(self._put, some[at : at + WRITES_MAX]), return_exceptions=True
                )
                for outcome in ended:
                    if outcome is not None:
                        raise outcome

    async def publish(self, text: CheckpointText, note: str) -> Published:
        """Put up a checkpoint, unless one stands that covers more; the one that stands then.

        Everything `text` covers must be written.

        Raises:
            BreakError: `fork`: one of the same size and another root stands; or as `published`.
            TransientError, OutcomeUnknownError: open anew.
        """
        for _ in range(RACES_MAX):
            published = await self.published()
            if published is not None and not _is_better(text, note, published):
                return published
            over = None if published is None else published.tag
            try:
                tag = await self.objects.replace(
                    self._files.key(CHECKPOINT), note.encode(), over=over
                )
            except ObjectExistsError:
                continue
            # Now readers find the new checkpoint, and under it everything written before.
            return Published(text, note, tag)
        raise TransientError(
            f"{self.origin}: others replace the published checkpoint all the time"
        )

    @property
    def _files(self) -> StaticLog:
        return StaticLog(self.objects, tiles_prefix(self.origin))

    async def _put(self, file: TileFile) -> None:
        key = self._files.key(file.tile.path)
        try:
            await self.objects.replace(key, file.body)
        except ObjectExistsError as error:
            detail = f"{key} stands there with other bytes than the log gives"
            raise BreakError("archive", first_leaf(file.tile), detail) from error


def _edge_tiles(size: int) -> list[Tile | None]:
    """The partial tile of each level, None where a level ends with a full one."""
    levels = range(-(-size.bit_length() // TILE_HEIGHT))
    return [tile_at(level, (size >> TILE_HEIGHT * level) // TILE_WIDTH, size) for level in levels]


def _is_better(text: CheckpointText, note: str, published: Published) -> bool:
    """Whether a checkpoint says more than the published one: leaves, or else signatures."""
    if text.size != published.text.size:
        return text.size > published.text.size
    if text.root != published.text.root:
        detail = f"a checkpoint of {text.size} is published, and it has another root"
        raise BreakError("fork", text.size, detail)
    return set(parse_note(note).lines) > set(parse_note(published.note).lines)
