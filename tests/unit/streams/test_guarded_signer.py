"""The guard around a signer: in time, of the right key, and not asked while it fails."""

import asyncio
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.errors import SettingsError, TransientError
from streams.keys.guarded import GuardedSigner, GuardLimits
from streams.keys.local import LocalSigner

MINE, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
LIMITS = GuardLimits(timeout_s=0.02, failures_max=2, open_s=5)


class Clock:
    now = 100.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now


class Signer(LocalSigner):
    """Does `does` to each signature; counts how often it is asked."""

    def __init__(self, does: Callable[[bytes], bytes] = bytes) -> None:
        super().__init__(MINE)
        self.does = does
        self.asked = 0
        self.waits = asyncio.Event()
        self.waits.set()

    async def sign(self, message: bytes) -> bytes:
        self.asked += 1
        await self.waits.wait()
        return self.does(await super().sign(message))


def refuse(_signature: bytes) -> bytes:
    raise SettingsError(["the key is disabled"])


def fail(_signature: bytes) -> bytes:
    raise TransientError("no answer")


def guarded(signer: Signer) -> tuple[GuardedSigner, Clock]:
    clock = Clock()
    return GuardedSigner(signer, clock, LIMITS), clock


async def test_a_good_signature_passes_unchanged() -> None:
    signer = Signer()
    guard, _ = guarded(signer)
    assert await guard.sign(b"text") == MINE.sign(b"text")
    assert (guard.algorithm, guard.public_key) == (signer.algorithm, signer.public_key)


@pytest.mark.parametrize(
    "does",
    [
        pytest.param(lambda s: bytes([s[0] ^ 1]) + s[1:], id="one bit changed"),
        pytest.param(lambda s: s[:32], id="truncated"),
        pytest.param(lambda _: b"", id="nothing"),
        pytest.param(lambda s: s + b"\0", id="one byte more"),
        pytest.param(lambda _: OTHER.sign(b"text"), id="of another key"),
        pytest.param(lambda _: MINE.sign(b"txet"), id="of another text"),
    ],
)
async def test_wrong_answer_is_a_failed_signer_and_never_a_signature(
    does: Callable[[bytes], bytes],
) -> None:
    guard, _ = guarded(Signer(does))
    with pytest.raises(TransientError, match="no signature of its key"):
        await guard.sign(b"text")


async def test_signer_that_hangs_is_given_up_in_time() -> None:
    signer = Signer()
    signer.waits.clear()
    guard, _ = guarded(signer)
    for ask in (lambda: guard.sign(b"text"), guard.check):
        async with asyncio.timeout(1):
            with pytest.raises(TransientError, match=r"no signature within 0\.02 s"):
                await ask()


@pytest.mark.parametrize(("does", "error"), [(fail, TransientError), (refuse, SettingsError)])
async def test_circuit_opens_after_failures_in_a_row_and_one_caller_tries_again(
    does: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    signer = Signer(does)
    guard, clock = guarded(signer)
    for _ in range(LIMITS.failures_max):
        with pytest.raises(error):
            await guard.sign(b"text")
    with pytest.raises(TransientError, match=r"2 times in a row and is asked again in 5\.0 s"):
        await guard.sign(b"text")
    assert signer.asked == 2

    clock.now += LIMITS.open_s
    with pytest.raises(error):
        await guard.sign(b"text")
    assert signer.asked == 3
    with pytest.raises(TransientError, match="in a row"):
        await guard.sign(b"text")
    assert signer.asked == 3

    clock.now += LIMITS.open_s
    signer.does = bytes
    await guard.sign(b"text")
    await guard.sign(b"text")
    assert signer.asked == 5


async def test_only_one_caller_tries_while_the_circuit_is_half_open() -> None:
    signer = Signer(fail)
    guard, clock = guarded(signer)
    for _ in range(LIMITS.failures_max):
        with pytest.raises(TransientError):
            await guard.sign(b"text")
    clock.now += LIMITS.open_s
    signer.does = bytes
    signer.waits.clear()
    trying = asyncio.create_task(guard.sign(b"text"))
    await asyncio.sleep(0)
    with pytest.raises(TransientError, match="in a row"):
        await guard.sign(b"text")
    signer.waits.set()
    assert await trying == MINE.sign(b"text")
    assert await guard.sign(b"text") == MINE.sign(b"text")


async def test_success_between_failures_keeps_the_circuit_closed() -> None:
    signer = Signer()
    guard, _ = guarded(signer)
    for _ in range(4):
        signer.does = fail
        with pytest.raises(TransientError, match="no answer"):
            await guard.sign(b"text")
        signer.does = bytes
        await guard.sign(b"text")


async def test_caller_that_goes_away_or_asks_too_much_is_no_failure_of_the_signer() -> None:
    signer = Signer()
    guard, _ = guarded(signer)
    signer.waits.clear()
    for _ in range(LIMITS.failures_max):
        asking = asyncio.create_task(guard.sign(b"text"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        with pytest.raises(ValueError, match="4096"):
            await guard.sign(b"m" * 4097)
    signer.waits.set()
    assert await guard.sign(b"text") == MINE.sign(b"text")
