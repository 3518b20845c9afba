"""Where `verify` reads logs from; the forms of an address are in `streams.cli.addresses`.

Only reading happens here; `streams.verifier` judges. The clients of brokers and buckets are loaded
when an address needs them, and only those ask for settings.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.records import Record
from streams.audit.checkpoint import parse_log_name
from streams.cli.addresses import (
    is_segment,
    kafka_address,
    kind_of,
    static_logs,
    tiled_origin,
)
from streams.cli.archive_source import ArchiveInquiry, Means, Rosters, verify_archive_at
from streams.cli.root_logs import (
    RootName,
    embedded_roots,
    epoch_topic,
    filed_roots,
    live_roots,
    root_topic,
)
from streams.cli.source_pages import embedded_source, live_source
from streams.engine import Engine
from streams.errors import (
    BreakError,
    SettingsError,
    SourceChangedError,
    SourceUnreadableError,
    TransientError,
)
from streams.history import PAGE_RECORDS, pages
from streams.ports import PartitionReader
from streams.settings import Settings, load_settings
from streams.topology import Topology
from streams.verifier import (
    SILENT,
    Digests,
    LogVerdict,
    LogWalk,
    OpenSource,
    Progress,
    RootLogs,
    SourceComparison,
    TileRequest,
    Trust,
    Verdict,
    claimed_origins,
    rooted,
    verdict_of,
    verify_files,
    verify_proof_text,
    verify_tiles,
)

__all__ = ["Inquiry", "verify_histories"]

ROOTS: tuple[RootName, ...] = ("operations", "heads")
PROOF_BYTES_MAX = 2**20


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


def verify_histories(addresses: Sequence[str], inquiry: Inquiry) -> Verdict:
    """Verify all logs at all addresses; segment files of one log are joined.

    Raises:
        SettingsError: an address, or a setting a connection needs, is wrong.
        MissingExtraError: a client library is not installed.
    """
    return asyncio.run(_verify(addresses, inquiry))


async def _verify(addresses: Sequence[str], inquiry: Inquiry) -> Verdict:
    logs: list[LogVerdict] = []
    unreadable: list[str] = []
    segments = [Path(address) for address in addresses if is_segment(address)]
    # Heads of other sources are told by then: an archive that was put back took its own along.
    others = sorted((a for a in addresses if not is_segment(a)), key=_is_archive)
    inquiry = inquiry._replace(rosters=Rosters())
    if segments:
        try:
            logs += await _files(segments, inquiry)
        except SourceUnreadableError as error:
            unreadable.append(str(error))
    for address in others:
        troubles = len(unreadable)
        try:
            found = await _verify_one(address, inquiry, unreadable)
        except (SourceUnreadableError, TransientError, SourceChangedError) as error:
            unreadable.append(f"{address}: {error}")
            continue
        logs += found
        if not found and len(unreadable) == troubles:
            unreadable.append(f"{address}: no log in it yet")
    return verdict_of(logs, inquiry.trust, unreadable)


async def _files(paths: Sequence[Path], inquiry: Inquiry) -> list[LogVerdict]:
    trust = await rooted(inquiry.trust, filed_roots(claimed_origins(paths)))
    inquiry.rosters.add(trust)
    with Digests(inquiry.jobs) as digests:
        return verify_files(paths, trust, progress=inquiry.progress, digests=digests)


async def _verify_one(address: str, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    match kind_of(address):
        case "kafka":
            return await _kafka(address, inquiry)
        case "archive":
            return await _archive(address, inquiry)
        case "tiles":
            return await _tiles(address, inquiry, unreadable)
        case "embedded":
            return await _embedded(Path(address), inquiry, unreadable)
        case "proof":
            return [_proof(Path(address), inquiry)]


def _is_archive(address: str) -> bool:
    try:
        return kind_of(address) == "archive"
    except SourceUnreadableError:
        return False


def _proof(path: Path, inquiry: Inquiry) -> LogVerdict:
    if inquiry.leaf is None:
        raise SettingsError([f"{path}: a tlog-proof proves a record: give its --leaf hash"])
    try:
        with path.open("rb") as file:
            text = file.read(PROOF_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnreadableError(f"{error}") from error
    return verify_proof_text(text, inquiry.leaf, inquiry.trust)


async def _embedded(path: Path, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    from streams.embedded.history import (  # noqa: PLC0415  # only where there is a database
        list_audit_partitions,
        partition_end,
    )

    logs = []
    partitions = list_audit_partitions(path)
    trust = await rooted(inquiry.trust, embedded_roots(path, partitions))
    inquiry.rosters.add(trust)
    for topic, partition in partitions:
        name = f"{topic}/{partition}"
        inquiry.progress.begin(name, partition_end(path, topic, partition))
        walk = LogWalk(trust, progress=inquiry.progress)
        source = embedded_source(path) if inquiry.with_source else None
        try:
            async with aclosing(_pages(path, topic, partition)) as pages:
                compared = await _walked(walk, pages, source)
        except SourceUnreadableError as error:
            unreadable.append(f"{path}: {name}: {error}")
            compared = {}
        logs += _verdicts(walk, (topic, partition), trust, compared)
    return [*logs, *_lost(logs, trust)]


async def _pages(path: Path, topic: str, partition: int) -> AsyncGenerator[list[Record], None]:
    from streams.embedded.history import (  # noqa: PLC0415  # only where there is a database
        read_partition,
    )

    rows = read_partition(path, topic, partition)
    while page := list(islice(rows, PAGE_RECORDS)):
        yield page


async def _walked(
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


async def _archive(address: str, inquiry: Inquiry) -> list[LogVerdict]:
    means = Means(inquiry.environ, inquiry.progress, inquiry.jobs)
    found, trust = await verify_archive_at(
        address, inquiry.trust, inquiry.archive, inquiry.rosters, means
    )
    return [*found, *_lost(found, replace(trust, may_lag=True))]


async def _tiles(address: str, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    """The static logs at an address: one in a bucket, all below a directory."""
    is_bucket = address.startswith("s3://")
    logs = []
    for place in [address] if is_bucket else list(static_logs(Path(address))):
        try:
            logs.append(await _static_log(place, inquiry))
        except SourceUnreadableError as error:
            unreadable.append(f"{place}: {error}")
    return logs


async def _static_log(place: str, inquiry: Inquiry) -> LogVerdict:
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    store = open_objects(_settings(inquiry, "S3_", ATTESTREAM_ARCHIVE=place))
    try:
        request = TileRequest(origin=tiled_origin(place), progress=inquiry.progress)
        return await verify_tiles(store, inquiry.trust, request)
    finally:
        await store.close()


async def _kafka(address: str, inquiry: Inquiry) -> list[LogVerdict]:
    broker, topic, wanted = kafka_address(address)
    from streams.app import kafka_connection  # noqa: PLC0415  # chooses the adapter

    settings = _settings(inquiry, "KAFKA_", KAFKA_BOOTSTRAP_SERVERS=broker)
    connection = kafka_connection(settings)
    from streams.kafka.engine import KafkaEngine  # noqa: PLC0415  # optional dependency

    engine = KafkaEngine(connection, Topology.of(settings, base=""))
    logs: list[LogVerdict] = []
    try:
        if await engine.partitions(topic) <= (wanted or 0):
            count = await engine.partitions(topic)
            raise SourceUnreadableError(f"there is no such partition: {topic} has {count}")
        roots = await _live_roots(engine, topic)
        inquiry = inquiry._replace(trust=await rooted(inquiry.trust, roots))
        inquiry.rosters.add(inquiry.trust)
        for audit in await _epochs(engine, topic):
            logs += await _topic(engine, (audit, wanted), inquiry)
    finally:
        await engine.close()
    return logs


async def _topic(
    engine: Engine, address: tuple[str, int | None], inquiry: Inquiry
) -> list[LogVerdict]:
    topic, wanted = address
    logs: list[LogVerdict] = []
    count = await engine.partitions(topic)
    for partition in range(count) if wanted is None else (wanted,):
        reader = engine.reader(topic, partition)
        try:
            logs += await _partition(reader, inquiry, live_source(engine))
        finally:
            await reader.close()
    return logs + ([] if wanted is not None else _beyond(topic, count, logs, inquiry.trust))


async def _epochs(engine: Engine, audit_topic: str) -> list[str]:
    """An audit topic, and those of the epochs that forks opened behind it."""
    topics = [audit_topic]
    while await engine.partitions(epoch_topic(audit_topic, len(topics))):
        topics.append(epoch_topic(audit_topic, len(topics)))
    return topics


async def _live_roots(engine: Engine, audit_topic: str) -> RootLogs:
    there = []
    for topic in [root_topic(audit_topic, name) for name in ROOTS]:
        # Whoever may not ask for it is as well off as where it is not.
        with suppress(SettingsError):
            if await engine.partitions(topic):
                there += await _epochs(engine, topic)
    return live_roots(lambda topic: engine.reader(topic, 0), audit_topic, there)


async def _partition(
    reader: PartitionReader, inquiry: Inquiry, source: OpenSource
) -> list[LogVerdict]:
    """What is committed now; what is appended meanwhile is left for the next time."""
    start, end, _ = await reader.bounds()
    inquiry.progress.begin(f"{reader.topic}/{reader.partition}", end - start)
    walk = LogWalk(inquiry.trust, progress=inquiry.progress, start=start)
    async with aclosing(pages(reader, start, end)) as read:
        compared = await _walked(walk, read, source if inquiry.with_source else None)
    return _verdicts(walk, (reader.topic, reader.partition), inquiry.trust, compared)


def _settings(inquiry: Inquiry, prefix: str, **given: str) -> Settings:
    """Only what the connection needs, so that no other setting can be in the way."""
    needed = {name: v for name, v in inquiry.environ.items() if name.startswith(prefix)}
    return load_settings(needed | given)


def _verdicts(
    walk: LogWalk, audit: tuple[str, int], trust: Trust, compared: dict[str, Any]
) -> list[LogVerdict]:
    """The verdict; none for a log not born yet, that is without a record and without an anchor."""
    verdict = replace(walk.verdict(), **compared)
    missing = [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(known.origin for known in trust.known)
        if origin != verdict.origin
        and _belongs(origin, audit)
        and (not verdict.origin or _deployment(origin) == _deployment(verdict.origin))
    ]
    if not (verdict.records or verdict.checkpoints or verdict.breaks):
        # An empty log cannot say who it is. The anchor of a log of this topic and partition can.
        return missing[:1]
    if verdict.origin and not _belongs(verdict.origin, audit):
        detail = f"{audit[0]}/{audit[1]} holds the log {verdict.origin}"
        stranger = BreakError("bad_signature", 0, detail)
        verdict = replace(verdict, breaks=(stranger, *verdict.breaks))
    return [verdict, *missing]


def _deployment(origin: str) -> str:
    return parse_log_name(origin).deployment


def _belongs(origin: str, audit: tuple[str, int]) -> bool:
    """Whether a log of this origin is kept in this audit partition."""
    name, (topic, partition) = parse_log_name(origin), audit
    named = f"audit.{name.topic}" + (f".e{name.epoch}" if name.epoch else "")
    return name.partition == partition and topic.endswith(named)


def _beyond(
    topic: str, partitions: int, found: list[LogVerdict], trust: Trust
) -> list[LogVerdict]:
    """Logs of partitions that an audit topic once had, by an anchor or the roster."""
    deployments = {_deployment(log.origin) for log in found if log.origin}
    return [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(known.origin for known in trust.known)
        if parse_log_name(origin).partition >= partitions
        and _deployment(origin) in deployments
        and _belongs(origin, (topic, parse_log_name(origin).partition))
    ]


def _lost(found: list[LogVerdict], trust: Trust) -> list[LogVerdict]:
    """Logs an anchor or the roster vouches for that a place of their deployment does not hold."""
    held = {log.origin for log in found if log.origin}
    deployments = {_deployment(origin) for origin in held}
    known = trust.anchors if trust.may_lag else trust.known
    return [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(one.origin for one in known)
        if origin not in held and _deployment(origin) in deployments
    ]
