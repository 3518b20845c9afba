"""Proofs about one log, from its tiles or from the log itself.

From tiles a proof costs a handful of reads at any size. Without them, that one record is in the
log follows from the two checkpoints around it, since each carries the tree before it; that two
sizes are consistent needs every leaf below the larger one. What comes out leads to the root it
names, by the same rules a verifier has; whether a signature is trusted is the verifier's to say.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.merkle import Frontier, fold
from streams.audit.proofs import (
    TlogProof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from streams.audit.tiles import (
    ProofPlan,
    StreamedNodes,
    Subtree,
    TileNodes,
    consistency_plan,
    frontier_plan,
    inclusion_plan,
)
from streams.audit.trail import Seal, Trail
from streams.errors import BreakError, SourceUnreadableError, VerificationError
from streams.history import find_record, pages, read_range
from streams.ports import PartitionReader
from streams.static_log import StaticLog

__all__ = [
    "Consistency",
    "Inclusion",
    "LoggedProofs",
    "TiledProofs",
]

FIRST_WINDOW = 256  # offsets read back at first; ×16 until the checkpoint before is in hand


class Inclusion(NamedTuple):
    """That the leaf with this hash is in the log, as `proof` shows; `text` is its checkpoint's."""

    leaf: bytes
    proof: TlogProof
    text: CheckpointText


class Consistency(NamedTuple):
    """That the tree of `sizes[1]` leaves begins with the one of `sizes[0]`, as `proof` shows."""

    sizes: tuple[int, int]
    roots: tuple[bytes, bytes]
    proof: tuple[bytes, ...]


class TiledProofs:
    """Proofs from a static log. None where it does not reach that far, or is not there."""

    def __init__(self, files: StaticLog, origin: str) -> None:
        self._files = files
        self._origin = origin

    async def size(self) -> int | None:
        """The size that is published."""
        published = await self._checkpoint()
        return None if published is None else published[0].size

    async def inclusion(self, index: int) -> Inclusion | None:
        """Record `index`, under the published checkpoint.

        Raises:
            BreakError: `archive`: the tiles are not what the checkpoint signs; or it is none.
            TransientError: they cannot be read.
        """
        published = await self._checkpoint()
        if published is None or index >= published[0].size:
            return None
        text, note = published
        plan = inclusion_plan(index, text.size)
        own = Subtree(0, index)
        node = await self._files.nodes([own, *plan.subtrees], text.size)
        proof = TlogProof(index, plan.hashes(node), note)
        try:
            verify_inclusion(index, text.size, node(own), proof.proof, text.root)
        except VerificationError as error:
            raise BreakError("archive", index, f"the tiles of {self._origin}: {error}") from error
        return Inclusion(node(own), proof, text)

    async def consistency(self, old: int, new: int) -> Consistency | None:
        """Two sizes of the log. Raises as `inclusion`."""
        published = await self._checkpoint()
        if published is None or new > published[0].size:
            return None
        text, _ = published
        whole, plans = frontier_plan(text.size), _ConsistencyPlans.of(old, new)
        node = await self._files.nodes(plans.subtrees | whole.subtrees, text.size)
        if fold(whole.hashes(node)) != text.root:
            detail = f"the tiles of {self._origin} do not fold to the published checkpoint"
            raise BreakError("archive", 0, detail)
        try:
            return plans.consistency(node)
        except VerificationError as error:
            raise BreakError("archive", old, f"the tiles of {self._origin}: {error}") from error

    async def _checkpoint(self) -> tuple[CheckpointText, str] | None:
        published = await self._files.checkpoint()
        if published is None:
            return None
        note = published.body.decode("utf-8", "replace")
        return open_note(note, self._origin, None), note


