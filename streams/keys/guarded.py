"""A time-out, a check of every signature, and a circuit breaker around a signer that is remote.

What such a signer may do wrong: hang, answer slowly, refuse, answer with another key's signature
or with none. Each is a failure of the signer and no more: no signature leaves here that the key
does not verify, and nothing that failed can stop a log for good. After `failures_max` failures in
a row the circuit is open: callers are told at once, without a request, until `open_s` have
passed; then one of them asks, and the others are told again until it has an answer.
"""

import asyncio
from dataclasses import dataclass

from streams.errors import SettingsError, TransientError
from streams.keys.signing import OpenedSigner, is_signed, require_signable
from streams.ports import Clock

__all__ = ["GuardLimits", "GuardedSigner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """`timeout_s` bounds one signature, the adapter's own attempts included."""

    timeout_s: float = 10
    failures_max: int = 3
    open_s: float = 5


class GuardedSigner:
    """`Signer` over another one. Used from one event loop by all sealers of a process."""

    def __init__(
        self, signer: OpenedSigner, clock: Clock, limits: GuardLimits | None = None
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._limits = limits or GuardLimits()
        self._failures = 0
        self._last_failure = ""
        self._next_try_at = clock.monotonic()

    def __repr__(self) -> str:
        return repr(self._signer)

    @property
    def algorithm(self) -> int:
        """As the signer tells."""
        return self._signer.algorithm

    @property
    def public_key(self) -> bytes:
        """As the signer tells."""
        return self._signer.public_key

    async def sign(self, message: bytes) -> bytes:
        """A signature that the signer's public key verifies.

        Raises:
            ValueError: more than 4096 bytes.
            TransientError: no such signature in time, or the circuit is open.
            SettingsError: refused; an operator must act.
        """
        require_signable(message)
        self._refuse_while_open()
        try:
            signature = await self._in_time(message)
            self._require_signed(message, signature)
        except (TransientError, SettingsError) as error:
            self._failed(str(error))
            raise
        self._failures = 0
        return signature

    async def check(self) -> None:
        """As the port of the opened signer says, in time; no circuit is opened or asked."""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await self._signer.check()
        except TimeoutError:
            raise self._too_late() from None

    async def close(self) -> None:
        """Close the signer."""
        await self._signer.close()

    async def _in_time(self, message: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._signer.sign(message)
        except TimeoutError:
            raise self._too_late() from None

    def _too_late(self) -> TransientError:
        return TransientError(f"{self!r}: no signature within {self._limits.timeout_s:g} s")

    def _require_signed(self, message: bytes, signature: bytes) -> None:
        if not is_signed(self, message, signature):
            raise TransientError(
                f"{self!r}: answered {len(signature)} bytes that are no signature of its key"
            )

    def _refuse_while_open(self) -> None:
        if self._failures < self._limits.failures_max:
            return
        now = self._clock.monotonic()
        if now < self._next_try_at:
            raise TransientError(
                f"{self._last_failure}; it failed {self._failures} times in a row and is asked "
                f"again in {self._next_try_at - now:.1f} s"
            )
        # This caller asks; whoever else comes before it has an answer is refused.
        self._next_try_at = now + self._limits.open_s

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._last_failure = why
        self._next_try_at = self._clock.monotonic() + self._limits.open_s
