"""From nothing known to a sealer that may append: one path for a first start and for every crash.

The steps are those of docs/explanation/sealing.md, in its order. Each either proves that what is
written next continues the one history, or raises why it cannot. Nothing is ever seeded from what
merely survived.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from streams.anchors import Claim
from streams.audit.checkpoint import CheckpointText, joined_notes, make_note, open_note
from streams.audit.merkle import Frontier
from streams.audit.recovery import LogTail
from streams.audit.sealing import checkpoint_record
from streams.errors import (
    BreakError,
    ForkedError,
    HangingTransactionError,
    RollbackError,
    SourceChangedError,
    SourceGapError,
    TransientError,
    VerificationError,
)
from streams.healing import Known, Lost, Missing, find_missing
from streams.history import check_rules, last_leaves, read_tail
from streams.log_world import LogWorld, check_identity, claim_log
from streams.ports import Bounds, PartitionReader, PartitionWriter, Posted
from streams.source_checks import Compared, compare_with_source
from streams.verdicts import StandingVerdictError

__all__ = [
    "Doubts",
    "LogWorld",
    "Recovered",
    "check_identity",
    "check_not_forked",
    "check_open",
    "recover",
    "signed_note",
]

START_RECORDS, CUT_RECORDS = 1_000, 20_000  # compared with the source
MARKERS_WAIT_S = 15.0  # a predecessor's abort markers may still be on their way


class Doubts(NamedTuple):
    """`log`: it may have lost its end. `source`: it was cut, behind what is sealed."""

    log: bool = False
    source: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a start found: appending may go on behind `tail`, reading the source at `offset`.

    Attributes:
        writer: the fenced writer.
        claim: who the log is.
        tail: the end of the log as it was read back.
        missing: what the log lost behind that, to be appended first.
        begin: the source offset behind `tail`.
        offset: the source offset behind `tail` and `missing`, and behind what nobody has to seal.
        epoch: the leader epoch under which the last leaf was compared with its source.
        audit_end: where the next record of the log will stand.
        posted: the posted position.
    """

    writer: PartitionWriter
    claim: Claim
    tail: LogTail
    missing: Missing | None
    begin: int
    offset: int
    epoch: int
    audit_end: int
    posted: Posted | None


async def signed_note(world: LogWorld, frontier: Frontier) -> str:
    """Sign the root over `frontier`, and check every signature before anyone sees it.

    Raises:
        TransientError, SettingsError: a signature is missing, or the trusted keys do not verify
            it. That is a fault of the signer: the log is as good as before, and nobody saw it.
    """
    text = CheckpointText(world.origin, frontier.size, frontier.root())
    notes = []
    for signer in world.trust.signers(world.origin):
        signature = await signer.sign(text.render().encode())
        note = make_note(text, signer.algorithm, signer.public_key, signature)
        try:
            open_note(note, world.origin, world.keys)
        except BreakError as error:
            raise TransientError(f"{signer!r} answers wrongly: {error.detail}") from error
        notes.append(note)
    return joined_notes(notes)


async def recover(
    world: LogWorld,
    writer: PartitionWriter,
    doubts: Doubts = Doubts(),  # noqa: B008 - immutable
) -> Recovered:
    """Steps 1 to 6: fence, read back, claim, compare. Ends ready to append.

    Args:
        world: the log's surroundings.
        writer: a writer that was never started.
        doubts: what something told since the last recovery.

    Raises:
        VerificationError: the verdict that stops the partition.
        FencedError, OutcomeUnknownError, TransientError, NotOwnerError: recover again or let go.
    """
    await writer.start()
    # Now no predecessor can write, and whatever it left open is aborted.
    await check_not_forked(world)
    with _waiting_for_anchors(world):
        await _check_none_stands(world)
    await _settle(world.audit)
    posted = await _posted(world)
    with _waiting_for_anchors(world):
        anchor = await world.anchors.newest(world.origin, world.keys)
    known = _remembered(posted, anchor)
    bounds = await world.audit.bounds()
    found = await read_tail(world.audit, bounds, world.origin, world.keys)
    claim = await claim_log(world, bounds, _size(found, known))
    await check_identity(world, claim)
    tail = found or LogTail(Frontier(), [], Frontier(), 0, "")
    begin = tail.records[-1].source.offset + 1 if tail.records else claim.first_offset
    try:
        _check_prefixes(world.origin, tail, known)
        if found and (doubts.log or any(one.size > tail.committed.size for one in known)):
            # What the lost end decided may be undone before it: an aborted transaction can revive.
            size = anchor.size if anchor else 0
            await check_rules(world.audit, bounds, (world.origin, world.keys), size)
        compared = await _compared(world, tail, doubts)
        missing = await find_missing(_lost(world, tail, begin), known)
        reached = Posted(begin, tail.committed.size, tail.committed.root())
        if missing:
            reached = Posted(missing.offset, missing.known.size, missing.known.root)
        offset = _past_gaps(world, reached, posted, await world.source.bounds())
    except VerificationError as verdict:
        verdict.reached = verdict.reached or (begin, tail.committed.size, tail.committed.root())
        raise
    if found is None:
        tail, bounds = await _genesis(world, writer, bounds)
    return Recovered(
        writer=writer,
        claim=claim,
        tail=tail,
        missing=missing,
        begin=begin,
        offset=offset,
        epoch=compared.epoch,
        audit_end=bounds.end,
        posted=posted,
    )


async def _posted(world: LogWorld) -> Posted | None:
    """What was posted of this log, None where only an epoch before it posted."""
    posted = await world.source.posted()
    if posted is None or posted.epoch < world.epoch:
        return None
    if posted.epoch > world.epoch:
        # Nothing of this epoch may be sealed any more: its end was ordered, and is not read yet.
        raise TransientError(
            f"{world.source.topic}/{world.source.partition} is sealed in epoch {posted.epoch}, "
            f"and the order that forked {world.origin} cannot be read here"
        )
    return posted