class LoggedProofs:
    """Proofs from an audit partition, every record on the way hashed again."""

    def __init__(self, reader: PartitionReader, origin: str) -> None:
        self._reader = reader
        self._origin = origin

    async def inclusion(self, index: int) -> Inclusion:
        """Record `index`, under the first checkpoint that covers it.

        Raises:
            SourceUnreadableError: there is no such record, or no checkpoint covers it yet.
            BreakError: the log does not hold there.
            TransientError: it cannot be read.
        """
        found = await find_record(self._reader, index)
        if found is None:
            raise SourceUnreadableError(f"{self._origin} has no record {index}")
        opening, rows = await self._before(found[0].offset)
        trail = Trail(self._origin, None, opening)
        async for page in await self._pages(found[0].offset):
            for row in [*rows, *page]:
                seal = trail.feed(row)
                if isinstance(seal, Seal) and seal.size > index:
                    return _sealed(seal, index)
            rows = []
        raise SourceUnreadableError(f"no checkpoint covers record {index} of {self._origin} yet")

    async def consistency(self, old: int, new: int) -> Consistency:
        """Two sizes of the log; reads all of it up to the larger one. Raises as `inclusion`."""
        plans = _ConsistencyPlans.of(old, new)
        node, trail = StreamedNodes(plans.subtrees), Trail(self._origin)
        async for page in await self._pages():
            for row in page:
                seal = trail.feed(row)
                if isinstance(seal, Seal):
                    node.add(seal.leaves)
                    if seal.size >= new:
                        return plans.consistency(node)
        raise SourceUnreadableError(f"{self._origin} has {trail.size} sealed records, not {new}")

    async def _before(self, offset: int) -> tuple[Checkpoint, list[Record]]:
        """The last checkpoint before a record, and all records behind what it covers."""
        start, back = (await self._reader.bounds()).start, FIRST_WINDOW
        while True:
            low = max(start, offset - back)
            rows = await read_range(self._reader, low, offset)
            values = [_value(row) for row in rows]
            last = next((v for v in reversed(values) if isinstance(v, Checkpoint)), None)
            if last is not None:
                size = open_note(last.note, self._origin, None).size
                behind = [
                    (value.index, row)
                    for value, row in zip(values, rows, strict=True)
                    if isinstance(value, AuditRecord) and value.index >= size
                ]
                if low == start or any(_is_below(value, size) for value in values):
                    return last, [row for _, row in behind]
            if low == start:
                raise BreakError("sequence", 0, "no checkpoint before the first record")
            back *= 16

    async def _pages(self, offset: int | None = None) -> AsyncIterator[list[Record]]:
        start, end, _ = await self._reader.bounds()
        return pages(self._reader, start if offset is None else offset, end)


class _ConsistencyPlans(NamedTuple):
    sizes: tuple[int, int]
    proof: ProofPlan
    frontiers: tuple[ProofPlan, ProofPlan]

    @classmethod
    def of(cls, old: int, new: int) -> "_ConsistencyPlans":
        frontiers = frontier_plan(old), frontier_plan(new)
        return cls((old, new), consistency_plan(old, new), frontiers)

    @property
    def subtrees(self) -> frozenset[Subtree]:
        old, new = self.frontiers
        return self.proof.subtrees | old.subtrees | new.subtrees

    def consistency(self, node: TileNodes | StreamedNodes) -> Consistency:
        old, new = (fold(plan.hashes(node)) for plan in self.frontiers)
        proof = self.proof.hashes(node)
        verify_consistency(self.sizes, (old, new), proof)
        return Consistency(self.sizes, (old, new), proof)


def _sealed(seal: Seal, index: int) -> Inclusion:
    before, note = Frontier.of(seal.first, seal.before), seal.checkpoint.note
    proof = TlogProof(index, inclusion_proof(before, seal.leaves, index), note)
    text = CheckpointText(seal.origin, seal.size, seal.root)
    return Inclusion(seal.leaves[index - seal.first], proof, text)


def _value(row: Record) -> AuditRecord | Checkpoint | None:
    try:
        return decode_audit_value(row.value or b"")
    except DecodeError:
        return None


def _is_below(value: AuditRecord | Checkpoint | None, size: int) -> bool:
    return isinstance(value, AuditRecord) and value.index < size
