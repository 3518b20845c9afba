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
    Subtree,
    TileNodes,
    frontier_plan,
    tile_at,
)
from streams.errors import BreakError, ObjectExistsError, TransientError
from streams.ports import PublicStore
from streams.segments import tiles_prefix
from streams.static_log import CHECKPOINT, StaticLog, first_leaf

__all__ = ["Edge", "Standing", "TileStore"]

WRITES_MAX = 16  # at once
RACES_MAX = 20
LEVEL_BITS = 8


class Standing(NamedTuple):
    """The published checkpoint: what it says, the note, and the tag to replace it by."""

    text: CheckpointText
    note: str
    tag: str


class Edge(NamedTuple):
    """The right edge under a published checkpoint.

    Attributes:
        checkpoint: the note, with its compact range.
        last_leaf: the hash of leaf size - 1.
        rows: the hashes in the partial tile of each level.
        entries: the entries in the partial bundle.
    """

    checkpoint: Checkpoint
    last_leaf: bytes
    rows: list[list[bytes]]
    entries: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileStore:
    """The static log of one origin. `keys` are those that sign its checkpoints."""

    objects: PublicStore
    origin: str
    keys: TrustedKeys

    async def standing(self) -> Standing | None:
        """The published checkpoint, None where there is none.

        Raises:
            BreakError: what stands there is no checkpoint of this log.
            TransientError: try again.
        """
        published = await self._files.checkpoint()
        if published is None:
            return None
        try:
            note = published.body.decode()
        except UnicodeDecodeError as error:
            raise BreakError("altered", 0, "the published checkpoint is no text") from error
        return Standing(open_note(note, self.origin, self.keys), note, published.tag)

    async def edge(self, standing: Standing) -> Edge:
        """What stands under the published checkpoint, checked against it.

        Raises:
            BreakError: a file at the edge is missing, or is not what the checkpoint signs.
            TransientError: try again.
        """
        size = standing.text.size
        plan = frontier_plan(size)
        last = Subtree(0, size - 1)
        node = await self._files.nodes([*plan.subtrees, last], size)
        frontier = Frontier.of(size, plan.hashes(node))
        if frontier.root() != standing.text.root:
            raise BreakError("archive", 0, f"the tiles of {size} do not fold to its checkpoint")
        rows = [await self._row(level, size) for level in range(_levels(size))]
        entries: list[bytes] = []
        bundle = tile_at(ENTRIES, size // 256, size)
        if bundle is not None:
            entries = await self._files.entries(bundle)
            for index, (entry, leaf) in enumerate(
                zip(entries, rows[0], strict=True), first_leaf(bundle)
            ):
                if sha256(LEAF_PREFIX + entry).digest() != leaf:
                    raise BreakError("archive", index, f"the entry is not the leaf's")
        return Edge(Checkpoint(standing.note, frontier.nodes), node(last), rows, entries)
