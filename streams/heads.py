"""The roster, written on a timer: every log's newest checkpoint and archive head.

The heads topic is a source like any other, so what is written here is sealed. Whoever seals its
partition writes it; that two may do so for a moment, or one heads twice, does no harm.
"""

import asyncio
from collections.abc import Coroutine
from hashlib import sha256
from typing import NoReturn

from schemas.audit_values import decode_audit_value
from schemas.codec import encode_head
from schemas.errors import RejectedInput
from schemas.heads import LogHead
from schemas.records import Checkpoint
from streams.engine import Engine
from streams.epochs import logs_there
from streams.errors import AttestreamError
from streams.history import read_range
from streams.ports import Clock, NewRecord, ObjectStore, PartitionReader
from streams.segments import manifests_prefix, parse_object_name
from streams.tasks import beside
from streams.telemetry.logs import get_log
from streams.topology import LogPlace

__all__ = ["HeadsWriter", "newest_checkpoint"]

FIRST_WINDOW = 256  # offsets read back at first; ×16 until a checkpoint is in hand
log = get_log("heads")


async def newest_checkpoint(audit: PartitionReader) -> Checkpoint | None:
    """The last checkpoint of an audit partition, unverified; None where there is none yet.

    Raises:
        DecodeError: a value that is none of an audit partition.
        TransientError.
    """
    bounds = await audit.bounds()
    back = FIRST_WINDOW
    while True:
        low = max(bounds.start, bounds.end - back)
        for row in reversed(await read_range(audit, low, bounds.end)):
            value = decode_audit_value(row.value or b"")
            if isinstance(value, Checkpoint):
                return value
        if low == bounds.start:
            return None
        back *= 16


class HeadsWriter:
    """Writes what changed since it wrote last; at first, everything."""

    def __init__(
        self, engine: Engine, objects: ObjectStore, period_s: float, clock: Clock
    ) -> None:
        self._engine = engine
        self._objects = objects
        self._period_s = period_s
        self._clock = clock
        self._written: dict[str, LogHead] = {}

    async def run(self) -> NoReturn:
        """Write every `period_s` seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            try:
                await self.write()
            except (AttestreamError, RejectedInput) as error:
                # The next time says the same, and more.
                log.warning("heads not written", why=str(error))

    async def run_beside(self, sealing: Coroutine[None, None, None]) -> None:
        """Write while `sealing`, of the heads' own partition, runs; raises what either raises."""
        await beside(sealing, self.run())

    async def write(self) -> list[LogHead]:
        """Write once; what was written.

        Raises:
            DecodeError, TransientError, OutcomeUnknownError, SettingsError: of one log, the first
                there was; every other head is written. Or of the topic: written in part.
        """
        heads, failures = await self._heads()
        written = await self._send(heads)
        if failures:
            raise failures[0]
        return written

    async def _send(self, heads: list[tuple[LogPlace, LogHead]]) -> list[LogHead]:
        topology = self._engine.topology
        changed = [head for _, head in heads if self._written.get(head.origin) != head]
        # Its own log grows by being written: that alone is no news.
        own = {log.origin for log, _ in heads if log.source == topology.heads}
        if all(head.origin in own for head in changed):
            return []
        now = self._clock.now_ms()
        async with self._engine.sink(topology.heads) as sink:
            for head in changed:
                await sink.send(NewRecord(now, encode_head(head), key=head.origin.encode()))
        self._written.update((head.origin, head) for head in changed)
        return changed

    async def _heads(self) -> tuple[list[tuple[LogPlace, LogHead]], list[Exception]]:
        heads: list[tuple[LogPlace, LogHead]] = []
        failures: list[Exception] = []
        async for log in logs_there(self._engine):
            try:
                head = await self._head(log)
            except (AttestreamError, RejectedInput) as error:
                # A damaged log must not keep the others off the roster, its next epoch least.
                failures.append(error)
            else:
                heads += [(log, head)] if head else []
        return heads, failures

    async def _head(self, log: LogPlace) -> LogHead | None:
        reader = self._engine.reader(log.audit, log.partition)
        try:
            newest = await newest_checkpoint(reader)
        finally:
            await reader.close()
        if newest is None:
            return None
        archived = await self._archived(log.origin)
        return LogHead(origin=log.origin, note=newest.note, manifest_sha256=archived)

    async def _archived(self, origin: str) -> bytes | None:
        # Whoever may write to the archive can put a name of their own behind the manifests'.
        names = [
            version.key
            for version in await self._objects.versions(manifests_prefix(origin))
            if not version.is_delete_marker and parse_object_name(version.key)
        ]
        # Of one name the oldest version counts, as for everybody who reads the archive.
        newest = await self._objects.get(names[-1]) if names else None
        return None if newest is None else sha256(newest).digest()
