"""What follows from a log: the decision index built over it again, to be compared with another.

Built over a copy and over the log it must come out the same: the same rows, by a digest of them,
and the same alerts, by their ids; and these are the ones that were published. Nothing is
published here, so nobody is paged: alerts made by it are marked as replayed, and only counted.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import Rules
from projections.ports import Position, SealedBatch
from projections.runner import SealedWalk
from projections.schema_answers.answers import SchemaAnswers
from projections.schema_answers.projection import LogAnswers
from schemas.codec import decode_alert
from schemas.errors import RejectedInput
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.history import pages
from streams.ports import PartitionReader

__all__ = ["IndexRun", "Outcome", "differences", "outcome_of", "published_alerts"]

START = Position(0, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRun:
    """What an index is built with: the same for a log and for its copy."""

    rules: Rules
    keys: TrustedKeys
    answers: SchemaAnswers


class Outcome(NamedTuple):
    """What the index came to: a digest of its rows, the rows, and the leaf of each alert's id."""

    digest: bytes
    rows: int
    alerts: Mapping[str, int]


class Published(NamedTuple):
    """What was published about a log: the leaf of each alert's id.

    Of alerts by other rules only `others_to` is told, the last leaf of theirs: up to there nobody
    published by the rules of today. -1 without such.
    """

    alerts: Mapping[str, int]
    others_to: int


async def outcome_of(reader: PartitionReader, origin: str, run: IndexRun, size: int) -> Outcome:
    """Build the index over the first `size` leaves of a log, which end at a checkpoint.

    Raises:
        BreakError: the log breaks a rule of formats §2.
        TransientError.
    """
    schemas = LogAnswers(run.answers)
    fold = DecisionFold(run.rules, lambda: DecisionRows(FoldedGraph), schemas)
    stamp = Stamp.of(run.rules, replayed=True)
    alerts: dict[str, int] = {}
    async with aclosing(_batches(reader, origin, run.keys)) as batches:
        async for batch in batches:
            if batch.size > size:
                break
            await schemas.prepare(batch)
            told = [item for record in batch.records for item in fold.apply(record)]
            made = alerts_of(told, batch, stamp)
            alerts |= {alert.alert_id: alert.evidence[0].index for alert in made}
    return Outcome(fold.content_digest(), fold.rows, alerts)


async def _batches(
    reader: PartitionReader, origin: str, keys: TrustedKeys
) -> AsyncGenerator[SealedBatch, None]:
    walk = SealedWalk(origin, Trail(origin, keys), START)
    start, end, _ = await reader.bounds()
    async for page in pages(reader, start, end):
        for batch in walk.feed(page):
            yield batch


async def published_alerts(
    reader: PartitionReader, origin: str, run: IndexRun, size: int
) -> Published:
    """The alerts in an alert partition about the first `size` leaves of a log."""
    version = Stamp.of(run.rules).version
    alerts: dict[str, int] = {}
    others_to = -1
    start, end, _ = await reader.bounds()
    async for page in pages(reader, start, end):
        await run.answers.learn(page)
        for row in page:
            try:
                alert = decode_alert(row, run.answers)
            except RejectedInput:
                continue
            about = alert.evidence[0] if alert.evidence else None
            if about is None or about.origin != origin or about.index >= size:
                continue
            if alert.rule.version == version:
                alerts[alert.alert_id] = about.index
            else:
                others_to = max(others_to, about.index)
    return Published(alerts, others_to)


def differences(copy: Outcome, log: Outcome, published: Published) -> Iterator[str]:
    """What did not come out the same, one sentence each."""
    if copy.digest != log.digest:
        yield f"the index over the copy is {copy.digest.hex()}, over the log {log.digest.hex()}"
    if copy.alerts != log.alerts:
        differing = copy.alerts.keys() ^ log.alerts.keys()
        yield f"{len(differing)} alerts differ between the copy and the log"
    follow = {one for one, leaf in copy.alerts.items() if leaf > published.others_to}
    told = {one for one, leaf in published.alerts.items() if leaf > published.others_to}
    if missing := follow - told:
        yield f"{len(missing)} alerts follow from the copy and were not published: {min(missing)}"
    if other := told - follow:
        yield f"{len(other)} alerts were published and do not follow from the copy: {min(other)}"
