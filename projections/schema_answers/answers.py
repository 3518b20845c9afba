"""The schema answers of one process: recorded ones, and new ones asked for, recorded, read back.

A new answer counts once it is sealed and no other about the same reference was sealed before it.
So two processes that ask at once, and get different answers, go by the same one. Silence of the
registry is never an answer: it is waited for.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from projections.schema_answers.recorded import RecordedAnswers
from schemas.codec import BUILT_IN, WriterSchema, encode_schema_answer
from schemas.framing import ReferenceKind, SchemaReference
from schemas.record_types import RECORD_TYPES
from schemas.records import Record
from schemas.references import reference_of
from schemas.schema_answers import SchemaAnswer, naming_of
from streams.audit.note import TrustedKeys
from streams.audit.trust import TrustHistory
from streams.engine import Engine
from streams.errors import AttestreamError, SettingsError, TransientError
from streams.ports import Clock, NewRecord
from streams.registry.opening import OpenRegistry
from streams.registry.port import SchemaRegistry
from streams.telemetry import metrics
from streams.telemetry.logs import get_log

__all__ = ["AnswersWorld", "SchemaAnswers"]

ASKED_AT_ONCE = 64
SEALED_S, POLL_S = 10.0, 0.05
KEY = b"schema-answer"
log = get_log("schemas")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersWorld:
    """What answers are read from and recorded to.

    `keys`: whose signatures the operations log bears; None checks none. `open_registry`: None
    asks nobody, and only what is recorded counts. `history`: where that log was forked; None
    reads all there is of every epoch.
    """

    engine: Engine
    keys: TrustedKeys | None
    clock: Clock
    open_registry: OpenRegistry | None = None
    history: Callable[[], TrustHistory] | None = None


class SchemaAnswers:
    """What every id and GUID stands for, as far as known here: a `SchemaLookup`."""

    def __init__(self, world: AnswersWorld) -> None:
        self._world = world
        self._topic = world.engine.topology.operations
        self._sealed = RecordedAnswers(world.engine, world.keys, world.history)
        self._recorded: set[SchemaReference] = set()
        self._lock = asyncio.Lock()

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        """A schema that is built in, or that a sealed answer has."""
        if reference.kind is ReferenceKind.FINGERPRINT:
            return BUILT_IN.find(reference)
        return self._sealed.find(reference)

    async def learn(self, records: Iterable[Record]) -> None:
        """Make known what is recorded about the schemas of records; nobody is asked.

        Raises TransientError.
        """
        named = {reference_of(record) for record in records} - {None}
        await self._know([reference for reference in named if reference], None)

    async def know(self, references: Collection[SchemaReference]) -> None:
        """Make known what these stand for, asking about what nobody recorded.

        Raises:
            TransientError: no answer, or it is not sealed yet; ask again later.
            SettingsError: the registry refuses.
        """
        await self._know(references, self._world.open_registry)

    async def id_of(self, topic: str, name: str) -> int | None:
        """The registry's id of our record `name`, for a topic of ours; None without a registry.

        It is recorded like any other answer before anything is framed with it, so that what is
        framed with it can be read when the registry is gone.

        Raises:
            TransientError, SettingsError: as `know`.
        """
        if self._world.open_registry is None:
            return None
        ours = RECORD_TYPES[name]
        await self._follow()
        number = self._sealed.id_of(ours.fingerprint)
        if number is not None:
            return number
        async with self._world.open_registry() as registry:
            number = await registry.register(f"{topic}-value", ours.text)
            url = registry.url
        await self.know([SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))])
        if self._sealed.id_of(ours.fingerprint) != number:
            why = "was recorded as another schema: is this another registry than before?"
            raise SettingsError([f"SCHEMA_REGISTRY_URL {url}: id {number} of {name} {why}"])
        return number

    async def _follow(self) -> None:
        async with self._lock, self._sealed.reading():
            await self._sealed.follow()

    async def _know(
        self, references: Collection[SchemaReference], open_registry: OpenRegistry | None
    ) -> None:
        if not self._missing(references):
            return
        async with self._lock, self._sealed.reading():
            await self._sealed.follow()
            missing = self._missing(references)
            if missing and open_registry is not None:
                await self._learn(missing, open_registry)

    async def _learn(
        self, missing: Collection[SchemaReference], open_registry: OpenRegistry
    ) -> None:
        failure: AttestreamError | None = None
        new = [reference for reference in missing if reference not in self._recorded]
        if new:
            async with open_registry() as registry:
                answers, failure = await self._asked(registry, new)
            # A crash here loses the answers: they are asked for again.
            await self._record(answers)
        await self._until_sealed([r for r in missing if r in self._recorded])
        if failure is not None:
            raise failure

    async def _asked(
        self, registry: SchemaRegistry, references: Collection[SchemaReference]
    ) -> tuple[list[SchemaAnswer], AttestreamError | None]:
        """The answers there are, and why there are not more."""
        slots = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(reference: SchemaReference) -> SchemaAnswer | AttestreamError:
            async with slots:
                try:
                    text, detail = await registry.ask(reference)
                except (SettingsError, TransientError) as error:
                    return error
            kind = naming_of(reference)
            url = registry.url
            return SchemaAnswer(
                kind=kind, reference=reference.value, text=text, detail=detail, registry=url
            )

        said = await asyncio.gather(*map(ask, references))
        failures = [each for each in said if isinstance(each, AttestreamError)]
        answers = [each for each in said if isinstance(each, SchemaAnswer)]
        return answers, failures[0] if failures else None

    async def _record(self, answers: Collection[SchemaAnswer]) -> None:
        if not answers:
            return
        async with self._world.engine.sink(self._topic) as sink:
            for answer in answers:
                value = encode_schema_answer(answer)
                await sink.send(NewRecord(self._world.clock.now_ms(), value, KEY))
        # Now they are durable, and sealed sooner or later, behind the first or as it.
        for answer in answers:
            self._recorded.add(answer.about)
            usable = "no" if answer.text is None else "yes"
            metrics.SCHEMA_ANSWERS.labels(usable).inc()
            log.info("schema answer recorded", about=str(answer.about), usable=usable)

    async def _until_sealed(self, references: Collection[SchemaReference]) -> None:
        deadline = self._world.clock.monotonic() + SEALED_S
        while missing := self._missing(references):
            if self._world.clock.monotonic() >= deadline:
                raise TransientError(
                    f"the answer about {missing[0]} is recorded and not sealed yet in "
                    f"{self._sealed.origin}"
                )
            await asyncio.sleep(POLL_S)
            await self._sealed.follow()
        self._recorded.difference_update(references)

    def _missing(self, references: Collection[SchemaReference]) -> list[SchemaReference]:
        return [r for r in references if r not in self._sealed]
