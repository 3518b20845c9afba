"""Running the tiles projection over a log, and looking at the static log it leaves."""

from hashlib import sha256
from itertools import pairwise

from projections.tiles.projection import PublishRules, TilesProjection, TilesWorld
from schemas.audit_values import decode_audit_value
from schemas.records import AuditRecord, Record
from streams.audit.leaf import leaf_entry
from streams.clock import SystemClock
from streams.errors import OutcomeUnknownError, SourceChangedError, TransientError
from streams.objects import CheckedStore
from streams.ports import Bounds, Clock, Fetched, PublicStore, TopicFacts
from tests.support.archives import Died
from tests.support.sealed_log import KEYS, ORIGIN, PUBLIC_KEY, SealedLog, batches_of
from tests.support.static_checker import check_static_log

__all__ = ["PREFIX", "RowsReader", "check_tiles", "entries", "run_tiler", "static_files", "tiler"]

PREFIX = f"tiles/v1/{ORIGIN}/"


class RowsReader:
    """`PartitionReader` over rows in memory, a few a page."""

    topic, partition = "audit.authz.decisions", 0

    def __init__(self, rows: list[Record], page: int = 7) -> None:
        assert all(one.offset < other.offset for one, other in pairwise(rows))
        self._rows = rows
        self._page = page

    async def bounds(self) -> Bounds:
        end = self._rows[-1].offset + 2 if self._rows else 0
        return Bounds(0, end, end)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        del max_wait_ms
        end = (await self.bounds()).end
        if not 0 <= offset <= end:
            raise SourceChangedError(f"no offset {offset}")
        found = [r for r in self._rows if r.offset >= offset]
        page = found[: min(max_records, self._page)]
        return Fetched(page, page[-1].offset + 1 if page else end)

    async def facts(self) -> TopicFacts:
        return TopicFacts("cluster", "topic", "delete", 1)

    async def close(self) -> None:
        pass


def tiler(
    objects: PublicStore,
    log: SealedLog,
    rules: PublishRules | None = None,
    clock: Clock | None = None,
) -> TilesProjection:
    world = TilesWorld(
        objects=objects,
        keys=KEYS,
        clock=clock or SystemClock(),
        open_reader=lambda: RowsReader(log.rows),
        rules=rules or PublishRules(),
    )
    return TilesProjection(world, ORIGIN)


async def run_tiler(
    objects: PublicStore, log: SealedLog, rules: PublishRules | None = None, *, starts: int = 50
) -> None:
    """The read loop until everything sealed is published: whatever may pass, it opens anew."""
    for _ in range(starts):
        projection = tiler(objects, log, rules)
        try:
            position = await projection.resume()
            for batch in batches_of(log, position):
                await projection.apply(batch)
            await projection.idle()
        except (Died, OutcomeUnknownError, TransientError):
            continue
        await projection.close()
        return
    raise AssertionError(f"not published after {starts} starts")


def entries(log: SealedLog) -> list[bytes]:
    """The entries of all records, the tail's too."""
    values = (decode_audit_value(row.value or b"") for row in log.rows)
    found = [
        leaf_entry(v.index, v.source, v.content) for v in values if isinstance(v, AuditRecord)
    ]
    assert [sha256(b"\0" + entry).digest() for entry in found] == log.leaves()
    return found


async def static_files(objects: CheckedStore, prefix: str = PREFIX) -> dict[str, bytes]:
    """Every file of the static log as a reader without versions finds it, by its path."""
    files = {}
    for version in await objects.versions(prefix):
        found = await objects.newest(version.key)
        if found is not None:
            files[version.key.removeprefix(prefix)] = found.body
    return files


async def check_tiles(objects: CheckedStore, known: list[bytes]) -> int:
    """The published size, once all that is there verifies; 0 where nothing is published.

    `known` are the entries of the whole log.
    """
    files = await static_files(objects)
    if "checkpoint" not in files:
        return 0
    return check_static_log(files, ORIGIN, PUBLIC_KEY, known)
