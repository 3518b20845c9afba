"""Composition root of the write side: settings in, engine, signer, archive and sealers out.

The only module of this floor that chooses adapters. Optional dependencies are imported where they
are chosen, so that what does not need them does not load them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.anchors import AnchorStore
from streams.archive_root import (
    archive_problems,
    kept_verdicts,
    newest_anchors,
    open_admitted,
    open_anchors,
    open_holding,
    open_objects,
    open_probed_bucket,
    open_second,
)
from streams.audit.note import TrustedKeys
from streams.births import BirthsWriter
from streams.clock import SystemClock
from streams.engine import Engine, EventSink, PartitionName
from streams.epochs import Epoch, epochs_of
from streams.errors import MissingExtraError, NotOwnerError, SettingsError, TransientError
from streams.heads import HeadsWriter
from streams.jobs import PartitionJobs
from streams.keys.choice import local_signer, open_key_ring, open_signer
from streams.log_world import LogWorld
from streams.ports import Clock, SourcePartition
from streams.sealer import PartitionSealer, SealerLimits
from streams.second_anchors import copy_beside
from streams.settings import Settings
from streams.telemetry import metrics
from streams.telemetry.health import Health
from streams.topology import LogPlace, Topology
from streams.trust import FollowedKeys, Trust
from streams.trust_root import (
    deployment_history,
    deployment_keys,
    following,
    operator_keys,
    own_keys,
    own_vkeys,
    sealed_trust,
    sealers_trust,
    trusted_keys,
)

if TYPE_CHECKING:
    from streams.kafka.connection import KafkaConnection
    from streams.objects.locations import CheckedStore

__all__ = [
    "Deployment",
    "SealingService",
    "check_settings",
    "deployment_history",
    "deployment_keys",
    "embedded_base",
    "kafka_connection",
    "kept_verdicts",
    "newest_anchors",
    "open_anchors",
    "open_deployment",
    "open_engine",
    "open_holding",
    "open_objects",
    "open_probed_bucket",
    "open_second",
    "open_signer",
    "open_sink",
    "operator_keys",
    "own_keys",
    "own_vkeys",
    "preflight",
    "sealed_trust",
    "trusted_keys",
]

SEALER_ROLE = "sealer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything a service needs, opened once a process."""

    settings: Settings
    engine: Engine
    objects: "CheckedStore"
    anchors: AnchorStore
    trust: Trust
    keys: TrustedKeys
    health: Health
    clock: Clock


@asynccontextmanager
async def open_engine(settings: Settings, *, create: bool = False) -> AsyncIterator[Engine]:
    """The engine the settings name: Kafka where a broker is named, embedded otherwise.

    `create` makes an embedded home, with its topics, where there is none.

    Raises:
        MissingExtraError: the client library of that engine is not installed.
        SettingsError: the engine cannot be used as set.
    """
    if settings.on_kafka:
        connection = kafka_connection(settings)
        from streams.kafka.engine import KafkaEngine  # noqa: PLC0415  # optional dependency

        base = settings.origin or await _cluster_base(connection)
        topology = Topology.of(settings, base)
        kafka = KafkaEngine(connection, topology, own_url=settings.own_url)
        try:
            yield kafka
        finally:
            await kafka.close()
    else:
        from streams.embedded.engine import EmbeddedEngine  # noqa: PLC0415  # not for Kafka

        embedded = await EmbeddedEngine.open(settings, create=create)
        try:
            yield embedded
        finally:
            await embedded.close()


@asynccontextmanager
async def open_deployment(
    settings: Settings, health: Health, clock: Clock
) -> AsyncIterator[Deployment]:
    """Engine, archive and signer together, for workers. Raises SettingsError, TransientError."""
    _refuse_operator(settings)
    async with open_engine(settings, create=True) as engine:
        objects = await open_admitted(settings, clock)
        try:
            async with (
                open_anchors(settings, objects) as anchors,
                open_key_ring(settings, clock) as ring,
                following(settings, engine, ring, health, anchors) as trust,
            ):
                yield Deployment(
                    settings=settings,
                    engine=engine,
                    objects=objects,
                    anchors=anchors,
                    trust=trust,
                    keys=FollowedKeys(trust),
                    health=health,
                    clock=clock,
                )
        finally:
            await objects.close()


def check_settings(settings: Settings) -> None:
    """Everything a worker would refuse at start, found before it starts.

    Raises:
        SettingsError: all problems together.
    """
    problems = []
    checks: list[Callable[[Settings], object]] = [open_objects, open_second, _refuse_operator]
    if settings.signer in {None, "local"}:
        checks.append(local_signer)
    if settings.on_kafka:
        checks.append(kafka_connection)
    for check in checks:
        try:
            check(settings)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)


def _refuse_operator(settings: Settings) -> None:
    if settings.operator_private_key is not None:
        raise SettingsError(
            ["ATTESTREAM_OPERATOR_PRIVATE_KEY moves all trust, and stays off workers: unset it"]
        )


async def preflight(settings: Settings, topics: Callable[[Topology], Sequence[str]]) -> None:
    """What only the servers can tell a worker before it starts: topics, archive, signer.

    `topics` says which ones it works with; it need not be allowed to see any other. An archive
    that does not answer now is no reason not to start.

    Raises:
        SettingsError: all problems together.
        TransientError: a server gives no answer.
    """
    async with open_engine(settings) as engine:
        problems = [
            f"topic {topic} does not exist: run `attestream topics apply`"
            for topic in topics(engine.topology)
            if not await engine.partitions(topic)
        ]
        try:
            operator_keys(settings, engine.topology.base)
        except SettingsError as error:
            problems += error.problems
    problems += await archive_problems(settings)
    problems += await _signer_problems(settings)
    if problems:
        raise SettingsError(problems)