async def _compared(world: LogWorld, tail: LogTail, doubts: Doubts) -> Compared:
    # Not the last leaf alone: a cut can change what lies before it, and revive what was aborted
    # between two leaves, as far back as a transaction lasts.
    count = CUT_RECORDS if doubts.source else START_RECORDS
    before = await last_leaves(world.audit, count)
    await compare_with_source(world.origin, world.source, before)
    return await compare_with_source(world.origin, world.source, tail.records)


async def check_not_forked(world: LogWorld) -> None:
    """Ask what the operator ordered since. Repeated each minute. Raises ForkedError."""
    with suppress(TransientError):
        # Where it cannot be read, a log that is broken holds up no other: what was read holds.
        await world.trust.refresh()
    check_open(world)


def check_open(world: LogWorld) -> None:
    """Look at the orders that were read last. Raises ForkedError."""
    fork = world.trust.history.fork(world.origin)
    if fork is not None:
        raise ForkedError(
            f"{world.origin} ended at size {fork.size}: the operator forked it at source offset "
            f"{fork.offset}; nothing seals behind that under this origin"
        )


@contextmanager
def _waiting_for_anchors(world: LogWorld) -> Iterator[None]:
    try:
        yield
    except TransientError as error:
        raise TransientError(
            f"the claim and anchors of {world.origin} cannot be read, and sealing goes on only "
            f"behind them: {error}"
        ) from error


async def _check_none_stands(world: LogWorld) -> None:
    for verdict in await world.anchors.verdicts(world.origin):
        if not verdict.is_answered(world.origin, world.trust.history):
            raise StandingVerdictError(verdict)


async def _settle(audit: PartitionReader) -> None:
    deadline = asyncio.get_running_loop().time() + MARKERS_WAIT_S
    while True:
        bounds = await audit.bounds()
        if bounds.end == bounds.high_watermark:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise HangingTransactionError(
                f"a transaction hangs on {audit.topic}/{audit.partition}: committed end "
                f"{bounds.end}, high watermark {bounds.high_watermark}; abort it with "
                "kafka-transactions.sh and start again"
            )
        await asyncio.sleep(0.05)


async def _genesis(
    world: LogWorld, writer: PartitionWriter, bounds: Bounds
) -> tuple[LogTail, Bounds]:
    if bounds.start == bounds.end > 0:
        raise RollbackError(
            f"{world.audit.topic}/{world.audit.partition} was trimmed to nothing: an audit topic "
            "must keep everything; restore it from the archive"
        )
    empty = Frontier()
    note = await signed_note(world, empty)
    appended = await writer.append([checkpoint_record(note, empty, 0)])
    # Now the log exists; a crash before this line leaves an aborted genesis and is done again.
    end = appended.last_offset + 1 + writer.marker_offsets
    return LogTail(empty, [], empty.copy(), 0, note), Bounds(bounds.start, end, end)


def _size(tail: LogTail | None, known: Sequence[Known]) -> int | None:
    """Of the log as far as it is known; None where nobody knows of one."""
    if tail is not None:
        return tail.committed.size
    return max((one.size for one in known), default=None)


def _lost(world: LogWorld, tail: LogTail, begin: int) -> Lost:
    return Lost(
        origin=world.origin,
        source=world.source,
        objects=world.anchors.objects,
        frontier=tail.committed,
        offset=begin,
    )


def _remembered(posted: Posted | None, anchor: CheckpointText | None) -> list[Known]:
    known = [Known(posted.size, posted.root, "the posted position")] if posted else []
    if anchor:
        known.append(Known(anchor.size, anchor.root, "the newest anchor"))
    return known


def _check_prefixes(origin: str, tail: LogTail, known: Sequence[Known]) -> None:
    """What is remembered of the log's own length is what the log has there."""
    for size, root, what in known:
        found = tail.root_at(size)
        if found is not None and found != root:
            raise RollbackError(
                f"{origin} at size {size} has root {found.hex()}, {what} says {root.hex()}: "
                "two histories; keep both as evidence and fork the log"
            )


def _past_gaps(world: LogWorld, reached: Posted, posted: Posted | None, source: Bounds) -> int:
    """Where fetching goes on: behind the log, behind markers, and behind what was given up."""
    offset, size = reached.offset, reached.size
    while source.start > offset:
        # A log start on a transaction marker is no gap: the posted position has passed it.
        passed = posted is not None and posted.size == size
        if posted and passed and source.start <= posted.offset <= source.high_watermark:
            # From there, since another leader may have records where this one had markers.
            return source.start
        gap = world.trust.history.accepted_gap(world.origin, size, offset)
        if gap is None or not offset < gap.left <= source.start:
            raise _gap(world, reached._replace(offset=offset), source)
        # Nothing that still exists is passed over, and what went beyond is another gap.
        offset = gap.left
    if offset > source.high_watermark:
        raise SourceChangedError(
            f"{world.source.topic}/{world.source.partition} now ends at offset "
            f"{source.high_watermark}, the next record to seal is {offset}: the source was "
            "truncated; keep the log as evidence and fork it"
        )
    return offset


def _gap(world: LogWorld, reached: Posted, source: Bounds) -> SourceGapError:
    gap = SourceGapError(
        f"{world.source.topic}/{world.source.partition} now starts at offset {source.start}, the "
        f"next record to seal is {reached.offset}: retention took records nobody sealed; they are "
        f"lost, and an operator must accept the gap at size {reached.size} of {world.origin}"
    )
    gap.reached = reached[:3]
    return gap
