"""Signers that fail while a log is sealed: no bad checkpoint, appends go on, and it recovers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from schemas.records import AuditRecord
from streams.app import trusted_keys
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.keys.guarded import GuardedSigner, GuardLimits
from streams.keys.local import LocalSigner
from streams.sealer import PartitionSealer, SealerLimits
from tests.support.opened_signers import REMOTE, RemoteSigner, remote
from tests.support.sealing_world import BASE, KEY, Faults, SealingWorld, sealing_world
from tests.support.signing_servers import Fault

TAIL = 6
LIMITS = SealerLimits(
    linger_ms=0, records_max=3, tail_records_max=TAIL, retry_s=0.001, retry_max_s=0.05
)
GUARD = GuardLimits(timeout_s=1, failures_max=2, open_s=0.05)
VALUES = [b"event-%d" % n for n in range(12)]
KEY_TURNED = "of another key"
FAULTS: list[Fault | str] = [
    "silence",
    "503",
    "torn",
    "noise",
    "one bit",
    "half a signature",
    "nothing",
    KEY_TURNED,
]
# Every fault with the proxy; with AWS KMS those its client sees in its own way.
RUNS = [("proxy", fault) for fault in FAULTS]
RUNS += [("kms-ed25519", fault) for fault in ("silence", "503", KEY_TURNED)]
RUNS += [("kms-p256", fault) for fault in ("one bit", "half a signature")]


@dataclass(frozen=True, slots=True)
class SignedWorld:
    """A log sealed by one remote signer, and what anyone can read of it."""

    world: SealingWorld
    server: RemoteSigner
    keys: TrustedKeys
    sealing: asyncio.Task[None]

    async def leaves(self) -> tuple[int, int]:
        """Leaves committed and sealed; every record and checkpoint verified, the tail bounded."""
        trail, leaves = Trail(self.world.origin, self.keys), 0
        for record in await self.world.log():
            leaves += isinstance(trail.feed(record), AuditRecord)
        assert leaves - trail.size <= TAIL
        return leaves, trail.size

    async def until(self, reached: Callable[[int, int], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached(*await self.leaves()):
                await asyncio.sleep(0.01)
                if self.sealing.done():
                    self.sealing.result()

    @property
    def state(self) -> str:
        (part,) = self.world.health.parts.values()
        return part.state

    @property
    def why(self) -> str:
        return "".join(part.why for part in self.world.health.parts.values())

    def spoil(self, fault: str) -> Callable[[], None]:
        """Let the server fail; call what is returned to mend it."""
        if fault == KEY_TURNED:
            return self.server.turn_key()
        faults: Any = self.server.faults
        faults.fault = fault
        return lambda: setattr(faults, "fault", "")


@asynccontextmanager
async def signed_world(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str = ""
) -> AsyncIterator[SignedWorld]:
    """`fault` is there from the first signature on."""
    async with sealing_world(folder) as world, remote(kind, monkeypatch) as server:
        signer = GuardedSigner(await server.open(), SystemClock(), GUARD)
        keys = trusted_keys(signer, BASE)
        log = world.world(Faults(), signer)
        server.faults.fault = fault  # type: ignore[assignment]  # a name from a table
        sealer = PartitionSealer(log, LIMITS, world.health, SystemClock())
        sealing = asyncio.create_task(sealer.run())
        try:
            yield SignedWorld(world, server, keys, sealing)
        finally:
            sealing.cancel()
            await asyncio.wait({sealing})


@pytest.mark.parametrize(("kind", "fault"), RUNS)
async def test_failed_signer_delays_checkpoints_up_to_the_tail_limit_and_no_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fault: str
) -> None:
    async with signed_world(kind, tmp_path, monkeypatch) as run:
        await run.world.produce(*VALUES[:2])
        await run.until(lambda _, sealed: sealed == 2)
        mend = run.spoil(fault)
        await run.world.produce(*VALUES[2:])
        await run.until(lambda committed, _: committed == 2 + TAIL)
        # Longer than the watch that looks at the source once a second.
        await asyncio.sleep(1.1)
        assert await run.leaves() == (2 + TAIL, 2)
        assert run.state == "waiting"
        assert run.why.startswith("the signer fails: ")
        mend()
        await run.until(lambda _, sealed: sealed == len(VALUES))


async def test_wrong_signature_of_a_signer_without_guard_stops_no_log(tmp_path: Path) -> None:
    class WrongAtFirst(LocalSigner):
        wrong = 5

        async def sign(self, message: bytes) -> bytes:
            good = await super().sign(message)
            self.wrong -= 1
            return good[::-1] if self.wrong >= 0 else good

    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES), signer=WrongAtFirst(KEY))
        assert "stopped" not in {part.state for part in world.health.parts.values()}


async def test_readiness_names_the_signer_until_it_signs_again(tmp_path: Path) -> None:
    class NoSigner(LocalSigner):
        async def sign(self, message: bytes) -> bytes:
            if b"\n0\n" in message:
                return await super().sign(message)
            raise SettingsError(["the key is disabled"])

    seldom = replace(LIMITS, retry_s=60, retry_max_s=60)
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        sealing = asyncio.create_task(world.sealer(signer=NoSigner(KEY), limits=seldom).run())
        # Longer than the watch that looks at the source once a second.
        await asyncio.sleep(2.2)
        (part,) = world.health.parts.values()
        assert (part.state, part.why) == ("waiting", "the signer fails: the key is disabled")
        sealing.cancel()
        await asyncio.wait({sealing})


@pytest.mark.parametrize("fault", ["silence", "one bit"])
async def test_signer_that_fails_from_the_first_checkpoint_on_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    async with signed_world("proxy", tmp_path, monkeypatch, fault) as run:
        await run.world.produce(*VALUES)
        await run.until(lambda *_: "signing proxy" in run.why)
        assert await run.world.log() == []
        run.spoil("")
        await run.until(lambda _, sealed: sealed == len(VALUES))


@pytest.mark.parametrize("kind", REMOTE)
async def test_slow_signer_covers_what_was_committed_meanwhile_with_one_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with signed_world(kind, tmp_path, monkeypatch, "slow") as run:
        await run.until(lambda *_: run.server.faults.asked == 1 and run.state == "running")
        await run.world.produce(*VALUES)
        await run.until(lambda _, sealed: sealed == len(VALUES))
        # The empty tree, and twelve records in tails of at most six.
        assert run.server.faults.asked <= 6
        assert run.state == "running"
