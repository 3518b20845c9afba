"""A log restored from its archive into an embedded directory, every record verified on the way."""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measuring import Round, median, rounds, usage
from projections.ports import Position
from projections.replay.archived import ArchivedLog
from projections.replay.copying import copy_log
from projections.replay.places import directory_place
from projections.replay.staging import StagingLog
from projections.runner import SealedWalk
from schemas.records import Record
from streams.audit.checkpoint import CheckpointText, make_note
from streams.audit.merkle import Frontier
from streams.audit.note import ED25519
from streams.audit.sealing import checkpoint_record, plan_batch
from streams.audit.trail import Trail
from streams.garbage import collect_rarely
from streams.objects import CheckedStore, DirectoryObjectStore
from tests.support.archives import archiver
from tests.support.sealed_log import BASE, KEY, KEYS, ORIGIN, PUBLIC_KEY, TOPIC

BATCH = 4096
VALUE_BYTES = 300
AUDIT = f"audit.{TOPIC}"


def report(*, quick: bool) -> list[str]:
    """Markdown lines: what a restore does a second, and what verifying alone takes of it."""
    collect_rarely()  # as the command does
    count, times = (100_000, 1) if quick else (1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        archive = Path(folder) / "archive"
        asyncio.run(fill(DirectoryObjectStore(archive), count))
        stored = sum(path.stat().st_size for path in archive.rglob("*.avro"))
        modes = {
            "restored into an embedded directory": lambda: asyncio.run(restored(archive, count)),
            "verified and dropped": lambda: asyncio.run(verified(archive, count)),
        }
        measured = rounds(modes, times)
    lines = ["| what | records/s | µs CPU a record |", "|---|---|---|"]
    for what, found in measured.items():
        figures = median(found)
        title = f"{count:,} × {VALUE_BYTES} B ({stored / 2**20:,.0f} MiB archived), {what}"
        lines.append(f"| {title} | {figures.rate:,.0f} | {figures.cpu_us:.1f} |")
    return lines


async def fill(store: CheckedStore, count: int) -> None:
    """An archive of one log, in segments as a worker cuts them; closes the store."""
    projection = archiver(store)
    await projection.resume()
    walk = SealedWalk(ORIGIN, Trail(ORIGIN, None), Position(0, None, None))
    for rows in log_rows(count):
        for batch in walk.feed(rows):
            await projection.apply(batch)
    await projection.idle()
    await projection.close()
    await store.close()


def log_rows(count: int) -> Iterator[list[Record]]:
    """Audit rows of a log of random values, a checkpoint behind each batch."""
    frontier, offset = Frontier(), 0

    def checkpoint(timestamp: int) -> Record:
        text = CheckpointText(ORIGIN, frontier.size, frontier.root())
        note = make_note(text, ED25519, PUBLIC_KEY, KEY.sign(text.render().encode()))
        new = checkpoint_record(note, frontier, timestamp)
        return Record(offset, new.timestamp, None, new.value)

    yield [checkpoint(0)]
    offset += 1
    for first in range(0, count, BATCH):
        source = [
            Record(i, 1_760_000_000_000 + i, b"k%d" % (i % 97), secrets.token_bytes(VALUE_BYTES))
            for i in range(first, min(first + BATCH, count))
        ]
        plan = plan_batch(frontier, TOPIC, 0, source)
        rows = [
            Record(offset + i, new.timestamp, None, new.value)
            for i, new in enumerate(plan.records)
        ]
        frontier, offset = plan.frontier, offset + len(rows)
        yield [*rows, checkpoint(rows[-1].timestamp)]
        offset += 1


async def restored(archive: Path, count: int) -> Round:
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        async with directory_place(Path(folder), BASE) as place:
            await place.ensure({AUDIT: 1})
            staging = StagingLog(
                lambda: place.reader(AUDIT, 0), lambda: place.writer(AUDIT, 0), ORIGIN, KEYS
            )
            with usage() as used:
                done = await copy_log(log_in(archive), staging, 0)
            assert done.size == count
    return Round(count / used.wall, used.cpu / count * 1e6)


async def verified(archive: Path, count: int) -> Round:
    size = 0
    with usage() as used:
        async for piece in log_in(archive).pieces(0):
            size = piece.size
    assert size == count
    return Round(count / used.wall, used.cpu / count * 1e6)


def log_in(archive: Path) -> ArchivedLog:
    return ArchivedLog(store=DirectoryObjectStore(archive), origin=ORIGIN, keys=KEYS)
