"""Every single call into aiokafka fails, before and after it happened, or is a process's last.

Or its last for so long that another has taken over when it wakes. The calls are listed by a first
life of the same work on the real broker, so that a new one is covered by itself; `make test`
strikes a sample of them, `make test-long` each. Whatever fails, only errors the project declares
come out, no partition stops, and the next life ends with one history that is the source's, by the
word of an independent reader.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import errors
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.records import Record
from streams.errors import AttestreamError
from streams.kafka import engine
from streams.telemetry.health import Health
from tests.chaos.judge import judge, sealed_size
from tests.support.independent import read_all
from tests.support.kafka_broker import KafkaBroker
from tests.support.kafka_sealing import KEY, KafkaSealing, make_strikable
from tests.support.struck import LIFE, Calls, Strike
from tests.tidy.repository import ROOT

PUBLIC_KEY = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
NUMBERS = (1, 2, 3)  # of calls made often the first ones stand for the rest
AT_ONCE = 6
SAMPLE = {"Raised": 5, "Killed": 1, "Asleep": 1}
SEED = int(os.environ.get("CALLS_SEED") or random.SystemRandom().randrange(2**32))
NEVER = ("AIOKafkaConsumer.subscribe at once",)  # fails only by a defect of the caller
ENDINGS = ("*.stop", "*.close")  # of a client that stays, its process would have to be killed
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "*": (errors.KafkaConnectionError, errors.RequestTimedOutError, ConnectionResetError),
    "AIOKafkaProducer.*": (errors.ProducerFenced, errors.OutOfOrderSequenceNumber),
    "AIOKafkaProducer.start": (errors.TransactionalIdAuthorizationFailed, AssertionError),
    "AIOKafkaProducer.send_batch*": (
        errors.MessageSizeTooLargeError,
        errors.NotLeaderForPartitionError,
        errors.TopicAuthorizationFailedError,
    ),
    "AIOKafkaProducer.send_offsets_to_transaction": (
        errors.GroupAuthorizationFailedError,
        errors.GroupCoordinatorNotAvailableError,
    ),
    "AIOKafkaConsumer.commit": (
        errors.CommitFailedError,
        errors.IllegalStateError,
        errors.RebalanceInProgressError,
        errors.GroupAuthorizationFailedError,
    ),
    "* at once": (errors.IllegalStateError,),
    "AIOKafkaConsumer.getmany": (errors.UnknownMemberIdError, errors.OffsetOutOfRangeError),
    "AIOKafkaClient.bootstrap": (errors.SaslAuthenticationFailed, AssertionError),
    "AIOKafkaClient.coordinator_lookup": (errors.GroupCoordinatorNotAvailableError,),
    "AIOKafkaClient.send *": (errors.NotLeaderForPartitionError, errors.KafkaStorageError),
    "AIOKafkaClient.send OffsetFetchRequest": (errors.GroupAuthorizationFailedError,),
}
pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Killed(Exception):
    """The process ends with the call."""


class Asleep(Exception):
    """The process sleeps behind the call until another has sealed what it held."""


class Case(NamedTuple):
    """One strike; no error but what becomes of a process where that is `Killed` or `Asleep`."""

    call: str
    number: int
    when: str
    error: type[Exception]

    def __str__(self) -> str:
        return f"{self.error.__name__} {self.when} {self.call} {self.number}"


@pytest.fixture(autouse=True)
def _strikable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "REJOIN_S", 0.05)
    make_strikable(monkeypatch.setattr)


async def made(kafka: KafkaBroker, folder: Path) -> KafkaSealing:
    """New topics with a few records to seal."""
    topic = await kafka.create_topic()
    await kafka.create_topic(name=f"audit.{topic}")
    waits = {"session_timeout_ms": 1500, "heartbeat_interval_ms": 300}
    await feed(kafka, topic, 7)
    return KafkaSealing(kafka.connection(**waits), topic, folder / topic)


async def feed(kafka: KafkaBroker, topic: str, count: int) -> None:
    records = [Record(0, 1_700_000_000_000 + n, b"k", b"event-%d" % n) for n in range(count)]
    await kafka.feed(topic, 0, records)


async def sealed(kafka: KafkaBroker, sealing: KafkaSealing, due: int) -> bool:
    found = await asyncio.to_thread(sealed_size, kafka.bootstrap, sealing.audit, 0)
    return found == due


async def live(kafka: KafkaBroker, sealing: KafkaSealing, due: int, calls: Calls | None) -> None:
    """Seal until `due` leaves are covered, then one more, or until the strike ended the work."""
    LIFE.set(calls)
    async with sealing.sealing() as (running, health):
        LIFE.set(None)
        for more in (0, 1):
            if more:
                await feed(kafka, sealing.topic, 1)
            async with asyncio.timeout(40):
                while not await sealed(kafka, sealing, due + more):
                    if running.done():
                        running.result()
                    if calls is not None and let_go(calls, health):
                        return
                    assert not stopped(health), health.problems()
                    await asyncio.sleep(0.05)


def stopped(health: Health) -> bool:
    return any(part.state == "stopped" for part in health.parts.values())


def let_go(calls: Calls, health: Health) -> bool:
    """The group refused a position: whoever gets the partition next goes on."""
    refused = (errors.CommitFailedError, errors.IllegalStateError)
    of_a_commit = calls.strike is not None and calls.strike.call == "AIOKafkaConsumer.commit"
    return of_a_commit and not health.parts and isinstance(calls.struck, refused)


async def outlive(kafka: KafkaBroker, folder: Path, case: Case) -> bool:
    """Whether the call was reached. Fails where the next life is not whole."""
    sealing = await made(kafka, folder)
    if case.error is Killed:
        reached = await killed(kafka, sealing, case)
    elif case.error is Asleep:
        reached = await overslept(kafka, sealing, case)
    else:
        calls = Calls(Strike(case.call, case.number, case.when, case.error))  # type: ignore[arg-type]
        try:
            await live(kafka, sealing, 7, calls)
        except* AttestreamError:
            pass
        reached = calls.struck is not None
    async with asyncio.timeout(60):
        ends = await asyncio.to_thread(source_end, kafka, sealing)
        await live(kafka, sealing, ends, None)
    names = (sealing.topic, sealing.audit)
    found = await asyncio.to_thread(judge, kafka.bootstrap, names, 0, PUBLIC_KEY)
    assert not found.faults, found
    assert found.sealed == found.source == ends + 1, found
    return reached


def source_end(kafka: KafkaBroker, sealing: KafkaSealing) -> int:
    return len(read_all(kafka.bootstrap, sealing.topic, 0))


@asynccontextmanager
async def another(
    kafka: KafkaBroker, sealing: KafkaSealing, case: Case, to_itself: signal.Signals
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that seals, and right after the call sends itself a signal."""
    module = ["-m", "tests.support.kafka_sealing", kafka.bootstrap, sealing.topic]
    last = [str(sealing.folder), case.call, str(case.number), str(int(to_itself))]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, *module, *last, cwd=ROOT, stdout=quiet, stderr=quiet
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def killed(kafka: KafkaBroker, sealing: KafkaSealing, case: Case) -> bool:
    """Let a process seal until its last call; whether it was reached."""
    async with another(kafka, sealing, case, signal.SIGKILL) as process:
        with suppress(TimeoutError):
            async with asyncio.timeout(15):
                return await process.wait() == -signal.SIGKILL
    return False


