"""Several processes on one embedded home, and processes that are killed."""

import asyncio
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest

from streams.embedded.database import EmbeddedDatabase
from streams.embedded.history import read_partition
from streams.embedded.partitions import (
    EmbeddedPartitionReader,
    EmbeddedPartitionWriter,
    EmbeddedSourcePartition,
)
from streams.ports import NewRecord
from tests.support.embedded_process import AUDIT, ROLE, SOURCE, another_process

ROUNDS = 10
Starting = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"

    async def make() -> None:
        database = EmbeddedDatabase.open(path)
        await database.ensure_topic(SOURCE)
        await database.ensure_topic(AUDIT, audit=True)
        database.close()

    asyncio.run(make())
    return path


@pytest.fixture
def starting(home: Path) -> Iterator[Starting]:
    """Starts processes on the home; they are gone at the end."""
    with ExitStack() as running:

        def start(verb: str) -> subprocess.Popen[str]:
            process = running.enter_context(another_process(verb, home))
            running.callback(process.kill)
            return process

        yield start


def told(process: subprocess.Popen[str], line: str) -> str:
    """Send a line, return the answer."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return heard(process)


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def check_whole_batches(home: Path) -> int:
    """Every transaction is there wholly or not at all, offsets are dense; how many records."""
    records = list(read_partition(home, AUDIT, 0))
    assert [r.offset for r in records] == list(range(len(records)))
    at = 0
    while at < len(records):
        number, _, count = map(int, (records[at].value or b"").split()[:3])
        run = [tuple(map(int, (r.value or b"").split()[:3])) for r in records[at : at + count]]
        assert run == [(number, n, count) for n in range(count)], f"half a batch at {at}"
        at += count
    return len(records)


async def state_of(home: Path) -> tuple[int, int]:
    """The end of the audit partition and the posted position, as the next start sees them."""
    database = EmbeddedDatabase.open(home)
    bounds = await EmbeddedPartitionReader(database, AUDIT, 0).bounds()
    source = await EmbeddedSourcePartition.own(database, SOURCE, 0, role=ROLE)
    posted = await source.posted()
    database.close()
    assert posted is None or posted.root == b"%032d" % posted.size
    return bounds.end, posted.size if posted else 0


def said(process: subprocess.Popen[str], what: str) -> list[int]:
    """Everything `what` was said of, up to the end of a killed process."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith(what)]


@pytest.mark.slow
def test_a_process_killed_anywhere_leaves_whole_transactions_and_loses_none_it_told_of(
    home: Path, starting: Starting
) -> None:
    chosen = random.Random()
    before = 0
    for _ in range(ROUNDS):
        process = starting("write")
        first = heard(process)
        time.sleep(chosen.uniform(0, 0.06))
        process.kill()
        process.wait()
        # Read as evidence first, so that the engine has mended nothing yet.
        found = check_whole_batches(home)
        end, posted = asyncio.run(state_of(home))
        told_of = [int(first.split()[1]), *said(process, "appended")][-1]
        assert found == end >= told_of > before
        assert posted <= end
        assert check_whole_batches(home) == end
        before = end


def test_starting_a_writer_fences_one_of_another_process(home: Path, starting: Starting) -> None:
    other = starting("append")
    assert heard(other) == "started"
    assert told(other, "first") == "0"

    async def take_over() -> None:
        database = EmbeddedDatabase.open(home)
        writer = EmbeddedPartitionWriter(database, AUDIT, 0)
        await writer.start()
        assert told(other, "zombie") == "FencedError"
        assert told(other, "zombie") == "OutcomeUnknownError"
        assert (await writer.append([NewRecord(0, b"second")])).first_offset == 1
        database.close()

    asyncio.run(take_over())
    assert [r.value for r in read_partition(home, AUDIT, 0)] == [b"first", b"second"]


def test_what_another_process_sends_is_seen_within_the_poll(
    home: Path, starting: Starting
) -> None:
    other = starting("send")
    assert heard(other) == "started"

    async def wait() -> float:
        database = EmbeddedDatabase.open(home)
        reader = EmbeddedPartitionReader(database, SOURCE, 0)
        seen = 0
        slowest = 0.0
        for _ in range(5):
            waiting = asyncio.create_task(reader.fetch(seen, max_records=10, max_wait_ms=5000))
            await asyncio.sleep(0.01)
            assert await asyncio.to_thread(told, other, "1") == "sent"
            began = time.monotonic()
            seen = (await waiting).next_offset
            slowest = max(slowest, time.monotonic() - began)
        database.close()
        assert seen == 5
        return slowest

    assert asyncio.run(wait()) < 1


def test_batches_of_processes_that_send_at_once_do_not_mix(home: Path, starting: Starting) -> None:
    processes = [starting("send") for _ in range(3)]
    for process in processes:
        assert heard(process) == "started"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("3000\n")
        process.stdin.flush()
    for process in processes:
        assert heard(process) == "sent"
    records = list(read_partition(home, SOURCE, 0))
    assert [r.offset for r in records] == list(range(9000))
    places = [int((r.value or b"").split()[1]) for r in records]
    assert sorted(places) == sorted([*range(3000)] * 3)
    runs = [len(list(run)) for _, run in groupby(n - at for at, n in enumerate(places))]
    assert min(runs) >= 20, "a batch is one run of offsets"


def test_processes_that_make_one_home_at_once_agree_who_it_is(tmp_path: Path) -> None:
    processes = [another_process("identity", tmp_path / "new") for _ in range(5)]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5
    assert len(set(answers)) == 1
