"""What every kind of source of `verify` shares: how it is asked, and how a walk is ended."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.records import Record
from streams.audit.checkpoint import parse_log_name
from streams.cli.archive_source import ArchiveInquiry, Rosters
from streams.errors import BreakError
from streams.settings import Settings, load_settings
from streams.verifier import (
    SILENT,
    LogVerdict,
    LogWalk,
    OpenSource,
    Progress,
    SourceComparison,
    Trust,
)

__all__ = ["Inquiry", "belongs", "connection_settings", "deployment", "lost", "verdicts", "walked"]


class Inquiry(NamedTuple):
    """How histories are to be verified.

    Attributes:
        trust: keys and anchors.
        archive: how an archive is read.
        leaf: the leaf hash a tlog-proof is to prove.
        environ: where connections to brokers and buckets are set.
        progress: told of every batch.
        jobs: how many processes read a file; 1 for none beside this one.
        with_source: whether logs are compared with the sources beside them.
        rosters: sealed heads found so far; archives are verified last.
    """

    trust: Trust
    archive: ArchiveInquiry = ArchiveInquiry()
    leaf: bytes | None = None
    environ: Mapping[str, str] = MappingProxyType({})
    progress: Progress = SILENT
    jobs: int = 1
    with_source: bool = False
    rosters: Rosters = Rosters()


async def walked(
    walk: LogWalk, pages: AsyncIterator[list[Record]], source: OpenSource | None
) -> dict[str, Any]:
    """Take all pages; what was found of the source, for the verdict."""
    if source is None:
        async for page in pages:
            walk.feed(page)
        return {}
    comparison = SourceComparison(source, walk.trust)
    try:
        async for page in pages:
            await walk.feed_beside(page, comparison)
    finally:
        await comparison.close()
    return {"source": comparison.state, "source_from": comparison.first}


def connection_settings(inquiry: Inquiry, prefix: str, **given: str) -> Settings:
    """Only what the connection needs, so that no other setting can be in the way."""
    needed = {name: v for name, v in inquiry.environ.items() if name.startswith(prefix)}
    return load_settings(needed | given)


def verdicts(
    walk: LogWalk, audit: tuple[str, int], trust: Trust, compared: dict[str, Any]
) -> list[LogVerdict]:
    """The verdict; none for a log not born yet, that is without a record and without an anchor."""
    verdict = replace(walk.verdict(), **compared)
    missing = [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(known.origin for known in trust.known)
        if origin != verdict.origin
        and belongs(origin, audit)
        and (not verdict.origin or deployment(origin) == deployment(verdict.origin))
    ]
    if not (verdict.records or verdict.checkpoints or verdict.breaks):
        # An empty log cannot say who it is. The anchor of a log of this topic and partition can.
        return missing[:1]
    if verdict.origin and not belongs(verdict.origin, audit):
        detail = f"{audit[0]}/{audit[1]} holds the log {verdict.origin}"
        stranger = BreakError("bad_signature", 0, detail)
        verdict = replace(verdict, breaks=(stranger, *verdict.breaks))
    return [verdict, *missing]


def deployment(origin: str) -> str:
    """Whose log it is."""
    return parse_log_name(origin).deployment


def belongs(origin: str, audit: tuple[str, int]) -> bool:
    """Whether a log of this origin is kept in this audit partition."""
    name, (topic, partition) = parse_log_name(origin), audit
    named = f"audit.{name.topic}" + (f".e{name.epoch}" if name.epoch else "")
    return name.partition == partition and topic.endswith(named)


def lost(found: list[LogVerdict], trust: Trust) -> list[LogVerdict]:
    """Logs an anchor or the roster vouches for that a place of their deployment does not hold."""
    held = {log.origin for log in found if log.origin}
    deployments = {deployment(origin) for origin in held}
    known = trust.anchors if trust.may_lag else trust.known
    return [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(one.origin for one in known)
        if origin not in held and deployment(origin) in deployments
    ]
