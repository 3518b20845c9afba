"""Where `verify` reads logs from, by the form of the address.

    kafka://host:port/topic[/partition]   an audit topic, or one partition of it
    s3://bucket/prefix                    an archive
    a directory                           an embedded home (it has `attestream.db`), an archive, or
                                          static logs: itself, or whatever is below it
    s3://bucket/prefix/tiles/v1/origin    a static log
    a file                                a segment as `audit export` writes it, a copy of an
                                          embedded database, or a tlog-proof

Only reading happens here; `streams.verifier` judges. The clients of brokers and buckets are loaded
when an address needs them, and only those ask for settings.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from streams.audit.checkpoint import parse_log_name
from streams.errors import (
    BreakError,
    SettingsError,
    SourceChangedError,
    SourceUnreadableError,
    TransientError,
)
from streams.ports import PartitionReader
from streams.segments import TILES
from streams.settings import Settings, load_settings
from streams.static_log import CHECKPOINT
from streams.topology import Topology
from streams.verifier import (
    ArchiveRequest,
    LogVerdict,
    LogWalk,
    OnRows,
    TileRequest,
    Trust,
    Verdict,
    verdict_of,
    verify_archive,
    verify_files,
    verify_proof_text,
    verify_tiles,
)

__all__ = ["Inquiry", "verify_histories"]

DATABASE = "attestream.db"
SQLITE_MAGIC = b"SQLite format 3\x00"
SEGMENT_MAGIC = b"Obj\x01"
PROOF_MAGIC = b"c2sp.org/tlog-proof@"
PAGE_RECORDS = 2000
PROOF_BYTES_MAX = 2**20


class Inquiry(NamedTuple):
    """How histories are to be verified.

    Attributes:
        trust: keys and anchors.
        level: how deep an archive is read.
        leaf: the leaf hash a tlog-proof is to prove.
        environ: where connections to brokers and buckets are set.
        on_rows: told how many rows were verified, now and then.
    """

    trust: Trust
    level: str
    leaf: bytes | None
    environ: Mapping[str, str]
    on_rows: OnRows


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
    segments = [Path(address) for address in addresses if _is_segment(address)]
    others = [address for address in addresses if not _is_segment(address)]
    if segments:
        try:
            logs += verify_files(segments, inquiry.trust, on_rows=inquiry.on_rows)
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


async def _verify_one(address: str, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    match _kind(address):
        case "kafka":
            return await _kafka(address, inquiry)
        case "archive":
            return await _archive(address, inquiry)
        case "tiles":
            return await _tiles(address, inquiry, unreadable)
        case "embedded":
            return _embedded(Path(address), inquiry, unreadable)
        case "proof":
            return [_proof(Path(address), inquiry)]


def _kind(address: str) -> Literal["kafka", "archive", "tiles", "embedded", "proof"]:
    path = Path(address)
    if address.startswith("kafka://"):
        return "kafka"
    if address.startswith("s3://"):
        return "archive" if _tiled_origin(address) is None else "tiles"
    if (path / "archive" / "v1").is_dir():
        return "archive"
    if (path / DATABASE).is_file() or _starts_with(path, SQLITE_MAGIC):
        return "embedded"
    if _starts_with(path, PROOF_MAGIC):
        return "proof"
    if next(_static_logs(path), None):
        return "tiles"
    if not path.exists():
        raise SourceUnreadableError("no such file or directory")
    raise SourceUnreadableError(
        "neither a segment, a database, a tlog-proof, an archive, nor a static log"
    )


def _is_segment(address: str) -> bool:
    path = Path(address)
    return path.is_file() and (path.suffix == ".avro" or _starts_with(path, SEGMENT_MAGIC))


def _starts_with(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False  # What it is cannot be told; whoever reads it says why.


def _proof(path: Path, inquiry: Inquiry) -> LogVerdict:
    if inquiry.leaf is None:
        raise SettingsError([f"{path}: a tlog-proof proves a record: give its --leaf hash"])
    try:
        with path.open("rb") as file:
            text = file.read(PROOF_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnreadableError(f"{error}") from error
    return verify_proof_text(text, inquiry.leaf, inquiry.trust)


def _embedded(path: Path, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    from streams.embedded.history import (  # noqa: PLC0415  # only where there is a database
        list_audit_partitions,
        read_partition,
    )

    logs = []
    for topic, partition in list_audit_partitions(path):
        walk = LogWalk(inquiry.trust, on_rows=inquiry.on_rows)
        rows = read_partition(path, topic, partition)
        try:
            while page := list(islice(rows, PAGE_RECORDS)):
                walk.feed(page)
        except SourceUnreadableError as error:
            unreadable.append(f"{path}: {topic}/{partition}: {error}")
        logs += _verdicts(walk, (topic, partition), inquiry.trust)
    return [*logs, *_lost(logs, inquiry.trust)]


async def _archive(address: str, inquiry: Inquiry) -> list[LogVerdict]:
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    store = open_objects(_settings(inquiry, "S3_", ATTESTREAM_ARCHIVE=address))
    try:
        locked = address.startswith("s3://")
        request = ArchiveRequest(inquiry.level, locked, inquiry.on_rows)
        found = await verify_archive(store, inquiry.trust, request)
        return [*found, *_lost(found, inquiry.trust)]
    finally:
        await store.close()


def _static_logs(path: Path) -> Iterator[str]:
    """The directories at or below `path` that are static logs."""
    for folder, folders, files in os.walk(path):
        if CHECKPOINT in files and "tile" in folders:
            yield folder
        folders[:] = sorted(set(folders) - {"tile"})


def _tiled_origin(address: str) -> str | None:
    """The origin in the address of a static log; None where none is in it."""
    place = address if address.startswith("s3://") else str(Path(address).absolute())
    _, found, origin = f"{place.rstrip('/')}/".rpartition(f"/{TILES}")
    return origin.rstrip("/") if found else None


async def _tiles(address: str, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    """The static logs at an address: one in a bucket, all below a directory."""
    is_bucket = address.startswith("s3://")
    logs = []
    for place in [address] if is_bucket else list(_static_logs(Path(address))):
        try:
            logs.append(await _static_log(place, inquiry))
        except SourceUnreadableError as error:
            unreadable.append(f"{place}: {error}")
    return logs


async def _static_log(place: str, inquiry: Inquiry) -> LogVerdict:
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    store = open_objects(_settings(inquiry, "S3_", ATTESTREAM_ARCHIVE=place))
    try:
        request = TileRequest(origin=_tiled_origin(place), on_rows=inquiry.on_rows)
        return await verify_tiles(store, inquiry.trust, request)
    finally:
        await store.close()


async def _kafka(address: str, inquiry: Inquiry) -> list[LogVerdict]:
    broker, topic, wanted = _kafka_address(address)
    from streams.app import kafka_connection  # noqa: PLC0415  # chooses the adapter

    settings = _settings(inquiry, "KAFKA_", KAFKA_BOOTSTRAP_SERVERS=broker)
    connection = kafka_connection(settings)
    from streams.kafka.engine import KafkaEngine  # noqa: PLC0415  # optional dependency

    engine = KafkaEngine(connection, Topology.of(settings, base=""))
    logs = []
    try:
        count = await engine.partitions(topic)
        if count <= (wanted or 0):
            raise SourceUnreadableError(f"there is no such partition: {topic} has {count}")
        for partition in range(count) if wanted is None else (wanted,):
            reader = engine.reader(topic, partition)
            try:
                logs += await _partition(reader, inquiry)
            finally:
                await reader.close()
    finally:
        await engine.close()
    return logs


async def _partition(reader: PartitionReader, inquiry: Inquiry) -> list[LogVerdict]:
    """What is committed now; what is appended meanwhile is left for the next time."""
    walk = LogWalk(inquiry.trust, on_rows=inquiry.on_rows)
    offset, end, _ = await reader.bounds()
    while offset < end:
        fetched = await reader.fetch(offset, max_records=PAGE_RECORDS, max_wait_ms=500)
        walk.feed([row for row in fetched.records if row.offset < end])
        offset = fetched.next_offset
    return _verdicts(walk, (reader.topic, reader.partition), inquiry.trust)


def _kafka_address(address: str) -> tuple[str, str, int | None]:
    parts = urlsplit(address)
    topic, _, partition = parts.path.removeprefix("/").partition("/")
    if not parts.netloc or not topic or not (partition.isdecimal() or not partition):
        raise SettingsError([f"expected kafka://host:port/topic[/partition], got {address}"])
    return parts.netloc, topic, int(partition) if partition else None


def _settings(inquiry: Inquiry, prefix: str, **given: str) -> Settings:
    """Only what the connection needs, so that no other setting can be in the way."""
    needed = {name: v for name, v in inquiry.environ.items() if name.startswith(prefix)}
    return load_settings(needed | given)


def _verdicts(walk: LogWalk, audit: tuple[str, int], trust: Trust) -> list[LogVerdict]:
    """The verdict; none for a log not born yet, that is without a record and without an anchor."""
    verdict = walk.verdict()
    missing = [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(anchor.origin for anchor in trust.anchors)
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


def _lost(found: list[LogVerdict], trust: Trust) -> list[LogVerdict]:
    """Logs an anchor vouches for that an archive of the same deployment does not hold."""
    held = {log.origin for log in found}
    deployments = {_deployment(origin) for origin in held}
    return [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(anchor.origin for anchor in trust.anchors)
        if origin not in held and _deployment(origin) in deployments
    ]
