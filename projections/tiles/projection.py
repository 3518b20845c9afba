"""The tiles projection: sealed batches in, a static log out, published now and then.

Its position is the published checkpoint: what was written behind it is computed again after a
crash, and found standing. Full files are written as they fill. A checkpoint, with the partial
files it needs, is published when the log is quiet, or when much is unpublished, or for long: each
partial file stays, so it is not done at every checkpoint of the log.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from projections.ports import Position, SealedBatch
from projections.tiles.fold import TileFile, TileFold
from projections.tiles.store import TileStore
from streams.audit.anchoring import AnchorWalk
from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import Frontier
from streams.audit.note import TrustedKeys
from streams.audit.tiles import Tile
from streams.errors import RollbackError
from streams.history import find_record
from streams.ports import Clock, PartitionReader, PublicStore

__all__ = ["PublishRules", "TilesProjection", "TilesWorld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRules:
    """When a checkpoint is published before the log is quiet.

    Attributes:
        records_max: leaves that no published checkpoint covers.
        age_s_max: seconds since the first of them.
        held_max: full files held in memory, of 8 KiB, or bundles of at most 97 KiB.
    """

    records_max: int = 65_536
    age_s_max: float = 60
    held_max: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TilesWorld:
    """One log. `keys` sign its checkpoints; `open_reader` reads its audit partition.

    `ended_at`: the size at which an operator ended the log, None while nobody did.
    """

    objects: PublicStore
    keys: TrustedKeys
    clock: Clock
    open_reader: Callable[[], PartitionReader]
    rules: PublishRules = field(default_factory=PublishRules)
    ended_at: Callable[[], int | None] = lambda: None


class TilesProjection:
    """Keeps the static log of one origin. Others may do so at the same time."""

    def __init__(self, world: TilesWorld, origin: str) -> None:
        self._world = world
        self._store = TileStore(objects=world.objects, origin=origin, keys=world.keys)
        self._fold = TileFold()
        self._files: list[TileFile] = []  # full, and not written
        self._partial: set[Tile] = set()  # written for the published checkpoint
        self._size = 0  # what is published
        self._ahead: CheckpointText | None = None  # published by another writer
        self._newest: tuple[CheckpointText, str] | None = None  # not published yet
        self._since = 0.0

    async def resume(self) -> Position:
        """Read the published checkpoint, and the edge of the tree below it.

        Raises:
            VerificationError: what is published is not what was published, or the log is shorter.
            TransientError: open anew.
        """
        published = await self._store.published()
        if published is None or published.text.size == 0:
            return self._begin(TileFold(), Position(0, None, None))
        size = published.text.size
        edge = await self._store.edge(published)
        position = Position(size, edge.checkpoint, await self._offset(size))
        return self._begin(TileFold(size, edge.rows, edge.entries), position)

    async def apply(self, batch: SealedBatch) -> None:
        """Take one batch; write the files it fills, and publish where it is time.

        Raises:
            VerificationError: the log differs from what is published of it.
            TransientError, OutcomeUnknownError: open anew; nothing is lost.
        """
        if self._ahead is not None:
            self._compare(batch, self._ahead)
        self._files += self._fold.add(batch.records)
        if self._newest is None:
            self._since = self._world.clock.monotonic()
        self._newest = CheckpointText(batch.origin, batch.size, batch.root), batch.checkpoint.note
        if self._is_due():
            await self._publish()
        elif len(self._files) >= self._world.rules.held_max:
            await self._store.put(self._files)
            self._files.clear()

    async def idle(self) -> None:
        """Publish what is there; the log was quiet for a while. Raises as `apply`."""
        if self._newest is not None:
            await self._publish()

    async def close(self) -> None:
        """What is not published is computed again."""
        self._begin(TileFold(), Position(0, None, None))

    def _begin(self, fold: TileFold, position: Position) -> Position:
        self._fold = fold
        self._files.clear()
        self._partial.clear()
        self._size = position.index
        self._ahead = self._newest = None
        return position

    async def _offset(self, size: int) -> int | None:
        ended_at = self._world.ended_at()
        if ended_at is not None and size > ended_at:
            return None  # what is published behind the fork may be what the log lost
        reader = self._world.open_reader()
        try:
            found = await find_record(reader, size - 1)
        finally:
            await reader.close()
        if found is None:
            raise RollbackError(
                f"the log ends before record {size - 1}, which its published checkpoint covers"
            )
        return found[0].offset + 1

    def _compare(self, batch: SealedBatch, ahead: CheckpointText) -> None:
        before = Frontier.of(batch.first, batch.before)
        leaves = [record.leaf for record in batch.records]
        for found in AnchorWalk([ahead]).pass_by(before, leaves, batch.size):
            raise found

    def _is_due(self) -> bool:
        rules = self._world.rules
        return (
            self._fold.size - self._size >= rules.records_max
            or self._world.clock.monotonic() - self._since >= rules.age_s_max
        )

    async def _publish(self) -> None:
        assert self._newest is not None
        text, note = self._newest
        if text.size == 0:
            return
        partial = self._fold.partial()
        await self._store.put(
            [*self._files, *(file for file in partial if file.tile not in self._partial)]
        )
        # Now all that the checkpoint covers stands; a crash here leaves files that fit the next.
        published = await self._store.publish(text, note)
        self._files.clear()
        self._partial = {file.tile for file in partial}
        self._size = published.text.size
        self._newest = None
        # What another writer published is compared when the log gets there.
        self._ahead = published.text if published.text.size > text.size else None
