"""A log read from its archive, verified segment by segment, as pieces for a copy.

Nothing of a segment is handed on before all of it was verified, by `streams.verifier`: what is
wrong with one stops the copy before its first row.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from projections.replay.fold import (
    LogPlan,
    Piece,
    StoredSegment,
    in_order,
    plan_archived,
    upto,
)
from schemas.audit_values import CHECKPOINT_HEAD, decode_audit_value, encode_checkpoint
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import BreakError, SourceUnreadableError
from streams.ports import ObjectStore
from streams.segments import ARCHIVE, read_segment
from streams.verifier import verified_segments
from streams.verifier.chain import Chain, ChainTerms, read_chain
from streams.verifier.holdings import HeldLog, held_logs, oldest

__all__ = ["ArchivedLog", "archived_logs"]


async def archived_logs(store: ObjectStore, base: str) -> list[str]:
    """The origins of a deployment's logs of which there is a segment, in order."""
    found = held_logs(await store.versions(f"{ARCHIVE}{base}/"))
    return [origin for origin, held in found.items() if held.segments]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedLog:
    """One log in an archive; `keys` sign it, and it must agree with `anchors`.

    `until`: the size at which the operator ended it, None for a log that goes on.
    """

    store: ObjectStore
    origin: str
    keys: TrustedKeys
    anchors: Sequence[CheckpointText] = ()
    until: int | None = None

    async def plan(self, begin: int) -> LogPlan:
        """What a copy from `begin` on reads, by the manifests alone. Raises TransientError."""
        faults: list[BreakError] = []
        chain, held = await self._chain(faults)
        stored = []
        for link in chain.links:
            segment = oldest(held.segments.get(link.first, ()))
            if segment is not None:
                size = link.closing.size if link.closing else 0
                stored.append(StoredSegment(link.first, size, segment.size))
        plan = plan_archived(self.origin, stored, begin)
        told = tuple(f"{fault.kind} at {fault.index}: {fault.detail}" for fault in faults)
        return plan._replace(missing=(*plan.missing, *told)).ended(self.until)

    async def root_at(self, size: int) -> bytes | None:
        """The root of this size, where a segment closes at it; None elsewhere."""
        chain, _ = await self._chain([])
        return chain.closings.get(size)

    async def index_at(self, offset: int) -> int:
        """The index of the first archived audit record at or behind an audit offset."""
        return await self._first_with(lambda row: row.offset >= offset, f"at offset {offset}")

    async def index_since(self, time_ms: int) -> int:
        """The index of a record at or before which the first one of that time stands.

        By bisection over segments, as records' times usually rise; see `LiveLog.index_since`.
        """
        return await self._first_with(lambda row: row.timestamp >= time_ms, "of that time")

    async def pieces(self, begin: int) -> AsyncGenerator[Piece, None]:
        """Whole segments, from the one that holds `begin` on; see `LiveLog.pieces`.

        Raises:
            BreakError: the first fault of the archive from there on.
            TransientError, SettingsError: the store's.
        """
        is_first = True
        found = verified_segments(
            self.store, self.origin, self.keys, start=begin, anchors=self.anchors
        )
        async with aclosing(found) as segments:
            async for segment in segments:
                rows = in_order(segment.rows, segment.first)
                if is_first and segment.opening is not None:
                    # Its own time is that of a record before it; nothing vouches for one.
                    rows.insert(0, Record(-1, 0, None, encode_checkpoint(segment.opening)))
                is_first = False
                size = segment.size if self.until is None else min(segment.size, self.until)
                yield Piece(upto(rows, self.until), size)
                if size != segment.size or size == self.until:
                    return

    async def _chain(self, faults: list[BreakError]) -> tuple[Chain, HeldLog]:
        listed = held_logs(await self.store.versions(f"{ARCHIVE}{self.origin}/"))
        held = listed.get(self.origin) or HeldLog.empty(self.origin)
        terms = ChainTerms(self.keys, locked=False, now=datetime.fromtimestamp(0, UTC))
        return await read_chain(self.store, held, terms, faults.append), held

    async def _first_with(self, is_reached: Callable[[Record], bool], what: str) -> int:
        _, held = await self._chain([])
        firsts = [first for first in held.firsts if oldest(held.segments.get(first, ()))]
        low, high = 0, len(firsts)
        while low < high:
            middle = (low + high) // 2
            rows = await self._rows(held, firsts[middle])
            if is_reached(next(row for row in rows if _is_record(row))):
                high = middle
            else:
                low = middle + 1
        for first in firsts[max(low - 1, 0) : low + 1]:
            for row in await self._rows(held, first):
                if _is_record(row) and is_reached(row):
                    return _index_of(row)
        raise SourceUnreadableError(f"no archived record of {self.origin} is {what} or later")

    async def _rows(self, held: HeldLog, first: int) -> list[Record]:
        """The rows of a segment, unverified: they only say where to begin."""
        kept = oldest(held.segments[first])
        data = kept and await self.store.get(kept.key, kept.version_id)
        if data is None:
            raise SourceUnreadableError(f"the segment of {first} of {self.origin} is not there")
        return read_segment(data, first=first).rows


def _is_record(row: Record) -> bool:
    return not (row.value or b"").startswith(CHECKPOINT_HEAD)


def _index_of(row: Record) -> int:
    value = decode_audit_value(row.value or b"")
    assert isinstance(value, AuditRecord)
    return value.index
