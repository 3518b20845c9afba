"""That a log was opened, told in `attestream.operations` (formats §5): once, by who seals them.

What is told is the claim's, which stands before genesis and never changes, and the keys that sign
the log now. A crash between two logs tells the rest at the next turn; one told twice does no harm.
"""

import asyncio
from collections.abc import Coroutine
from typing import NoReturn

from schemas.errors import RejectedInput
from schemas.operations import LogOpened
from streams.anchors import AnchorStore
from streams.audit.note import Vkey
from streams.engine import Engine
from streams.epochs import logs_there
from streams.errors import AttestreamError
from streams.operation_events import publish_operation, sealed_events
from streams.ports import Clock
from streams.tasks import beside
from streams.telemetry.logs import get_log
from streams.topology import LogPlace
from streams.trust import Trust

__all__ = ["BirthsWriter"]

Identity = tuple[str, str, str, int]
log = get_log("births")


class BirthsWriter:
    """Tells of every log of a deployment that nobody told of yet."""

    def __init__(self, engine: Engine, anchors: AnchorStore, trust: Trust, clock: Clock) -> None:
        self._engine = engine
        self._anchors = anchors
        self._trust = trust
        self._clock = clock
        self._told: set[Identity] | None = None

    async def run(self, period_s: float) -> NoReturn:
        """Tell every `period_s` seconds, until cancelled."""
        while True:
            await asyncio.sleep(period_s)
            try:
                await self.tell()
            except (AttestreamError, RejectedInput) as error:
                # The next turn tells what this one did not.
                log.warning("births not told", why=str(error))

    async def run_beside(self, sealing: Coroutine[None, None, None], period_s: float) -> None:
        """Tell while `sealing`, of the operations' own partition, runs; raises what it raises."""
        await beside(sealing, self.run(period_s))

    async def tell(self) -> list[LogOpened]:
        """Tell once; what was told.

        Raises:
            TransientError, SettingsError, IdentityError: of one log, the first there was, and
                every other one is told; or of the topic: told in part, or not at all.
        """
        if self._told is None:
            self._told = await self._sealed()
        told: list[LogOpened] = []
        failures: list[AttestreamError] = []
        async for log in logs_there(self._engine):
            try:
                opened = await self._opened(log)
            except AttestreamError as error:
                # A claim nobody can read must not keep the births of other logs untold.
                failures.append(error)
                continue
            if opened is not None and _identity(opened) not in self._told:
                await publish_operation(self._engine, opened, self._clock)
                # A crash here, and it is told again unless it is sealed by then.
                self._told.add(_identity(opened))
                told.append(opened)
        if failures:
            raise failures[0]
        return told

    async def _sealed(self) -> set[Identity]:
        topology = self._engine.topology
        audit = self._engine.reader(topology.audit(topology.operations), 0)
        try:
            return {
                _identity(sealed.event)
                async for sealed in sealed_events(audit)
                if isinstance(sealed.event, LogOpened)
            }
        finally:
            await audit.close()

    async def _opened(self, log: LogPlace) -> LogOpened | None:
        """What is to be told of a log; None where it did not begin yet."""
        claim = await self._anchors.claim(log.origin)
        if claim is None or not await self._has_begun(log):
            return None
        vkeys = [
            Vkey(log.origin, signer.algorithm, signer.public_key).render()
            for signer in self._trust.signers(log.origin)
        ]
        return LogOpened(
            origin=log.origin,
            vkeys=tuple(vkeys),
            source_topic=log.source,
            source_partition=log.partition,
            source_cluster_id=claim.source_cluster,
            source_topic_id=claim.source_topic_id,
            first_offset=claim.first_offset,
            audit_cluster_id=claim.audit_cluster,
            audit_topic_id=claim.audit_topic_id,
        )

    async def _has_begun(self, log: LogPlace) -> bool:
        audit = self._engine.reader(log.audit, log.partition)
        try:
            return (await audit.bounds()).end > 0
        finally:
            await audit.close()


def _identity(opened: LogOpened) -> Identity:
    # Not the keys: a rotation opens no log.
    return (
        opened.origin,
        opened.source_cluster_id,
        opened.source_topic_id,
        opened.first_offset,
    )
