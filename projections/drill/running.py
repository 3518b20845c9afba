"""A drill from the choice to the report, and its place in the sealed operations."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from projections.drill.fold import Candidate, LogState, Report, chosen
from projections.drill.restoring import Drilling, restore_segment
from projections.replay.live import checkpoint_at
from projections.replay.opening import Replay
from schemas.audit_values import CHECKPOINT_HEAD
from schemas.canonical import LONG_MAX
from schemas.operations import FAILURES_MAX, DrillFinished, LogRoot
from streams.audit.checkpoint import parse_log_name
from streams.errors import BreakError, SettingsError, TransientError
from streams.operation_events import publish_operation
from streams.ports import Clock, ObjectStore
from streams.segments import ARCHIVE, read_segment
from streams.verifier.chain import Chain, ChainTerms, read_chain
from streams.verifier.holdings import HeldLog, held_logs, oldest

__all__ = ["DrillRequest", "finished_event", "publish_drill", "run_drill", "write_report"]

FAILURE_CHARS_MAX = 1_000
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRequest:
    """How many segments, chosen by which seed; `told` hears what is being done."""

    segments: int
    seed: str
    told: Told = lambda _: None


async def run_drill(replay: Replay, request: DrillRequest, clock: Clock) -> Report:
    """Drill the archive that `replay` was opened over.

    Raises:
        TransientError, SettingsError: the archive or the scratch directory cannot be used now.
    """
    began, began_ms = clock.monotonic(), clock.now_ms()
    store = replay.sources.store
    assert store is not None, "a drill reads an archive"
    logs, candidates = [], []
    for origin in replay.origins:
        request.told(f"reading the manifests of {origin}")
        state, found = await _state(replay, store, origin, began_ms)
        logs.append(state)
        candidates += found
    picked = chosen(candidates, request.seed, request.segments)
    segments = []
    with tempfile.TemporaryDirectory(prefix="attestream-drill-") as scratch:
        at = Drilling(
            replay=replay, store=store, scratch=Path(scratch), seed=request.seed, clock=clock
        )
        for candidate in picked:
            request.told(f"restoring {candidate.origin} from {candidate.first}")
            segments.append(await restore_segment(at, candidate))
    return Report(
        began=_time(began_ms),
        seed=request.seed,
        asked=request.segments,
        segments=tuple(segments),
        logs=tuple(logs),
        seconds=clock.monotonic() - began,
    )


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """The report as Markdown and JSON in `folder`, named by its time and seed.

    Raises:
        SettingsError: it cannot be written there.
    """
    name = f"drill-{report.began.replace(':', '')}-{report.seed}"
    texts = {".md": report.as_markdown(), ".json": _json(report)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in texts.items():
            (folder / f"{name}{suffix}").write_text(text, "utf-8")
    except OSError as error:
        raise SettingsError([f"{folder} cannot hold the report: {error.strerror}"]) from error
    return folder / f"{name}.md", folder / f"{name}.json"


def finished_event(report: Report, clock: Clock) -> DrillFinished:
    """What is published of a drill."""
    logs = [
        LogRoot(origin=log.origin, size=log.size, root=bytes.fromhex(log.root))
        for log in report.logs
    ]
    failures = [failure[:FAILURE_CHARS_MAX] for failure in report.failures]
    return DrillFinished(
        finished_at=clock.now_ms() * 1000,
        passed=report.passed,
        seed=report.seed,
        logs=tuple(logs),
        segments=len(report.segments),
        records=report.records,
        segment_bytes=report.segment_bytes,
        recovery_seconds=report.recovery_s,
        newest_record_age_seconds=report.newest_age_s,
        failures=tuple(failures[:FAILURES_MAX]),
        report_sha256=sha256(_json(report).encode()).digest(),
    )


async def publish_drill(replay: Replay, report: Report, clock: Clock) -> str:
    """Publish that the drill took place; why not, or an empty text. Told to people, not raised."""
    if replay.engine is None:
        return "the deployment could not be opened"
    try:
        await publish_operation(replay.engine, finished_event(report, clock), clock)
    except (TransientError, SettingsError) as error:
        return str(error)
    return ""


def _json(report: Report) -> str:
    return json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n"


async def _state(
    replay: Replay, store: ObjectStore, origin: str, now_ms: int
) -> tuple[LogState, list[Candidate]]:
    faults: list[BreakError] = []
    listed = held_logs(await store.versions(f"{ARCHIVE}{origin}/"))
    held = listed.get(origin) or HeldLog.empty(origin)
    terms = ChainTerms(
        replay.sources.keys, locked=False, now=datetime.fromtimestamp(now_ms / 1000, UTC)
    )
    chain = await read_chain(store, held, terms, faults.append)
    # What the manifests speak of is picked from; what is listed beside them is no evidence, nor is
    # what lies behind the end that the operator gave the log.
    ended = replay.sources.trust.void_from(origin)
    candidates = [
        Candidate(origin, link.first, link.kept.size)
        for link in chain.links
        if link.kept is not None and link.sha256 and (ended is None or link.first < ended)
    ]
    size, root = max(chain.closings.items(), default=(0, bytes(32)))
    state = LogState(
        origin=origin,
        size=size,
        root=root.hex(),
        segments=len(candidates),
        records=size,
        segment_bytes=sum(candidate.segment_bytes for candidate in candidates),
        newest_age_s=await _newest_age(store, held, chain, now_ms),
        unarchived=await _unarchived(replay, origin, size),
        faults=tuple(
            f"{fault.kind} at {fault.index}: {fault.detail}"
            for fault in faults
            if ended is None or fault.index < ended
        ),
    )
    return state, candidates


async def _newest_age(
    store: ObjectStore, held: HeldLog, chain: Chain, now_ms: int
) -> float | None:
    """How old the newest archived record is, by its own time; unverified, as it is only told."""
    kept = oldest(held.segments.get(chain.links[-1].first, ())) if chain.links else None
    data = kept and await store.get(kept.key, kept.version_id)
    if data is None:
        return None
    try:
        rows = read_segment(data).rows
    except BreakError:
        return None
    times = [row.timestamp for row in rows if not (row.value or b"").startswith(CHECKPOINT_HEAD)]
    newest = max(times, default=0)
    return max(now_ms - newest, 0) / 1000 if newest > 0 else None


async def _unarchived(replay: Replay, origin: str, size: int) -> int | None:
    """Sealed records behind what is archived; None where the log cannot be asked."""
    if replay.engine is None:
        return None
    name = parse_log_name(origin)
    audit = replay.sources.audit(name)
    try:
        if await replay.engine.partitions(audit) <= name.partition:
            return None
        reader = replay.engine.reader(audit, name.partition)
        try:
            newest = await checkpoint_at(reader, LONG_MAX)
        finally:
            await reader.close()
    except (TransientError, SettingsError):
        return None
    if newest is None:
        return None
    ended = replay.sources.trust.void_from(origin)
    return max((newest.size if ended is None else min(newest.size, ended)) - size, 0)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
