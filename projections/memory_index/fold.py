"""From sealed memory mutations to what is remembered: nodes, holds, expiry.

Rules, all pure functions of the log:

- UPSERT and DELETE count if their version is above the node's; the same or an older one changes
  nothing, before and after the node was deleted.
- HOLD and RELEASE set or end a legal hold, unless their version is below that of the last one. A
  held node is neither deleted nor expired; what was asked for meanwhile happens at its release.
- A node expires when the record time reaches its `expires_at`. Record time is the greatest
  timestamp of any leaf so far: it never goes back.
- The first vector of a (tenant, namespace) fixes its dimension for ever.
- A fork of the log ends nothing: the next epoch goes on with what the one before it remembers.

The state holds no vectors: effects carry them to `graph`.
"""

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from projections.ports import SealedRecord
from schemas.audit_values import decode_content
from schemas.codec import BUILT_IN, SchemaLookup, decode_mutation
from schemas.errors import RejectedInput
from schemas.events import MemoryMutation, Operation
from schemas.records import Plain, Record

__all__ = ["Drop", "Effect", "MemoryFold", "MemoryTallies", "Node", "Put", "Rejected", "Space"]

Space = tuple[str, str]
"""Tenant and namespace."""


@dataclass(slots=True)
class Node:
    """One memory. `leaf` of `origin` sealed its content; `doomed`: deleted when its hold ends."""

    version: int = -1
    hold_version: int = -1
    alive: bool = False
    held: bool = False
    doomed: bool = False
    leaf: int = -1
    origin: str = ""
    owner: str = ""
    metadata_json: str = ""
    expires_at: int | None = None


class Put(NamedTuple):
    """A node has this vector now, of length 1."""

    space: Space
    node_id: str
    vector: NDArray[np.float32]


class Drop(NamedTuple):
    """A node's vector must be gone."""

    space: Space
    node_id: str


Effect = Put | Drop


class Rejected(NamedTuple):
    """A mutation that decodes but cannot be applied, and why."""

    leaf: int
    space: Space
    node_id: str
    reason: str


@dataclass(slots=True)
class MemoryTallies:
    """What happened so far. `repeated` mutations had nothing new."""

    leaves: int = 0
    unreadable: int = 0
    applied: int = 0
    repeated: int = 0
    rejected: int = 0
    expired: int = 0


class _Expiry(NamedTuple):
    at: int
    space: Space
    node_id: str


