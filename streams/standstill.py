"""What a stopped partition waits for.

A verdict whose evidence may be gone at the next start is kept first (`streams.verdicts`); then
only a sealed note of the operator ends it. What stays where it was found - a policy, a hanging
transaction, an identity, a break in the log - is looked at again each minute: an operator may have
mended it in Kafka.
"""

import asyncio
from contextlib import suppress

from streams.errors import (
    OutcomeUnknownError,
    SettingsError,
    TransientError,
    VerificationError,
)
from streams.recovery import LogWorld
from streams.telemetry.logs import get_log
from streams.verdicts import StandingVerdictError, Verdict

__all__ = ["Standstill"]

RETRY_S = 2.0
RECHECK_S = 60.0
log = get_log("sealer")


class Standstill:
    """The waiting of one log's sealer."""

    def __init__(self, world: LogWorld) -> None:
        self._world = world

    async def wait_out(self, found: VerificationError) -> None:
        """Until it is worth to start again."""
        verdict = found.verdict if isinstance(found, StandingVerdictError) else Verdict.of(found)
        if verdict is None:
            await self._recheck()
            return
        await self._keep(verdict)
        # Now every later start waits as well, wherever it is, whatever became of the evidence.
        while not await self._is_answered(verdict):  # noqa: ASYNC110  # an archive has no events
            await asyncio.sleep(RETRY_S)

    async def _recheck(self) -> None:
        """A while, or until the operator forked the log."""
        for _ in range(int(RECHECK_S / RETRY_S)):
            await asyncio.sleep(RETRY_S)
            with suppress(TransientError):
                await self._world.trust.refresh()
            if self._world.trust.history.fork(self._world.origin) is not None:
                return

    async def _keep(self, verdict: Verdict) -> None:
        while True:
            try:
                await self._world.anchors.keep_verdict(self._world.origin, verdict)
            except (
                TransientError,
                OutcomeUnknownError,
                SettingsError,
                VerificationError,
            ) as error:
                log.warning("verdict not kept yet", origin=self._world.origin, why=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _is_answered(self, verdict: Verdict) -> bool:
        try:
            history = await self._world.trust.refresh()
        except (TransientError, SettingsError):
            return False
        return verdict.is_answered(self._world.origin, history)
