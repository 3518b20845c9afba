"""Every single call into SQLite fails, before and after it happened, or is a process's last.

The calls are listed by a first life of the same work, so that a new one is covered by itself.
Whatever fails, only errors the project declares come out, and the next life ends with one
history that is the source's.
"""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from schemas.audit_values import encode_content
from schemas.records import AuditRecord
from streams.app import trusted_keys
from streams.audit.trail import Trail
from streams.embedded.history import read_partition
from streams.errors import AttestreamError, SourceUnreadableError
from streams.keys.local import LocalSigner
from tests.support.sealing_world import BASE, KEY, sealing_world
from tests.support.struck import LIFE, Calls, Strike
from tests.support.struck_sqlite import sqlite_error, strikable

TOPIC, AUDIT = "authz.decisions", "audit.authz.decisions"
VALUES = [b"event-%d" % number for number in range(7)]
ERRORS: dict[str, Callable[[], BaseException]] = {
    "full": lambda: sqlite_error(sqlite3.SQLITE_FULL),
    "read-only": lambda: sqlite_error(sqlite3.SQLITE_READONLY),
    "corrupt": lambda: sqlite_error(sqlite3.SQLITE_CORRUPT, sqlite3.DatabaseError),
}
# Of calls made often the first ones stand for the rest; a commit is each time another's.
OFTEN, COMMITS = 2, 12


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system offers it: what the disk is asked is counted, not its time."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.fixture(autouse=True)
def _strikable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", strikable)


async def live(folder: Path, calls: Calls | None) -> list[AttestreamError]:
    """Open the home, send, seal all of it, close; what it ended with otherwise."""
    LIFE.set(calls)
    failures: list[AttestreamError] = []
    try:
        async with asyncio.timeout(20), sealing_world(folder) as world:
            LIFE.set(None)
            try:
                await world.produce(*VALUES)
            except AttestreamError as error:
                failures.append(error)
            sealing = asyncio.create_task(world.sealer().run())
            try:
                while not sealing.done() and not whole(folder):
                    assert not stopped(world.health.problems())
                    await asyncio.sleep(0.003)
                if sealing.done():
                    sealing.result()
            finally:
                sealing.cancel()
                await asyncio.wait({sealing})
    except AttestreamError as error:
        failures.append(error)
    finally:
        LIFE.set(None)
    return failures


def stopped(problems: list[str]) -> list[str]:
    """Verdicts: a disk that fails is none."""
    return [problem for problem in problems if "stopped" in problem]


def whole(folder: Path) -> bool:
    """Whether everything sent is sealed; whatever is sealed must be what was sent."""
    home = folder / "home"
    try:
        log, events = list(read_partition(home, AUDIT, 0)), list(read_partition(home, TOPIC, 0))
    except SourceUnreadableError:
        return False  # not made yet
    trail = Trail(f"{BASE}/{TOPIC}/0", trusted_keys(LocalSigner(KEY), BASE))
    leaves = [fed for record in log if isinstance(fed := trail.feed(record), AuditRecord)]
    for leaf, event in zip(leaves, events, strict=False):
        assert (leaf.source.offset, leaf.content) == (event.offset, encode_content(event))
    assert len(leaves) <= len(events)
    return trail.size == len(events)


async def outlive(folder: Path, strike: Strike) -> None:
    calls = Calls(strike)
    if await live(folder, calls) or not whole(folder):
        assert await live(folder, None) == []
        assert whole(folder)
    assert calls.struck is not None
    assert len(list(read_partition(folder / "home", TOPIC, 0))) >= len(VALUES)


async def listed(folder: Path) -> Counter[str]:
    calls = Calls()
    assert await live(folder, calls) == []
    return calls.seen


def most(call: str) -> int:
    return COMMITS if "COMMIT" in call else OFTEN


def errors_at(number: int) -> list[str]:
    """Every kind at the first of a call; at the later ones each in turn."""
    return list(ERRORS) if number == 1 else [list(ERRORS)[number % len(ERRORS)]]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_call_that_fails_leaves_one_history(folder: Path, when: str) -> None:
    seen = await listed(folder / "listing")
    assert seen["transaction COMMIT"] >= COMMITS
    for call, often in sorted(seen.items()):
        for number in range(1, min(often, most(call)) + 1):
            for error in errors_at(number):
                strike = Strike(call, number, when, ERRORS[error])  # type: ignore[arg-type]
                try:
                    await outlive(folder / "struck", strike)
                except BaseException as failure:
                    failure.add_note(f"{error} {when} {call} {number}")
                    raise
                shutil.rmtree(folder / "struck")


async def test_a_process_killed_right_after_a_call_leaves_one_history(folder: Path) -> None:
    living, kept = folder / "living", folder / "kept"

    def keep(call: str, number: int) -> None:
        # What a kill leaves is what the files hold at that moment.
        if number <= most(call) and living.exists():
            shutil.copytree(living, kept / f"{len(list(kept.glob('*')))} after {number} {call}")

    kept.mkdir()
    assert await live(living, Calls(done=keep)) == []
    homes = sorted(kept.iterdir())
    assert len(homes) > 50
    for home in homes:
        assert await live(home, None) == [], home.name
        assert whole(home), home.name