class MemoryFold:
    """The state of one partition's memories; changed in place."""

    def __init__(self, schemas: SchemaLookup = BUILT_IN, origin: str = "") -> None:
        """`origin`: of the log whose leaves come next."""
        self._schemas = schemas
        self._origin = origin
        self._nodes: dict[Space, dict[str, Node]] = {}
        self._dimensions: dict[Space, int] = {}
        self._expiries: list[_Expiry] = []
        self._now = 0
        self._rejected: list[Rejected] = []
        self.tallies = MemoryTallies()

    def carried(self, schemas: SchemaLookup, origin: str) -> "MemoryFold":
        """A copy that goes on with the first leaf of the next epoch's log."""
        fold = MemoryFold(schemas, origin)
        fold._nodes = {
            space: {node_id: replace(node) for node_id, node in nodes.items()}
            for space, nodes in self._nodes.items()
        }
        fold._dimensions = dict(self._dimensions)
        fold._expiries = list(self._expiries)
        fold._now = self._now
        return fold

    def node(self, space: Space, node_id: str) -> Node | None:
        """A living node."""
        node = self._nodes.get(space, {}).get(node_id)
        return node if node is not None and node.alive else None

    def dimension(self, space: Space) -> int | None:
        """How many components the vectors of a namespace have; None before its first."""
        return self._dimensions.get(space)

    def rejected(self) -> list[Rejected]:
        """What was rejected since the last time this was asked."""
        taken, self._rejected = self._rejected, []
        return taken

    def apply(self, record: SealedRecord) -> list[Effect]:
        """Apply one leaf; what it changes about vectors, in order."""
        self.tallies.leaves += 1
        self._now = max(self._now, record.source.timestamp * 1000)
        effects = self._expire()
        mutation = self._decoded(record)
        if mutation is not None:
            effects += self._mutate(record.index, mutation)
        return effects

    def _decoded(self, record: SealedRecord) -> MemoryMutation | None:
        """The mutation of a leaf; None is as if it held none: dead letters are told elsewhere."""
        try:
            content = decode_content(record.content)
            if isinstance(content, Plain):
                source = Record(record.source.offset, record.source.timestamp, *content)
                return decode_mutation(source, self._schemas)
        except RejectedInput:
            pass
        self.tallies.unreadable += 1
        return None

    def _mutate(self, leaf: int, mutation: MemoryMutation) -> list[Effect]:
        space = mutation.tenant, mutation.namespace
        match mutation.operation:
            case Operation.UPSERT:
                return self._upsert(leaf, space, mutation)
            case Operation.DELETE:
                return self._delete(space, mutation)
            case Operation.HOLD | Operation.RELEASE:
                return self._hold(space, mutation)
            case Operation.UNKNOWN:
                raise AssertionError("an operation that no valid mutation has")

    def _upsert(self, leaf: int, space: Space, mutation: MemoryMutation) -> list[Effect]:
        vector = np.frombuffer(mutation.vector or b"", "<f4").astype(np.float64)
        expected = self._dimensions.get(space, mutation.dimension)
        if mutation.dimension != expected:
            reason = f"{mutation.dimension} components, vectors of the namespace have {expected}"
            return self._reject(leaf, space, mutation.node_id, reason)
        node = self._known(space, mutation.node_id)
        if mutation.version <= node.version:
            self.tallies.repeated += 1
            return []
        self._dimensions[space] = expected
        node.version, node.alive, node.doomed = mutation.version, True, False
        node.leaf, node.origin = leaf, self._origin
        node.owner, node.metadata_json = mutation.owner, mutation.metadata_json
        node.expires_at = mutation.expires_at
        self.tallies.applied += 1
        if node.expires_at is not None:
            heappush(self._expiries, _Expiry(node.expires_at, space, mutation.node_id))
        unit = (vector / np.sqrt(vector @ vector)).astype(np.float32)
        return [Put(space, mutation.node_id, unit), *self._expire()]

    def _delete(self, space: Space, mutation: MemoryMutation) -> list[Effect]:
        node = self._known(space, mutation.node_id)
        if mutation.version <= node.version:
            self.tallies.repeated += 1
            return []
        node.version = mutation.version
        self.tallies.applied += 1
        if node.held:
            node.doomed = node.alive
            return []
        return self._forget(space, mutation.node_id, node)

    def _hold(self, space: Space, mutation: MemoryMutation) -> list[Effect]:
        node = self._known(space, mutation.node_id)
        if mutation.version < node.hold_version:
            self.tallies.repeated += 1
            return []
        node.hold_version = mutation.version
        node.held = mutation.operation is Operation.HOLD
        self.tallies.applied += 1
        if node.held or not node.alive:
            return []
        expired = node.expires_at is not None and node.expires_at <= self._now
        if not node.doomed and not expired:
            return []
        self.tallies.expired += not node.doomed
        return self._forget(space, mutation.node_id, node)

    def _expire(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._expiries and self._expiries[0].at <= self._now:
            at, space, node_id = heappop(self._expiries)
            node = self._nodes[space][node_id]
            # A newer version may expire at another time; a held one is looked at at its release.
            if node.alive and node.expires_at == at and not node.held:
                self.tallies.expired += 1
                effects += self._forget(space, node_id, node)
        return effects

    def _forget(self, space: Space, node_id: str, node: Node) -> list[Effect]:
        """Keep of a node what its next mutation is judged by: its versions and its hold."""
        if not node.alive:
            return []
        node.alive = node.doomed = False
        node.owner = node.metadata_json = ""
        node.expires_at = None
        return [Drop(space, node_id)]

    def _reject(self, leaf: int, space: Space, node_id: str, reason: str) -> list[Effect]:
        self.tallies.rejected += 1
        self._rejected.append(Rejected(leaf, space, node_id, reason))
        return []

    def _known(self, space: Space, node_id: str) -> Node:
        return self._nodes.setdefault(space, {}).setdefault(node_id, Node())
