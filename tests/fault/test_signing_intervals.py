"""How often a log is signed: no more often than asked for, and at once where appending waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.records import AuditRecord
from streams.app import trusted_keys
from streams.audit.trail import Trail
from streams.clock import SystemClock
from streams.keys.local import LocalSigner
from streams.sealer import BEHIND_MS, PartitionSealer, SealerLimits
from tests.support.sealing_world import BASE, KEY, Faults, SealingWorld, sealing_world

TAIL = 6
RARE = SealerLimits(linger_ms=0, records_max=3, tail_records_max=TAIL, sign_interval_ms=600_000)


class Counted(LocalSigner):
    """Counts what it signs."""

    signatures = 0

    async def sign(self, message: bytes) -> bytes:
        self.signatures += 1
        return await super().sign(message)


@asynccontextmanager
async def sealed(
    folder: Path, limits: SealerLimits
) -> AsyncIterator[tuple[SealingWorld, Counted]]:
    async with sealing_world(folder) as world:
        signer = Counted(KEY)
        log = world.world(Faults(), signer)
        sealing = asyncio.create_task(
            PartitionSealer(log, limits, world.health, SystemClock()).run()
        )
        try:
            yield world, signer
        finally:
            sealing.cancel()
            await asyncio.wait({sealing})


async def leaves(world: SealingWorld) -> tuple[int, int]:
    """Leaves committed, and sealed."""
    trail, count = Trail(world.origin, trusted_keys(LocalSigner(KEY), BASE)), 0
    for record in await world.log():
        count += isinstance(trail.feed(record), AuditRecord)
    return count, trail.size


async def until(world: SealingWorld, holds: Callable[[int, int], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds(*await leaves(world)):  # noqa: ASYNC110  # a topic has no events
            await asyncio.sleep(0.01)


async def test_the_next_signature_waits_for_its_interval_and_no_append_does(
    tmp_path: Path,
) -> None:
    async with sealed(tmp_path, RARE) as (world, signer):
        await world.produce(b"0")
        await until(world, lambda *at: at == (1, 1))
        await world.produce(b"1", b"2", b"3")
        await until(world, lambda *at: at == (4, 1))
        await asyncio.sleep(0.3)
        assert await leaves(world) == (4, 1)
        assert signer.signatures == 2, "of genesis and of what came first"


async def test_a_full_tail_is_signed_before_its_interval_is_over(tmp_path: Path) -> None:
    async with sealed(tmp_path, RARE) as (world, _):
        await world.produce(b"0")
        await until(world, lambda *at: at == (1, 1))
        await world.produce(*[b"%d" % n for n in range(1, 1 + 3 * TAIL)])
        await until(world, lambda committed, _: committed == 1 + 3 * TAIL)


async def test_while_a_backlog_is_worked_off_signatures_are_few(tmp_path: Path) -> None:
    async with sealed(tmp_path, SealerLimits(linger_ms=0, records_max=2)) as (world, signer):
        await world.produce(b"0")
        await until(world, lambda *at: at == (1, 1))
        before, began = signer.signatures, asyncio.get_running_loop().time()
        await world.produce(*[b"%d" % n for n in range(1, 601)])
        await until(world, lambda *at: at == (601, 601))
        lasted_ms = (asyncio.get_running_loop().time() - began) * 1000
        assert signer.signatures - before <= lasted_ms / BEHIND_MS + 3
