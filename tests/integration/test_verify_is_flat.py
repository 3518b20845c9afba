"""The command on a log eight times as long: as much memory, the same words, on any cores."""

import asyncio
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from schemas.records import Record
from streams.objects import DirectoryObjectStore
from streams.segments import (
    FIRST_PREVIOUS,
    encode_block,
    encode_head,
    encode_segment,
    manifest_name,
    segment_name,
)
from tests.support.archived_logs import Segment, manifest_of
from tests.support.signed_logs import FIRST_TIMESTAMP, KEY, ORIGIN, SignedLog, checkpoint_of

pytestmark = pytest.mark.integration
COMMAND = Path(sys.executable).with_name("attestream")
SHORT, LONG = 10_000, 80_000
TOLERATED_MB = 12  # allocators keep what they once had


class Ran(NamedTuple):
    """How a process ended, what it said, and the most that was resident in one process of it."""

    status: int
    out: str
    resident_mb: int


def export(path: Path, records: int) -> Path:
    log = SignedLog()
    with path.open("wb") as file:
        file.write(encode_head(ORIGIN, 0, None))
        for first in range(0, records, 500):
            log.append(
                Record(n, FIRST_TIMESTAMP + n, b"k%d" % (n % 97), n.to_bytes(300, "big"))
                for n in range(first, first + 500)
            )
            log.leaves.clear()
            if (first + 500) % 5000 == 0:
                log.rows.append(log.checkpoint_row(log.frontier))
                log._offset += 2
            file.write(encode_block(ORIGIN, 0, log.rows))
            log.rows.clear()
    return path


def verify(path: Path, keys: Path, jobs: int, *more: str) -> Ran:
    arguments = ["verify", str(path), "--keys", str(keys), "--json", "--jobs", str(jobs), *more]
    process = subprocess.Popen(
        [str(COMMAND), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process.stdout as told:
        out = told.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ran(process.returncode, out, used.ru_maxrss // 1024)


def test_memory_does_not_grow_with_the_log_and_the_verdict_not_with_the_cores(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(KEY.vkey().render())
    resident: dict[int, list[int]] = {1: [], 3: []}
    for records in (SHORT, LONG):
        path = export(tmp_path / f"{records}.avro", records)
        told = set()
        for jobs, seen in resident.items():
            ran = verify(path, keys, jobs)
            assert ran.status == 0, ran.out
            assert f'"size": {records}' in ran.out
            told.add(ran.out)
            seen.append(ran.resident_mb)
        assert len(told) == 1
        path.unlink()
    for short, long in resident.values():
        assert long - short < TOLERATED_MB


async def archive(place: Path, segments: int) -> None:
    """As many segments of 2,000 records; none of them stays in memory here."""
    store, log = DirectoryObjectStore(place), SignedLog()
    previous, opening = FIRST_PREVIOUS, cast("Record | None", None)
    for first in range(0, 2000 * segments, 2000):
        log.extend(2000, 300)
        log.leaves.clear()
        log.rows.append(log.checkpoint_row(log.frontier))
        log._offset += 2
        segment = Segment(first, first + 2000, log.rows, opening)
        before = checkpoint_of(opening) if opening else None
        data = encode_segment(ORIGIN, first, before, log.rows)
        name = segment_name(ORIGIN, first)
        version = await store.create(name, data, retain_days=1)
        info = await store.head(name, version)
        assert info is not None
        manifest = manifest_of(segment, data, previous, (version, info)).render()
        await store.create(manifest_name(ORIGIN, first), manifest, retain_days=1)
        previous, opening = sha256(manifest).hexdigest(), log.rows[-1]
        log.rows = []


@pytest.mark.long
def test_memory_does_not_grow_with_the_segments_of_an_archive(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(KEY.vkey().render())
    resident: dict[int, list[int]] = {1: [], 3: []}
    for segments in (8, 64):
        place = tmp_path / f"{segments}"
        asyncio.run(archive(place, segments))
        for jobs, seen in resident.items():
            memory = ("--resume", str(tmp_path / f"{segments}-{jobs}.json"))
            ran = verify(place, keys, jobs, *memory)
            assert ran.status == 0, ran.out
            assert f'"size": {2000 * segments}' in ran.out
            seen.append(ran.resident_mb)
    for short, long in resident.values():
        assert long - short < TOLERATED_MB