async def _signer_problems(settings: Settings) -> list[str]:
    try:
        async with open_signer(settings, SystemClock()) as signer:
            # One that only does not answer now delays checkpoints: no reason not to start.
            with suppress(TransientError):
                await signer.check()
    except SettingsError as error:
        return error.problems
    return []


def kafka_connection(settings: Settings) -> "KafkaConnection":
    """How to reach the cluster. Raises MissingExtraError."""
    try:
        from streams.kafka.connection import KafkaConnection  # noqa: PLC0415  # optional
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "KAFKA_BOOTSTRAP_SERVERS is set and the Kafka client is not installed: "
            "pip install 'attestream[kafka]'"
        ) from error
    assert settings.kafka_bootstrap_servers is not None
    password = settings.kafka_sasl_password
    key_password = settings.kafka_ssl_password
    connection = KafkaConnection(
        bootstrap=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=password.get_secret_value() if password else None,
        ssl_cafile=settings.kafka_ssl_cafile,
        ssl_certfile=settings.kafka_ssl_certfile,
        ssl_keyfile=settings.kafka_ssl_keyfile,
        ssl_password=key_password.get_secret_value() if key_password else None,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, settings.session_timeout_ms // 3),
    )
    if problems := connection.problems():
        raise SettingsError(problems)
    return connection


def embedded_base(settings: Settings) -> str:
    """The origin prefix an embedded home was created with. Raises SettingsError."""
    if settings.on_kafka:
        raise SettingsError(["ATTESTREAM_ORIGIN is not set: it names the key, or give --name"])

    async def read() -> str:
        async with open_engine(settings) as engine:
            return engine.topology.base

    return asyncio.run(read())


@asynccontextmanager
async def open_sink(settings: Settings, topic: str) -> AsyncIterator[EventSink]:
    """Where `send` puts the events of a topic; delivered when the context ends."""
    async with open_engine(settings, create=True) as engine, engine.sink(topic) as sink:
        yield sink


class SealingService:
    """Seals every source partition this process is assigned."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._jobs = PartitionJobs(self._seal, SEALER_ROLE, deployment.health)
        self._ownership = deployment.engine.join(
            SEALER_ROLE,
            deployment.engine.topology.sources,
            self._jobs.assigned,
            self._jobs.revoked,
        )
        settings = deployment.settings
        self._limits = SealerLimits(
            linger_ms=settings.seal_linger_ms,
            sign_interval_ms=settings.sign_interval_ms,
            records_max=settings.seal_records_max,
        )
        self._sealed: dict[PartitionName, LogPlace] = {}

    def at(self, topic: str, partition: int) -> LogPlace | None:
        """The log that is sealed of a source partition now; None before any is."""
        return self._sealed.get((topic, partition))

    async def run(self) -> None:
        """Until cancelled; raises what a sealer raised unexpectedly."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ownership.run())
                group.create_task(self._jobs.failure())
        finally:
            await self._jobs.stop()

    async def _seal(self, topic: str, partition: int) -> None:
        """Seal one epoch of the partition after the other, from the one that is open on."""
        try:
            source = self._ownership.source(topic, partition)
        except NotOwnerError:
            return
        d, topology = self._deployment, self._deployment.engine.topology
        try:
            async with sealers_trust(d.settings, d.engine, d.trust, topic) as trust:
                with suppress(TransientError):
                    await trust.refresh()
                while await self._seal_epoch(
                    source, epochs_of(trust.history, topology, topic, partition)[-1], trust
                ):
                    pass
        finally:
            await source.close()

    async def _seal_epoch(self, source: SourcePartition, epoch: Epoch, trust: Trust) -> bool:
        """Whether the log was forked, so that the next one is to be sealed."""
        d, log = self._deployment, epoch.log
        audit = d.engine.reader(log.audit, log.partition)
        world = LogWorld(
            origin=log.origin,
            source=source,
            audit=audit,
            make_writer=lambda: d.engine.writer(log.audit, log.partition),
            anchors=d.anchors,
            trust=trust,
            fork=epoch.opened,
        )
        self._sealed[log.source, log.partition] = log
        metrics.LOG_EPOCH.labels(log.source, str(log.partition)).set(log.epoch)
        sealer = PartitionSealer(world, self._limits, d.health, d.clock)
        try:
            await self._beside(sealer.run(), log)
        finally:
            await audit.close()
        return sealer.is_forked

    async def _beside(self, sealing: Coroutine[None, None, None], log: LogPlace) -> None:
        """Seal, and do what whoever seals this log does besides."""
        d, period_s = self._deployment, self._deployment.settings.heads_s
        sealing = copy_beside(sealing, d.anchors, (log.origin, d.keys), period_s, d.health)
        if log.source == d.engine.topology.heads:
            sealing = HeadsWriter(d.engine, d.objects, period_s, d.clock).run_beside(sealing)
        if log.source == d.engine.topology.operations:
            births = BirthsWriter(d.engine, d.anchors, d.trust, d.clock)
            sealing = births.run_beside(sealing, period_s)
        await sealing


async def _cluster_base(connection: "KafkaConnection") -> str:
    from streams.kafka.engine import cluster_id  # noqa: PLC0415  # optional dependency

    return f"kafka-{await cluster_id(connection)}"
