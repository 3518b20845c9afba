"""Every durable write of the sealer, lost and applied-but-unanswered, then recovered."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import TransientError
from streams.keys.local import LocalSigner
from streams.sealer import SealerLimits
from tests.support.sealing_world import KEY, Faults, sealing_world

VALUES = [b"event-%d" % i for i in range(10)]
# (write, its how-manieth call); a second start and a second claim need a failed append before.
CALLS = [("claim", 1), ("start", 1), ("start", 2)]
CALLS += [(write, call) for write in ("append", "post") for call in (1, 2, 3)]


@pytest.mark.parametrize("fate", ["lost", "applied"])
@pytest.mark.parametrize(("write", "call"), CALLS)
async def test_write_that_failed_leaves_one_history(
    tmp_path: Path, write: str, call: int, fate: str
) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        faults = Faults({(write, call): fate})
        if (write, call) == ("start", 2):
            faults.plan["append", 2] = "lost"
        await world.seal(len(VALUES), faults)
        assert await world.sealed() == len(VALUES)
        assert (write, fate) in faults.hit


async def test_every_append_fails_once_and_nothing_is_doubled(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        fates = {("append", n): ("applied" if n % 2 else "lost") for n in range(1, 12)}
        await world.seal(len(VALUES), Faults(fates))
        assert await world.sealed() == len(VALUES)


async def test_second_sealer_fences_the_first_and_continues_its_history(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        first = asyncio.create_task(world.sealer().run())
        await asyncio.sleep(0.05)
        await world.produce(*VALUES)
        await world.seal(2 * len(VALUES))
        first.cancel()
        await asyncio.wait({first})
        assert await world.sealed() == 2 * len(VALUES)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # states, not events, are looked at
            await asyncio.sleep(0.01)


class SlowSigner(LocalSigner):
    """Fails for a while, then works."""

    failures = 5

    async def sign(self, message: bytes) -> bytes:
        if b"\n0\n" not in message and SlowSigner.failures:
            SlowSigner.failures -= 1
            raise TransientError("no signer")
        return await super().sign(message)


class WrongSigner(LocalSigner):
    """Signs the empty tree well and everything else wrongly."""

    async def sign(self, message: bytes) -> bytes:
        good = await super().sign(message)
        return good if b"\n0\n" in message else bytes([good[0] ^ 1]) + good[1:]


async def test_failing_signer_delays_checkpoints_and_not_appends(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES), signer=SlowSigner(KEY))
        assert await world.sealed() == len(VALUES)


async def test_wrong_signature_is_never_committed(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        task = asyncio.create_task(world.sealer(signer=WrongSigner(KEY)).run())
        await until(lambda: any("signer" in problem for problem in world.health.problems()))
        assert await world.sealed() == 0
        task.cancel()
        await asyncio.wait({task})


async def test_tail_fills_to_its_limit_and_waits_for_the_signer(tmp_path: Path) -> None:
    class NoSigner(LocalSigner):
        async def sign(self, message: bytes) -> bytes:
            if b"\n0\n" in message:
                return await super().sign(message)
            raise TransientError("no signer")

    limits = SealerLimits(linger_ms=0, records_max=3, tail_records_max=6, retry_s=0.001)
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        task = asyncio.create_task(world.sealer(signer=NoSigner(KEY), limits=limits).run())
        await until(lambda: any("signer" in problem for problem in world.health.problems()))
        await asyncio.sleep(0.3)
        assert len(await world.log()) == 1 + 6
        task.cancel()
        await asyncio.wait({task})
        await world.seal(len(VALUES))
        assert await world.sealed() == len(VALUES)
