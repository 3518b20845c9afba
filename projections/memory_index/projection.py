"""The memory index of one log: what agents remember, in memory, rebuilt from leaf 0.

It publishes nothing, so nothing of it needs a writer: a crash loses nothing that the log does not
give back. The work is done on the event loop, in short chunks: see `decision_index.projection`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from projections.memory_index.fold import Drop, Effect, MemoryFold, MemoryTallies, Put, Space
from projections.memory_index.graph import EXACT_COMPONENTS, NamespaceVectors, Similar
from projections.ports import Position, SealedBatch
from schemas.codec import BUILT_IN, SchemaLookup
from streams.telemetry.logs import get_log
from streams.telemetry.metrics import MEMORIES_REJECTED

__all__ = ["Memory", "MemoryIndex", "MemoryQuery"]

CHUNK_RECORDS = 32  # between two yields to the event loop
log = get_log("memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryQuery:
    """A search in one namespace.

    Attributes:
        vector: as many numbers as the namespace's vectors have.
        k: how many memories at most.
        threshold: the least cosine similarity, -1 to 1.
        owner: memories of this owner only; empty for all.
    """

    tenant: str = ""
    namespace: str
    vector: Sequence[float]
    k: int = 10
    threshold: float = -1.0
    owner: str = ""


class Memory(NamedTuple):
    """A memory found, by the leaf of `origin` that sealed its content."""

    node_id: str
    similarity: float
    leaf: int
    origin: str
    version: int
    owner: str
    metadata_json: str
    expires_at: int | None
    held: bool


Remembered = tuple[MemoryFold, dict[Space, NamespaceVectors]]


class MemoryIndex:
    """Remembers, finds and forgets the memories of one partition, through one epoch of its log."""

    def __init__(
        self,
        schemas: SchemaLookup = BUILT_IN,
        exact_components: int = EXACT_COMPONENTS,
        *,
        origin: str = "",
        before: "MemoryIndex | None" = None,
    ) -> None:
        """Namespaces of up to `exact_components` numbers are searched without a graph.

        `origin`: of the log. `before`: the index of the epoch before, which has all of it.
        """
        self._schemas = schemas
        self._exact_components = exact_components
        self._origin = origin
        self._before = before
        self._fold = MemoryFold(schemas, origin)
        self._vectors: dict[Space, NamespaceVectors] = {}
        self._size = 0
        self._is_closed = False

    @property
    def size(self) -> int:
        """Leaves applied."""
        return self._size

    @property
    def tallies(self) -> MemoryTallies:
        """What happened since the last start."""
        return self._fold.tallies

    @property
    def memories(self) -> int:
        """Memories that can be found now."""
        return sum(map(len, self._vectors.values()))

    async def resume(self) -> Position:
        """Begin with what the epoch before remembers, or with nothing."""
        before = self._before
        if before is None:
            self._fold, self._vectors = MemoryFold(self._schemas, self._origin), {}
        else:
            # A copy: void records may be applied here, and this begins once more without them.
            self._fold, self._vectors = before.carried(self._schemas, self._origin)
        self._size = 0
        self._is_closed = False
        return Position(0, None, None)

    def carried(self, schemas: SchemaLookup, origin: str) -> Remembered:
        """A copy of all that is remembered, for the next epoch of the log."""
        vectors = {space: held.copy() for space, held in self._vectors.items()}
        return self._fold.carried(schemas, origin), vectors

    async def apply(self, batch: SealedBatch) -> None:
        """Apply one batch."""
        for number, record in enumerate(batch.records):
            for effect in self._fold.apply(record):
                self._effect(effect)
            if number % CHUNK_RECORDS == CHUNK_RECORDS - 1:
                await asyncio.sleep(0)
        for space, vectors in self._vectors.items():
            if vectors.wants_rebuild:
                await self._rebuild(space)
        self._size = batch.size
        for rejected in self._fold.rejected():
            MEMORIES_REJECTED.inc()
            log.warning("mutation rejected", leaf=rejected.leaf, why=rejected.reason)

    async def idle(self) -> None:
        """Let go of every vector that was dropped and is still in a graph."""
        for space, vectors in self._vectors.items():
            if vectors.stale:
                await self._rebuild(space)

    async def close(self) -> None:
        """Answer nothing any more. What is remembered stays: the next epoch may begin with it."""
        self._is_closed = True

    def search(self, query: MemoryQuery) -> list[Memory]:
        """The memories nearest to a vector, the most similar first.

        Raises:
            ValueError: the vector has no direction, or not the namespace's dimension.
        """
        space = query.tenant, query.namespace
        vectors = self._vectors.get(space)
        if vectors is None or self._is_closed:
            return []
        unit = _unit(query.vector, self._fold.dimension(space))
        accepts = None
        if query.owner:
            owner = query.owner

            def accepts(node_id: str) -> bool:
                node = self._fold.node(space, node_id)
                return node is not None and node.owner == owner

        found = vectors.nearest(unit, query.k, query.threshold, accepts)
        return [self._memory(space, similar) for similar in found]

    def _memory(self, space: Space, similar: Similar) -> Memory:
        node = self._fold.node(space, similar.node_id)
        assert node is not None, "a vector without node"
        return Memory(
            similar.node_id,
            similar.similarity,
            node.leaf,
            node.origin,
            node.version,
            node.owner,
            node.metadata_json,
            node.expires_at,
            node.held,
        )

    def _effect(self, effect: Effect) -> None:
        match effect:
            case Put(space, node_id, vector):
                if space not in self._vectors:
                    self._vectors[space] = NamespaceVectors(len(vector), self._exact_components)
                self._vectors[space].put(node_id, vector)
            case Drop(space, node_id):
                self._vectors[space].drop(node_id)

    async def _rebuild(self, space: Space) -> None:
        for _ in self._vectors[space].rebuild():
            await asyncio.sleep(0)


def _unit(vector: Sequence[float], dimension: int | None) -> np.typing.NDArray[np.float32]:
    try:
        given = np.asarray(vector, np.float64)
    except OverflowError as error:
        raise ValueError("a component is beyond what a number may be") from error
    if given.shape != (dimension,):
        raise ValueError(f"expected {dimension} components, got {given.shape}")
    length = float(np.sqrt(given @ given))
    if not np.isfinite(length) or length == 0.0:
        raise ValueError("a vector needs a finite length above 0")
    return (given / length).astype(np.float32)
