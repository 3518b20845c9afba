"""Where `verify` reads logs from; the forms of an address are in `streams.cli.addresses`.

Only reading happens here; `streams.verifier` judges. The clients of brokers and buckets are loaded
when an address needs them, and only those ask for settings.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from schemas.records import Record
from streams.cli.addresses import (
    is_segment,
    kind_of,
    static_logs,
    tiled_origin,
)
from streams.cli.archive_source import Means, Rosters, verify_archive_at
from streams.cli.inquiries import Inquiry, connection_settings, lost, verdicts, walked
from streams.cli.live_histories import verify_topic
from streams.cli.root_logs import (
    embedded_roots,
    filed_roots,
)
from streams.cli.source_pages import embedded_source
from streams.errors import (
    SettingsError,
    SourceChangedError,
    SourceUnreadableError,
    TransientError,
)
from streams.history import PAGE_RECORDS
from streams.verifier import (
    Digests,
    LogVerdict,
    LogWalk,
    TileRequest,
    Verdict,
    claimed_origins,
    rooted,
    verdict_of,
    verify_files,
    verify_proof_text,
    verify_tiles,
)

__all__ = ["Inquiry", "verify_histories"]

PROOF_BYTES_MAX = 2**20


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
            return await verify_topic(address, inquiry, unreadable)
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
                compared = await walked(walk, pages, source)
        except SourceUnreadableError as error:
            unreadable.append(f"{path}: {name}: {error}")
            compared = {}
        logs += verdicts(walk, (topic, partition), trust, compared)
    return [*logs, *lost(logs, trust)]


async def _pages(path: Path, topic: str, partition: int) -> AsyncGenerator[list[Record], None]:
    from streams.embedded.history import (  # noqa: PLC0415  # only where there is a database
        read_partition,
    )

    rows = read_partition(path, topic, partition)
    while page := list(islice(rows, PAGE_RECORDS)):
        yield page


async def _archive(address: str, inquiry: Inquiry) -> list[LogVerdict]:
    means = Means(inquiry.environ, inquiry.progress, inquiry.jobs)
    found, trust = await verify_archive_at(
        address, inquiry.trust, inquiry.archive, inquiry.rosters, means
    )
    return [*found, *lost(found, replace(trust, may_lag=True))]


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

    store = open_objects(connection_settings(inquiry, "S3_", ATTESTREAM_ARCHIVE=place))
    try:
        request = TileRequest(origin=tiled_origin(place), progress=inquiry.progress)
        return await verify_tiles(store, inquiry.trust, request)
    finally:
        await store.close()
