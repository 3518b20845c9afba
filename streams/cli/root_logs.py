"""Where the logs of operations and heads are read, beside the logs that `verify` is asked for."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Literal

from schemas.records import Record
from streams.audit.checkpoint import parse_log_name
from streams.audit.note import MalformedError
from streams.errors import BreakError
from streams.history import PAGE_RECORDS, pages
from streams.ports import ObjectStore, ObjectVersion, PartitionReader
from streams.segments import SegmentReader, parse_object_name
from streams.verifier import SEGMENT_FILE_MAX, RootLogs

__all__ = [
    "EPOCH",
    "RootName",
    "archived_roots",
    "embedded_roots",
    "epoch_topic",
    "filed_roots",
    "live_roots",
    "root_topic",
]

RootName = Literal["operations", "heads"]
Pages = AsyncIterator[list[Record]]
Opener = Callable[[RootName], Sequence[Pages]]
PREFIX = re.compile(r"(.*?)audit\.")
EPOCH = re.compile(r"\.e[1-9][0-9]{0,17}$")


class _Roots:
    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def rows(self, name: RootName) -> Sequence[Pages]:
        return self._opener(name)


def root_topic(audit_topic: str, name: RootName) -> str:
    """The audit topic of operations or heads in the deployment of another audit topic."""
    found = PREFIX.match(audit_topic)
    prefix = found[1] if found else ""
    return f"{prefix}audit.{prefix}attestream.{name}"


def epoch_topic(audit_topic: str, epoch: int) -> str:
    """The audit topic of a later epoch of the logs of another one."""
    return f"{audit_topic}.e{epoch}"


def embedded_roots(path: Path, partitions: Sequence[tuple[str, int]]) -> RootLogs:
    """Those of an embedded database, which holds these audit partitions."""

    def opened(name: RootName) -> Sequence[Pages]:
        return [
            _database_pages(path, topic)
            for topic, partition in partitions
            if partition == 0 and EPOCH.sub("", topic) == root_topic(topic, name)
        ]

    return _Roots(opened)


def live_roots(
    readers: Callable[[str], PartitionReader], audit_topic: str, topics: Sequence[str]
) -> RootLogs:
    """Those of a cluster in which `topics` are, beside `audit_topic`."""

    def opened(name: RootName) -> Sequence[Pages]:
        root = root_topic(audit_topic, name)
        return [_live_pages(readers(one)) for one in topics if EPOCH.sub("", one) == root]

    return _Roots(opened)


def archived_roots(store: ObjectStore, listed: Sequence[ObjectVersion]) -> RootLogs:
    """Those of an archive, among what it lists."""
    segments: dict[str, list[Callable[[], Awaitable[bytes | None]]]] = {}
    seen = set()
    for version in listed:
        name = parse_object_name(version.key)
        if name is None or name.kind != "segment" or version.is_delete_marker:
            continue
        if version.key not in seen:  # the oldest version is the segment
            seen.add(version.key)
            if version.size > SEGMENT_FILE_MAX:
                continue

            async def body(key: str = version.key, of: str = version.version_id) -> bytes | None:
                return await store.get(key, of)

            segments.setdefault(name.origin, []).append(body)

    def opened(name: RootName) -> Sequence[Pages]:
        return [
            _segment_pages(bodies) for origin, bodies in segments.items() if _is_root(origin, name)
        ]

    return _Roots(opened)


def filed_roots(files: Sequence[tuple[str, Path]]) -> RootLogs:
    """Those among segment files, given with the origins they claim, in order."""

    async def read(path: Path) -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    logs: dict[str, list[Callable[[], Awaitable[bytes | None]]]] = {}
    for origin, path in files:
        logs.setdefault(origin, []).append(partial(read, path))

    def opened(name: RootName) -> Sequence[Pages]:
        return [
            _segment_pages(bodies) for origin, bodies in logs.items() if _is_root(origin, name)
        ]

    return _Roots(opened)


def _is_root(origin: str, name: RootName) -> bool:
    with suppress(MalformedError):
        log = parse_log_name(origin)
        return log.partition == 0 and log.topic.endswith(f"attestream.{name}")
    return False


async def _database_pages(path: Path, topic: str) -> AsyncGenerator[list[Record], None]:
    from streams.embedded.history import (  # noqa: PLC0415  # only where there is a database
        read_partition,
    )

    rows = read_partition(path, topic, 0)
    while page := list(islice(rows, PAGE_RECORDS)):
        yield page


async def _live_pages(reader: PartitionReader) -> AsyncGenerator[list[Record], None]:
    try:
        start, end, _ = await reader.bounds()
        async for page in pages(reader, start, end):
            yield page
    finally:
        await reader.close()


async def _segment_pages(
    bodies: Sequence[Callable[[], Awaitable[bytes | None]]],
) -> AsyncGenerator[list[Record], None]:
    for body in bodies:
        data = await body()
        if data is None:
            return
        # What is wrong with the file is said when it is verified itself.
        with suppress(BreakError):
            for rows in SegmentReader(BytesIO(data)).batches():
                yield rows
