"""From nothing known to a sealer that may append: one path for a first start and for every crash.

The steps are those of docs/explanation/sealing.md, in its order. Each either proves that what is
written next continues the one history, or raises why it cannot. Nothing is ever seeded from what
merely survived.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.audit_values import encode_content
from schemas.records import AuditRecord, Record
from streams.anchors import AnchorStore, Claim
from streams.audit.checkpoint import CheckpointText, make_note, open_note
from streams.audit.merkle import Frontier
from streams.audit.note import TrustedKeys
from streams.audit.recovery import LogTail
from streams.audit.sealing import checkpoint_record
from streams.errors import (
    BreakError,
    HangingTransactionError,
    IdentityError,
    PolicyError,
    RollbackError,
    SourceChangedError,
    SourceGapError,
    TransientError,
)
from streams.history import read_tail
from streams.ports import (
    Bounds,
    PartitionReader,
    PartitionWriter,
    Posted,
    Signer,
    SourcePartition,
    TopicFacts,
)

__all__ = ["LogWorld", "Recovered", "check_identity", "check_last_leaf", "recover", "signed_note"]

MARKERS_WAIT_S = 15.0  # a predecessor's abort markers may still be on their way
PAGE_RECORDS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWorld:
    """One log's surroundings. `make_writer` gives a writer that was never started."""

    origin: str
    source: SourcePartition
    audit: PartitionReader
    make_writer: Callable[[], PartitionWriter]
    anchors: AnchorStore
    signer: Signer
    keys: TrustedKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a start found: appending may go on behind `tail`, reading the source at `offset`."""

    writer: PartitionWriter
    claim: Claim
    tail: LogTail
    offset: int
    audit_end: int
    posted: Posted | None


async def signed_note(world: LogWorld, frontier: Frontier) -> str:
    """Sign the root over `frontier` and check the signature before anyone sees it.

    Raises:
        TransientError, SettingsError: no signature, or one the trusted keys do not verify. That
            is a fault of the signer: the log is as good as before, and nobody saw the answer.
    """
    text = CheckpointText(world.origin, frontier.size, frontier.root())
    signer = world.signer
    signature = await signer.sign(text.render().encode())
    note = make_note(text, signer.algorithm, signer.public_key, signature)
    try:
        open_note(note, world.origin, world.keys)
    except BreakError as error:
        raise TransientError(f"{signer!r} answers wrongly: {error.detail}") from error
    return note


async def recover(world: LogWorld, writer: PartitionWriter) -> Recovered:
    """Steps 1 to 6: fence, read back, claim, compare. Ends ready to append.

    Raises:
        VerificationError: the verdict that stops the partition.
        FencedError, OutcomeUnknownError, TransientError, NotOwnerError: recover again or let go.
    """
    await writer.start()
    # Now no predecessor can write, and whatever it left open is aborted.
    bounds = await _settled_bounds(world.audit)
    posted = await world.source.posted()
    anchor = await world.anchors.newest(world.origin, world.keys)
    bounds = await world.audit.bounds()
    tail = await read_tail(world.audit, bounds, world.origin, world.keys)
    claim = await _claim(world, tail, bounds)
    await check_identity(world, claim)
    _check_not_rolled_back(world.origin, tail, posted, anchor)
    if tail is None:
        tail, bounds = await _genesis(world, writer, bounds)
    last = tail.records[-1] if tail.records else None
    offset = last.source.offset + 1 if last else claim.first_offset
    source = await _check_against_source(world, tail.records)
    offset = _past_markers(world, tail, offset, posted, source)
    return Recovered(
        writer=writer, claim=claim, tail=tail, offset=offset, audit_end=bounds.end, posted=posted
    )


async def check_identity(world: LogWorld, claim: Claim) -> None:
    """Both topics are the claimed ones and keep their history. Repeated each minute."""
    source, audit = await world.source.facts(), await world.audit.facts()
    found = Claim(
        audit.cluster_id, audit.topic_id, source.cluster_id, source.topic_id, claim.first_offset
    )
    if found != claim:
        differing = ", ".join(
            f"{name} {was} became {now}"
            for name, was, now in zip(Claim._fields, claim, found, strict=True)
            if was != now
        )
        raise IdentityError(
            f"{world.origin}: {differing}; the topic was deleted and recreated, or another "
            "deployment uses this origin: fork the log, or restore the topic"
        )
    for topic, facts in ((world.source.topic, source), (world.audit.topic, audit)):
        _check_policy(topic, facts)


async def check_last_leaf(world: LogWorld, record: AuditRecord) -> None:
    """The last sealed record still is what the source holds, or retention took it."""
    await _check_against_source(world, [record])


def _check_policy(topic: str, facts: TopicFacts) -> None:
    if facts.cleanup_policy != "delete":
        raise PolicyError(
            f"cleanup.policy of {topic} is {facts.cleanup_policy!r}, expected 'delete': compaction"
            " removes records from the middle of history; set it to delete and start again"
        )


async def _settled_bounds(audit: PartitionReader) -> Bounds:
    deadline = asyncio.get_running_loop().time() + MARKERS_WAIT_S
    while True:
        bounds = await audit.bounds()
        if bounds.end == bounds.high_watermark:
            return bounds
        if asyncio.get_running_loop().time() > deadline:
            raise HangingTransactionError(
                f"a transaction hangs on {audit.topic}/{audit.partition}: committed end "
                f"{bounds.end}, high watermark {bounds.high_watermark}; abort it with "
                "kafka-transactions.sh and start again"
            )
        await asyncio.sleep(0.05)


async def _claim(world: LogWorld, tail: LogTail | None, bounds: Bounds) -> Claim:
    standing = await world.anchors.claim(world.origin)
    if standing is not None:
        return standing
    if tail is not None:
        raise IdentityError(
            f"{world.origin} holds {tail.committed.size} records but the archive has no claim "
            "of it: the archive was lost or is another one; give the right ATTESTREAM_ARCHIVE"
        )
    if bounds.start == bounds.end > 0:
        raise RollbackError(
            f"{world.audit.topic}/{world.audit.partition} was trimmed to nothing and nobody "
            f"claimed {world.origin}: recreate the audit topic, or give the archive it belongs to"
        )
    source, audit = await world.source.facts(), await world.audit.facts()
    first = (await world.source.bounds()).start
    mine = Claim(audit.cluster_id, audit.topic_id, source.cluster_id, source.topic_id, first)
    # Now whoever finds this claim with another audit topic in it stops: one origin, one log.
    return await world.anchors.make_claim(world.origin, mine)


async def _genesis(
    world: LogWorld, writer: PartitionWriter, bounds: Bounds
) -> tuple[LogTail, Bounds]:
    if bounds.start == bounds.end > 0:
        raise RollbackError(
            f"{world.audit.topic}/{world.audit.partition} was trimmed to nothing: an audit topic "
            "must keep everything; restore it from the archive"
        )
    empty = Frontier()
    row = checkpoint_record(await signed_note(world, empty), empty, 0)
    appended = await writer.append([row])
    # Now the log exists; a crash before this line leaves an aborted genesis and is done again.
    end = appended.last_offset + 1 + writer.marker_offsets
    return LogTail(empty, [], empty.copy(), 0), Bounds(bounds.start, end, end)


def _check_not_rolled_back(
    origin: str, tail: LogTail | None, posted: Posted | None, anchor: CheckpointText | None
) -> None:
    known = [("the posted position", posted.size, posted.root)] if posted else []
    known += [("the newest anchor", anchor.size, anchor.root)] if anchor else []
    size = tail.committed.size if tail else 0
    for what, known_size, root in known:
        if known_size > size:
            raise RollbackError(
                f"{origin} has {size} records, {what} covers {known_size}: the audit topic lost "
                "its end; restore it from a replica or the archive"
            )
        found = tail.root_at(known_size) if tail else None
        if found is not None and found != root:
            raise RollbackError(
                f"{origin} at size {known_size} has root {found.hex()}, {what} says {root.hex()}: "
                "two histories; keep both and fork the log"
            )


async def _check_against_source(world: LogWorld, records: Sequence[AuditRecord]) -> Bounds:
    """Compare what retention left of `records` with the source; its bounds at that time."""
    while True:
        source = await world.source.bounds()
        kept = [r for r in records if r.source.offset >= source.start]
        rows = await _still_held(world.source, kept, source) if kept else []
        if rows is not None:
            break
        # Retention passed, or the source was cut, between two questions: ask again.
    held = {row.offset: row for row in rows}
    for record in kept:
        row = held.get(record.source.offset)
        if row is None or not _same(record, row):
            found = "is gone" if row is None else "is another record now"
            raise SourceChangedError(
                f"{world.origin}: what was sealed as leaf {record.index} {found} at offset "
                f"{record.source.offset} of {world.source.topic}/{world.source.partition}: the "
                "source was truncated or rewritten; fork the log at its sealed size"
            )
    _check_none_left_out(world, kept, held)
    return source


def _check_none_left_out(
    world: LogWorld, kept: Sequence[AuditRecord], held: Mapping[int, Record]
) -> None:
    """Between sealed records the source holds no other: a foreign writer may have skipped some."""
    sealed = {record.source.offset for record in kept}
    left_out = [o for o in held if o not in sealed and kept and o < kept[-1].source.offset]
    if left_out:
        raise SourceChangedError(
            f"{world.origin}: the record at offset {left_out[0]} of {world.source.topic}/"
            f"{world.source.partition} has no leaf, and records behind it have: somebody else "
            "wrote to the audit topic; see who may, and fork the log at its sealed size"
        )


async def _still_held(
    reader: PartitionReader, kept: Sequence[AuditRecord], bounds: Bounds
) -> list[Record] | None:
    """The records at the offsets of `kept`, None where `bounds` are not true any more."""
    low, end = kept[0].source.offset, min(kept[-1].source.offset + 1, bounds.end)
    rows: list[Record] = []
    try:
        while low < end:
            fetched = await reader.fetch(low, max_records=PAGE_RECORDS, max_wait_ms=50)
            if fetched.next_offset == low:
                return None
            rows += fetched.records
            low = fetched.next_offset
    except SourceChangedError:
        if low >= (await reader.bounds()).start:
            raise
        return None
    return rows


def _same(record: AuditRecord, row: Record) -> bool:
    return row.timestamp == record.source.timestamp and encode_content(row) == record.content


def _past_markers(
    world: LogWorld, tail: LogTail, offset: int, posted: Posted | None, source: Bounds
) -> int:
    if source.start <= offset <= source.high_watermark:
        return offset
    if offset > source.high_watermark:
        raise SourceChangedError(
            f"{world.source.topic}/{world.source.partition} now ends at offset "
            f"{source.high_watermark}, the next record to seal is {offset}: the source was "
            "truncated; fork the log at its sealed size"
        )
    # A log start on a transaction marker is no gap: the posted position has passed it.
    passed = posted is not None and posted.size == tail.committed.size
    if posted and passed and source.start <= posted.offset <= source.high_watermark:
        return posted.offset
    raise SourceGapError(
        f"{world.source.topic}/{world.source.partition} now starts at offset {source.start}, the "
        f"next record to seal is {offset}: retention took records nobody sealed; they are lost, "
        "and an operator must accept the gap"
    )