async def overslept(kafka: KafkaBroker, sealing: KafkaSealing, case: Case) -> bool:
    """Let a process sleep after a call, and wake it when another has sealed for it."""
    async with another(kafka, sealing, case, signal.SIGSTOP) as process:
        for _ in range(150):
            if is_asleep(process.pid):
                break
            await asyncio.sleep(0.1)
        else:
            return False
        async with sealing.sealing() as (running, health), asyncio.timeout(60):
            for due in (7, 9):
                while not await sealed(kafka, sealing, due):
                    assert not running.done()
                    assert not stopped(health), health.problems()
                    await asyncio.sleep(0.05)
                if due == 7:
                    # What the zombie still holds it would write now.
                    process.send_signal(signal.SIGCONT)
                    await feed(kafka, sealing.topic, 2)
            await asyncio.sleep(1)
    return True


def is_asleep(pid: int) -> bool:
    seen = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    return seen is not None


async def listed(kafka: KafkaBroker, folder: Path) -> Counter[str]:
    calls = Calls()
    await live(kafka, await made(kafka, folder), 7, calls)
    return calls.seen


def cases(seen: Counter[str]) -> Iterator[Case]:
    for call, often in sorted(seen.items()):
        if call in NEVER:
            continue
        names = ["* at once"] if call.endswith(" at once") else ERRORS
        found = [error for name in names if fnmatch(call, name) for error in ERRORS[name]]
        is_ending = any(fnmatch(call, name) for name in ENDINGS)
        for number in NUMBERS[:often]:
            if not is_ending:
                yield from (Case(call, number, "after", fate) for fate in (Killed, Asleep))
                yield from (Case(call, number, "before", error) for error in found)
            yield from (Case(call, number, "after", error) for error in found)


