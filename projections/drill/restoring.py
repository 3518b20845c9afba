"""One archived segment restored into a scratch directory, verified, and compared with the log."""

from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from projections.drill.fold import Candidate, DrilledSegment, sampled
from projections.replay.fold import in_order
from projections.replay.live import checkpoint_at
from projections.replay.opening import Replay
from projections.replay.parity import check_copy
from projections.replay.places import directory_place
from projections.replay.staging import StagingLog
from schemas.audit_values import decode_audit_value, encode_checkpoint
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import parse_log_name
from streams.audit.merkle import Frontier
from streams.audit.proofs import inclusion_proofs, verify_inclusion
from streams.errors import SettingsError, TransientError, VerificationError
from streams.history import find_record, pages
from streams.ports import Clock, ObjectStore, PartitionReader
from streams.verifier import VerifiedSegment, verified_segments

__all__ = ["Drilling", "restore_segment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilling:
    """What the segments of one drill have in common; `scratch` is emptied by whoever made it."""

    replay: Replay
    store: ObjectStore
    scratch: Path
    seed: str
    clock: Clock


async def restore_segment(at: Drilling, candidate: Candidate) -> DrilledSegment:
    """Fetch, verify, restore and compare; whatever fails is told in the result.

    Raises:
        TransientError, SettingsError: the archive or the scratch directory cannot be used now.
    """
    origin, first, _ = candidate
    drilled = DrilledSegment(origin=origin, first=first)
    began = at.clock.monotonic()
    try:
        segment = await _fetched(at, candidate)
        drilled = replace(
            drilled,
            size=segment.size,
            segment_bytes=segment.data_bytes,
            sha256=segment.sha256,
        )
        records = await _restored(at, segment, origin)
        drilled = replace(drilled, records=len(records), seconds=at.clock.monotonic() - began)
        picked = sampled(segment.first, segment.size, at.seed)
        drilled = replace(drilled, proofs=_proved(segment, records, picked))
        return await _compared(at, drilled, segment, [records[i - first] for i in picked])
    except VerificationError as error:
        return replace(drilled, failures=(*drilled.failures, str(error)))


async def _fetched(at: Drilling, candidate: Candidate) -> VerifiedSegment:
    """The segment by its version, with its digest, signatures and every record verified."""
    found = verified_segments(
        at.store, candidate.origin, at.replay.sources.keys, start=candidate.first
    )
    async with aclosing(found) as segments:
        async for segment in segments:
            return segment
    raise VerificationError("its manifest names it, and it cannot be read")


async def _restored(at: Drilling, segment: VerifiedSegment, origin: str) -> list[Record]:
    """The audit records as they stand in the scratch directory, read back and verified there."""
    name = parse_log_name(origin)
    audit = at.replay.sources.audit(name)
    folder = at.scratch / f"{len(list(at.scratch.iterdir())):04d}"
    async with directory_place(folder, name.deployment) as place:
        await place.ensure({audit: name.partition + 1})
        staging = StagingLog(
            lambda: place.reader(audit, name.partition),
            lambda: place.writer(audit, name.partition),
            origin,
            at.replay.sources.keys,
        )
        rows = in_order(segment.rows, segment.first)
        if segment.opening is not None:
            rows.insert(0, Record(-1, 0, None, encode_checkpoint(segment.opening)))
        await staging.start()
        await staging.append(rows)
        await staging.close()
        reader = place.reader(audit, name.partition)

        async def root_at(size: int) -> bytes | None:
            return segment.checkpoint.root if size == segment.size else None

        verdict = await check_copy(reader, origin, at.replay.sources.keys, root_at)
        if verdict.problems:
            raise VerificationError("; ".join(verdict.problems))
        return await _records(reader)


async def _records(reader: PartitionReader) -> list[Record]:
    start, end, _ = await reader.bounds()
    rows = [row async for page in pages(reader, start, end) for row in page]
    return [row for row in rows if isinstance(_value(row), AuditRecord)]


def _proved(segment: VerifiedSegment, records: list[Record], picked: list[int]) -> int:
    """Prove each record picked under the closing checkpoint. Raises VerificationError."""
    opening = segment.opening
    before = Frontier.of(segment.first, opening.frontier if opening else ())
    leaves = [value.leaf for value in map(_value, records) if isinstance(value, AuditRecord)]
    proofs = inclusion_proofs(before, leaves, picked)
    for index, proof in zip(picked, proofs, strict=True):
        leaf = leaves[index - segment.first]
        verify_inclusion(index, segment.size, leaf, proof, segment.checkpoint.root)
    return len(proofs)


async def _compared(
    at: Drilling, drilled: DrilledSegment, segment: VerifiedSegment, picked: list[Record]
) -> DrilledSegment:
    """The same with what the log itself says of it, where it can be reached."""
    engine, name = at.replay.engine, parse_log_name(drilled.origin)
    if engine is None:
        return replace(drilled, live="the deployment was not opened")
    audit = at.replay.sources.audit(name)
    try:
        if await engine.partitions(audit) <= name.partition:
            return replace(drilled, live=f"{audit}/{name.partition} does not exist")
        reader = engine.reader(audit, name.partition)
        try:
            failures = await _differences(reader, segment, picked)
        finally:
            await reader.close()
    except (TransientError, SettingsError) as error:
        return replace(drilled, live=f"not reachable: {error}")
    return replace(drilled, compared=len(picked), failures=(*drilled.failures, *failures))


async def _differences(
    reader: PartitionReader, segment: VerifiedSegment, picked: list[Record]
) -> list[str]:
    failures = []
    closing = await checkpoint_at(reader, segment.size)
    if closing is None or closing.size != segment.size:
        failures.append(f"the log itself has no checkpoint of size {segment.size}")
    elif closing.root != segment.checkpoint.root:
        failures.append(f"the log itself has the root {closing.root.hex()} at {segment.size}")
    for row in picked:
        value = _value(row)
        assert isinstance(value, AuditRecord)
        found = await find_record(reader, value.index)
        if found is None or found[0].value != row.value:
            failures.append(f"the log itself has another record {value.index}, or none")
    return failures


def _value(row: Record) -> object:
    return decode_audit_value(row.value or b"")
