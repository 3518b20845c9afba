"""What a log lost of its end, planned again from what is left of it elsewhere.

A log that is shorter than what was posted or anchored of it lost an acknowledged suffix. Its
leaves are a pure function of the source, so they are planned again from there; what retention took
of the source since is read from the archive's segments. Neither is trusted: only the root they
lead to says that they are the leaves that were lost. Nothing is ever made up for what is missing.

They are planned twice. The first time only leaf hashes are kept, and the root is compared; the
second time, when they are appended, each must be what it was the first time.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Record
from streams.audit.merkle import Frontier
from streams.audit.sealing import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_RECORDS_MAX,
    Plan,
    fitting,
    plan_again,
    plan_batch,
)
from streams.errors import (
    BreakError,
    OutcomeUnknownError,
    RollbackError,
    SourceChangedError,
    TransientError,
)
from streams.ports import Fetched, ObjectStore, SourcePartition
from streams.segments import SegmentReader, parse_object_name, segments_prefix
from streams.source_checks import NO_EPOCH

__all__ = ["Known", "Lost", "Missing", "Restored", "find_missing"]

WAIT_MS = 50
EMPTY_ANSWERS = 100
HASH_BYTES = 32


class Known(NamedTuple):
    """A size and root that a log once had; `what` says who remembers it."""

    size: int
    root: bytes
    what: str


class Restored(NamedTuple):
    """One transaction of lost records, the source offset behind its last one, its leader epoch."""

    plan: Plan
    offset: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A log that is too short: `frontier` is what it has, `offset` the next one of its source."""

    origin: str
    source: SourcePartition
    objects: ObjectStore
    frontier: Frontier
    offset: int

    async def plans(
        self, size: int, most: int = TRANSACTION_RECORDS_MAX
    ) -> AsyncIterator[Restored]:
        """Plan up to `size` leaves, fewer where neither source nor archive has more.

        Args:
            size: the size the log had.
            most: records of one transaction.
        """
        frontier, offset = self.frontier, self.offset
        start = (await self.source.bounds()).start
        if start > offset:
            async for restored in self._from_archive(size, most):
                yield restored
                frontier, offset = restored.plan.frontier, restored.offset
        # Markers may lie between; whether records do, the root tells.
        async for restored in self._from_source(frontier, max(start, offset), (size, most)):
            yield restored

    async def _from_source(
        self, frontier: Frontier, offset: int, limits: tuple[int, int]
    ) -> AsyncIterator[Restored]:
        size, most = limits
        source = self.source
        while frontier.size < size:
            want = min(most, TRANSACTION_RECORDS_MAX, size - frontier.size)
            fetched = await self._page(offset, want)
            if fetched is None:
                return
            held = deque(fetched.records)
            while held:
                batch = [held.popleft() for _ in range(fitting(held, want))]
                plan = plan_batch(frontier, source.topic, source.partition, batch)
                frontier = plan.frontier
                yield Restored(plan, batch[-1].offset + 1, fetched.epoch)
            offset = fetched.next_offset

    async def _page(self, offset: int, most: int) -> Fetched | None:
        """Some of the source from `offset` on, None where it ends before or there."""
        source = self.source
        for _ in range(EMPTY_ANSWERS):
            try:
                fetched = await source.fetch(offset, max_records=most, max_wait_ms=WAIT_MS)
            except SourceChangedError as error:
                now = await source.bounds()
                if offset < now.start:
                    raise TransientError(f"retention passes what is restored: {error}") from error
                if offset <= now.high_watermark:
                    raise
                return None
            if fetched.next_offset > offset:
                return fetched
            if offset >= (await source.bounds()).end:
                return None
        raise TransientError(f"{source.topic}/{source.partition} answers nothing at {offset}")

    async def _from_archive(self, size: int, most: int) -> AsyncIterator[Restored]:
        frontier = self.frontier
        for key, version_id, first in await self._segments():
            data = await self.objects.get(key, version_id)
            if data is None or first > frontier.size:
                return
            for records in _transactions(_records(data, first, frontier.size, size), most):
                try:
                    plan = plan_again(frontier, records)
                except ValueError:
                    return
                frontier = plan.frontier
                yield Restored(plan, records[-1].source.offset + 1, NO_EPOCH)
            if frontier.size >= size:
                return

    async def _segments(self) -> list[tuple[str, str, int]]:
        """Name, oldest version and first index of the segments that may hold what is lost."""
        oldest: dict[str, tuple[str, str, int]] = {}
        for version in await self.objects.versions(segments_prefix(self.origin)):
            name = parse_object_name(version.key)
            if name and name.kind == "segment" and not version.is_delete_marker:
                oldest.setdefault(version.key, (version.key, version.version_id, name.number))
        found = sorted(oldest.values(), key=lambda segment: segment[2])
        before = [at for at, segment in enumerate(found) if segment[2] <= self.frontier.size]
        return found[before[-1] :] if before else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The leaves a log lost, found again.

    Attributes:
        lost: where they are planned from.
        known: what they lead to.
        leaves: their hashes, one after another.
        offset: the source offset behind the last of them.
    """

    lost: Lost
    known: Known
    leaves: bytes
    offset: int

    async def plans(self, most: int) -> AsyncIterator[Restored]:
        """Plan them once more, to be appended, at most `most` records a transaction.

        Raises:
            OutcomeUnknownError: they are not any more what they were: recover, and judge anew.
        """
        first, size = self.lost.frontier.size, self.lost.frontier.size
        async for restored in self.lost.plans(self.known.size, most):
            low, high = size - first, restored.plan.frontier.size - first
            due = self.leaves[low * HASH_BYTES : high * HASH_BYTES]
            if b"".join(restored.plan.leaves) != due:
                break
            yield restored
            size = restored.plan.frontier.size
        if size != self.known.size:
            raise OutcomeUnknownError(
                f"{self.lost.origin}: source or archive changed while lost leaves were restored"
            )


async def find_missing(lost: Lost, known: list[Known]) -> Missing | None:
    """Find the leaves up to the largest of `known`, None where the log has them.

    Raises:
        RollbackError: neither source nor archive has them, or they lead to another root.
        TransientError: ask again.
    """
    longest = max(known, key=lambda one: one.size, default=None)
    if longest is None or longest.size <= lost.frontier.size:
        return None
    leaves, offset, frontier = bytearray(), lost.offset, lost.frontier
    async for restored in lost.plans(longest.size):
        leaves += b"".join(restored.plan.leaves)
        frontier, offset = restored.plan.frontier, restored.offset
    if frontier.size < longest.size:
        raise RollbackError(
            f"{lost.origin} has {lost.frontier.size} records, {longest.what} covers "
            f"{longest.size}: the audit topic lost its end, and source and archive together hold "
            f"no more than {frontier.size}; keep it as evidence and fork the log"
        )
    missing = Missing(lost=lost, known=longest, leaves=bytes(leaves), offset=offset)
    for one in known:
        _check_root(missing, one)
    return missing


def _check_root(missing: Missing, known: Known) -> None:
    frontier = missing.lost.frontier.copy()
    if known.size < frontier.size:
        return
    count = known.size - frontier.size
    frontier.extend(
        missing.leaves[at : at + HASH_BYTES] for at in range(0, count * HASH_BYTES, HASH_BYTES)
    )
    if frontier.root() != known.root:
        raise RollbackError(
            f"{missing.lost.origin} has {missing.lost.frontier.size} records; planned again from "
            f"its source, size {known.size} has root {frontier.root().hex()}, {known.what} says "
            f"{known.root.hex()}: two histories; keep both as evidence and fork the log"
        )


def _records(data: bytes, first: int, low: int, end: int) -> Iterator[AuditRecord]:
    """The audit records [low, end) of a segment, as far as it can be read."""
    try:
        for rows in SegmentReader(BytesIO(data), first=first).batches():
            for row in rows:
                record = _audit_record(row)
                if record is not None and low <= record.index < end:
                    yield record
    except BreakError:
        return  # what is missing then, the sum of them tells


def _audit_record(row: Record) -> AuditRecord | None:
    try:
        value = decode_audit_value(row.value or b"")
    except DecodeError:
        return None
    return value if isinstance(value, AuditRecord) else None


def _transactions(records: Iterator[AuditRecord], most: int) -> Iterator[list[AuditRecord]]:
    batch: list[AuditRecord] = []
    total = 0
    for record in records:
        size = len(record.content)
        if batch and (len(batch) == most or total + size > TRANSACTION_BYTES_MAX):
            yield batch
            batch, total = [], 0
        batch.append(record)
        total += size
    if batch:
        yield batch