async def outlive_all(kafka: KafkaBroker, folder: Path, chosen: Sequence[Case]) -> list[str]:
    """Every case on topics of its own, some at once; what went wrong, and which were not met."""
    room = asyncio.Semaphore(AT_ONCE)
    missed: list[str] = []

    async def one(case: Case) -> str:
        async with room:
            try:
                if not await outlive(kafka, folder, case):
                    missed.append(str(case))
            except Exception as failure:  # noqa: BLE001 - each is told, with its case
                return f"{case}: {failure!r}"
        return ""

    told = await asyncio.gather(*(one(case) for case in chosen))
    # A life may go another way: the third of a call may stay out. Most of them may not.
    assert len(missed) <= len(chosen) // 5, missed
    return [failure for failure in told if failure]


def fate_of(case: Case) -> str:
    return case.error.__name__ if case.error in {Killed, Asleep} else "Raised"


async def test_a_sample_of_calls_that_fail_leaves_one_history(
    kafka: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nCALLS_SEED={SEED}")
    chance = random.Random(SEED)
    found, chosen = list(cases(await listed(kafka, tmp_path))), list[Case]()
    for fate, count in SAMPLE.items():
        chosen += chance.sample([case for case in found if fate_of(case) == fate], count)
    assert await outlive_all(kafka, tmp_path, chosen) == []


@pytest.mark.long
@pytest.mark.parametrize("fate", SAMPLE)
async def test_every_call_that_fails_leaves_one_history(
    kafka: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str], fate: str
) -> None:
    seen = await listed(kafka, tmp_path)
    found = [case for case in cases(seen) if fate_of(case) == fate]
    with capsys.disabled():
        print(f"\n{fate}: {len(found)} strikes at {len(seen)} calls: {', '.join(sorted(seen))}")
    assert await outlive_all(kafka, tmp_path, found) == []


async def judged_a_gap(kafka: KafkaBroker, folder: Path) -> KafkaSealing:
    """A log whose source lost records before they were sealed."""
    sealing = await made(kafka, folder)
    await live(kafka, sealing, 7, None)
    await feed(kafka, sealing.topic, 3)
    await kafka.trim(sealing.topic, 0, 10)
    return sealing


async def stop(sealing: KafkaSealing, calls: Calls | None) -> None:
    """Run a sealer until it stops by its verdict, or until the strike ended it."""
    LIFE.set(calls)
    async with sealing.sealing() as (running, health), asyncio.timeout(40):
        LIFE.set(None)
        while not stopped(health):
            if running.done():
                running.result()
            await asyncio.sleep(0.05)
        (part,) = health.parts.values()
        assert part.kind == "gap", part


@pytest.mark.long
async def test_a_verdict_is_reached_whatever_fails_on_its_way(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    calls = Calls()
    await stop(await judged_a_gap(kafka, tmp_path), calls)
    confirming = "AIOKafkaProducer.send_offsets_to_transaction"
    chosen = [case for case in cases(calls.seen) if case.call == confirming]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> None:
        async with room:
            sealing = await judged_a_gap(kafka, tmp_path)
            # The worker lives on, with its other partitions: nothing comes out of it.
            await stop(sealing, Calls(Strike(case.call, 1, case.when, case.error)))  # type: ignore[arg-type]
            assert await sealed(kafka, sealing, 8)

    assert chosen
    raised = [case for case in chosen if fate_of(case) == "Raised"]
    failures = await asyncio.gather(*map(one, raised), return_exceptions=True)
    told = [f"{c}: {f!r}" for c, f in zip(raised, failures, strict=True) if f is not None]
    assert told == []
