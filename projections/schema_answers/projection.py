"""A projection whose events may be framed by a registry's ids: first answers, then leaves.

The answers to what a batch names are known before it is applied, so that the fold inside stays a
pure function. While there is none (a registry that is silent or refuses) the projection waits
where it is, keeps what it has, and says so in readiness.
"""

import asyncio
import json

from projections.ports import Position, Projection, SealedBatch
from projections.schema_answers.answers import SchemaAnswers
from projections.schema_answers.fold import AdmittedReferences
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.codec import BUILT_IN, WriterSchema
from schemas.framing import ReferenceKind, SchemaReference
from schemas.record_types import RECORD_TYPES
from schemas.records import Record
from streams.errors import OutcomeUnknownError, SettingsError, TransientError
from streams.telemetry import metrics
from streams.telemetry.health import Health, Part
from streams.telemetry.logs import get_log

__all__ = ["AnsweredProjection", "LogAnswers", "RegistryFraming"]

RETRY_S, RETRY_MAX_S = 0.25, 10.0
log = get_log("schemas")


class LogAnswers:
    """The `SchemaLookup` of one walk through one log, from its first leaf."""

    def __init__(self, answers: SchemaAnswers) -> None:
        self._answers = answers
        self._admitted = AdmittedReferences()
        self._known: dict[SchemaReference, WriterSchema] = dict(BUILT_IN.schemas)

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        """A schema that is built in, or answered and admitted to this log."""
        return self._known.get(reference)

    async def prepare(self, batch: SealedBatch) -> None:
        """Make known what the batch names. Batches come once each, in order.

        Raises:
            TransientError, SettingsError: no answer; nothing changed, the same batch again.
        """
        new, held_back = self._admitted.new_in(batch)
        if new:
            await self._answers.know(new)
            self._admit(new)
        if held_back:
            metrics.SCHEMA_REFERENCES_HELD_BACK.inc(held_back)

    def export(self) -> bytes:
        """What was admitted so far, for a snapshot of the projection that reads with it."""
        named = [[one.kind.name, one.value.hex()] for one in self._admitted.admitted]
        return json.dumps(named).encode()

    async def load(self, data: bytes) -> None:
        """Go on from what `export` gave, with the answers as they are recorded.

        Raises:
            SnapshotRefusedError: nothing that `export` gives.
            TransientError, SettingsError: no answer; nothing changed.
        """
        try:
            named = [
                SchemaReference(ReferenceKind[kind], bytes.fromhex(value))
                for kind, value in json.loads(data)
            ]
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotRefusedError(f"no list of schema references: {error}") from error
        await self._answers.know(named)
        self._admit(named)

    def _admit(self, references: list[SchemaReference]) -> None:
        self._admitted.admit(references)
        for reference in references:
            schema = self._answers.find(reference)
            if schema is not None:
                self._known[reference] = schema


class AnsweredProjection:
    """Has each batch's answers at hand before the projection inside applies it."""

    def __init__(self, inner: Projection, answers: LogAnswers, health: Health, part: Part) -> None:
        """`answers` is the lookup that `inner` reads with, for it alone."""
        self._inner = inner
        self._answers = answers
        self._health = health
        self._part = part

    async def resume(self) -> Position:
        """As the projection inside, which restores `answers` where it begins behind index 0."""
        return await self._inner.resume()

    async def apply(self, batch: SealedBatch) -> None:
        """Wait for the answers, then apply."""
        delay, waited = RETRY_S, False
        while True:
            try:
                await self._answers.prepare(batch)
                break
            except (OutcomeUnknownError, SettingsError, TransientError) as error:
                self._health.waiting(self._part, str(error))
                log.warning("waiting", part=self._part, why=str(error))
                waited = True
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MAX_S)
        if waited:
            self._health.running(self._part)
        await self._inner.apply(batch)

    async def idle(self) -> None:
        """As the projection inside."""
        await self._inner.idle()

    async def close(self) -> None:
        """As the projection inside."""
        await self._inner.close()


class RegistryFraming:
    """How one derived topic is framed: as Confluent V0 where there is a registry."""

    def __init__(self, answers: SchemaAnswers, topic: str, name: str) -> None:
        """`name`: the full name of the topic's record, of `schemas.record_types`."""
        assert name in RECORD_TYPES
        self._answers = answers
        self._topic = topic
        self._name = name
        self._schema_id: int | None = None

    @property
    def schema_id(self) -> int | None:
        """The registry's id of the record's schema, None for a single object; after `open`."""
        return self._schema_id

    async def open(self) -> None:
        """Learn the id. Raises TransientError, SettingsError."""
        self._schema_id = await self._answers.id_of(self._topic, self._name)

    async def learn(self, records: list[Record]) -> None:
        """Make known what published records are framed with. Raises TransientError."""
        await self._answers.learn(records)

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        """A schema that is built in or recorded."""
        return self._answers.find(reference)
