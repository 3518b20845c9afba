"""The roles of a worker, and the projection behind each.

A projection's libraries are imported only where its role runs.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.schema_answers.projection import (
    AnsweredProjection,
    LogAnswers,
    RegistryFraming,
)
from projections.search import LocalSearch, SearchedProjection
from projections.services import RoleSpec
from projections.snapshots.containment import LogToFit
from projections.snapshots.keeper import SnapshotKeeper
from projections.snapshots.local import LocalSnapshots
from projections.snapshots.opening import snapshot_world, why_no_snapshots
from projections.snapshots.telling import RestoresTold
from projections.snapshots.world import Saveable, SnapshotSubject
from schemas.codec import SchemaLookup
from schemas.record_types import ALERT, DEAD_LETTER
from schemas.records import Record
from streams.app import Deployment
from streams.ports import SourcePartition
from streams.registry.opening import registry_opener
from streams.telemetry.logs import get_log
from streams.topology import LogPlace, Topology

__all__ = [
    "ALL_ROLES",
    "ARCHIVE",
    "DEAD_LETTERS",
    "INDEX",
    "MEMORY",
    "OCSF",
    "SEALER",
    "TILES",
    "projection_specs",
    "schema_answers",
    "topics_of",
]

log = get_log("roles")
SEALER = "sealer"
INDEX = "index"
ARCHIVE = "archive"
DEAD_LETTERS = "dead-letters"
MEMORY = "memory"
TILES = "tiles"
OCSF = "ocsf"
ALL_ROLES = (SEALER, INDEX, ARCHIVE, DEAD_LETTERS, MEMORY, TILES, OCSF)


def topics_of(roles: Sequence[str], topology: Topology) -> list[str]:
    """Every topic that these roles read or write."""
    audits = [topology.audit(source) for source in topology.sources]
    events = [topology.audit(source) for source in topology.events]
    dead_letters = [topology.dead_letters(source) for source in topology.events]
    needed = {
        SEALER: [*topology.sources, *audits],
        INDEX: [topology.audit(topology.decisions), topology.alerts],
        ARCHIVE: audits,
        DEAD_LETTERS: [*events, *dead_letters],
        MEMORY: [topology.audit(topology.memory)],
        TILES: audits,
        OCSF: [topology.audit(topology.alerts), topology.ocsf_alerts],
    }
    return sorted({topic for role in roles for topic in needed[role]})


def schema_answers(d: Deployment) -> SchemaAnswers:
    """What schema ids and GUIDs stand for in this deployment. Raises MissingExtraError."""
    return SchemaAnswers(
        AnswersWorld(
            engine=d.engine,
            keys=d.keys,
            clock=d.clock,
            open_registry=registry_opener(d.settings),
            history=lambda: d.trust.history,
        )
    )


def projection_specs(
    deployment: Deployment,
    search: LocalSearch,
    answers: SchemaAnswers,
    snapshots: LocalSnapshots | None = None,
) -> list[RoleSpec]:
    """Every projection of this deployment, by role.

    Open indexes are entered in `search`, those that take snapshots in `snapshots`.
    """
    return [
        _index(deployment, search, answers, snapshots or LocalSnapshots()),
        _archive(deployment),
        _dead_letters(deployment, answers),
        _memory(deployment, search, answers),
        _tiles(deployment),
        _ocsf(deployment, answers),
    ]


def _index(
    d: Deployment, search: LocalSearch, answers: SchemaAnswers, local: LocalSnapshots
) -> RoleSpec:
    from projections.decision_index.projection import (  # noqa: PLC0415  # as its role runs
        DecisionIndex,
        DecisionIndexWorld,
    )
    from projections.decision_index.rows import rows_of  # noqa: PLC0415
    from projections.decision_index.rules import (  # noqa: PLC0415
        rules_of,
        what_is_published,
    )
    from projections.decision_index.saving import parameters_of  # noqa: PLC0415
    from projections.decision_index.search import DecisionSearch  # noqa: PLC0415

    topology = d.engine.topology
    rules = rules_of(d.settings)
    keeper_of = _keepers(d, local)
    d.health.note(INDEX, what_is_published(rules))

    def make(log: LogPlace) -> SearchedProjection:
        schemas = LogAnswers(answers)
        world = DecisionIndexWorld(
            make_writer=lambda: d.engine.writer(topology.alerts, log.partition),
            make_reader=lambda: d.engine.reader(topology.alerts, log.partition),
            rules=rules,
            clock=d.clock,
            schemas=schemas,
            framing=RegistryFraming(answers, topology.alerts, ALERT),
            make_rows=rows_of(d.settings),
            make_snapshots=keeper_of(log, "decision-index", parameters_of(rules), schemas),
        )
        index = DecisionIndex(world, log.origin)
        searched = DecisionSearch(index)
        search.opening("decisions", log.origin, searched)
        part = (INDEX, log.audit, log.partition)

        def left() -> None:
            # What an epoch that ended has learned stays to be searched; what stopped does not.
            if d.trust.history.fork(log.origin) is None:
                search.leave("decisions", log.origin, searched)

        return SearchedProjection(AnsweredProjection(index, schemas, d.health, part), left)

    return RoleSpec(
        name=INDEX,
        sources=(topology.decisions,),
        make=make,
        caught_up=lambda log: search.opened("decisions", log.origin),
        let_go=lambda log: search.remove("decisions", log.origin),
    )


MakeKeeper = Callable[[Saveable], SnapshotKeeper]
KeeperOf = Callable[[LogPlace, str, Mapping[str, str], LogAnswers], MakeKeeper | None]


def _keepers(d: Deployment, local: LocalSnapshots) -> KeeperOf:
    """Who keeps the snapshots of one projection of one log; nobody where that cannot be."""
    world = snapshot_world(d.settings, d.clock, local)
    if world is None:
        log.info("no snapshots", why=why_no_snapshots(d.settings))
        return lambda *_: None
    told = RestoresTold(d.engine, d.clock)

    def keeper_of(
        place: LogPlace, projection: str, parameters: Mapping[str, str], schemas: LogAnswers
    ) -> MakeKeeper:
        subject = SnapshotSubject(
            origin=place.origin,
            projection=projection,
            parameters=parameters,
            log=LogToFit(
                lambda: d.engine.reader(place.audit, place.partition),
                d.keys,
                lambda: _ended(d, place),
            ),
            beside={"schemas": schemas},
            restored=told,
        )
        return partial(SnapshotKeeper, world, subject)

    return keeper_of


def _ended(d: Deployment, place: LogPlace) -> int | None:
    fork = d.trust.history.fork(place.origin)
    return None if fork is None else fork.size


def _dead_letters(d: Deployment, answers: SchemaAnswers) -> RoleSpec:
    from projections.dead_letters.projection import (  # noqa: PLC0415  # as its role runs
        DeadLetterProjection,
        DeadLetterWorld,
    )
    from schemas.codec import decode_alert, decode_decision, decode_mutation  # noqa: PLC0415

    topology = d.engine.topology
    decode: dict[str, Callable[[Record, SchemaLookup], object]] = {
        topology.decisions: decode_decision,
        topology.memory: decode_mutation,
        topology.alerts: decode_alert,
    }

    def make(log: LogPlace) -> AnsweredProjection:
        letters, schemas = topology.dead_letters(log.source), LogAnswers(answers)
        world = DeadLetterWorld(
            make_writer=lambda: d.engine.writer(letters, log.partition),
            make_reader=lambda: d.engine.reader(letters, log.partition),
            decode=lambda record: decode[log.source](record, schemas),
            framing=RegistryFraming(answers, letters, DEAD_LETTER),
        )
        inner = DeadLetterProjection(world, log.origin)
        part = (DEAD_LETTERS, log.audit, log.partition)
        return AnsweredProjection(inner, schemas, d.health, part)

    return RoleSpec(name=DEAD_LETTERS, sources=topology.events, make=make)


def _archive(d: Deployment) -> RoleSpec:
    from projections.archive.age import UnarchivedAge  # noqa: PLC0415  # as its role runs
    from projections.archive.fold import CutRules  # noqa: PLC0415
    from projections.archive.projection import ArchiveProjection, ArchiveWorld  # noqa: PLC0415

    settings, topology = d.settings, d.engine.topology
    world = ArchiveWorld(
        objects=d.objects,
        keys=d.keys,
        clock=d.clock,
        retain_days=settings.retention_days,
        rules=CutRules(
            bytes_max=settings.segment_bytes,
            records_max=settings.segment_records,
            span_ms_max=int(settings.segment_span_s * 1000),
            daily=settings.segment_daily,
            age_s_max=settings.segment_age_s,
        ),
    )
    ages: dict[str, UnarchivedAge] = {}

    def beside(log: LogPlace, own: Callable[[], SourcePartition]) -> Coroutine[Any, Any, NoReturn]:
        ages[log.origin] = age = UnarchivedAge(
            log, lambda: d.engine.reader(log.audit, log.partition), own, d.clock
        )
        return age.run()

    def make(log: LogPlace) -> ArchiveProjection:
        return ArchiveProjection(world, log.origin, ages[log.origin].archived)

    return RoleSpec(
        name=ARCHIVE, sources=topology.sources, make=make, beside=beside, finishes=True
    )


def _memory(d: Deployment, search: LocalSearch, answers: SchemaAnswers) -> RoleSpec:
    from projections.memory_index.projection import MemoryIndex  # noqa: PLC0415  # as its role runs
    from projections.memory_index.search import MemorySearch  # noqa: PLC0415

    # The index of each epoch as it is or as it ended: the next one goes on with what it remembers.
    indexes: dict[tuple[str, int], dict[int, MemoryIndex]] = {}

    def make(log: LogPlace) -> SearchedProjection:
        epochs = indexes.setdefault((log.source, log.partition), {})
        before = max((epoch for epoch in epochs if epoch < log.epoch), default=None)
        schemas = LogAnswers(answers)
        index = epochs[log.epoch] = MemoryIndex(
            schemas, origin=log.origin, before=None if before is None else epochs[before]
        )
        searched = MemorySearch(index)
        search.opening("memory", log.origin, searched)
        part = (MEMORY, log.audit, log.partition)
        return SearchedProjection(
            AnsweredProjection(index, schemas, d.health, part),
            lambda: search.leave("memory", log.origin, searched),
        )

    def let_go(log: LogPlace) -> None:
        indexes.pop((log.source, log.partition), None)
        search.remove("memory", log.origin)

    return RoleSpec(
        name=MEMORY,
        sources=(d.engine.topology.memory,),
        make=make,
        caught_up=lambda log: search.opened("memory", log.origin),
        let_go=let_go,
    )


def _tiles(d: Deployment) -> RoleSpec:
    from projections.tiles.projection import (  # noqa: PLC0415  # as its role runs
        TilesProjection,
        TilesWorld,
    )

    def make(log: LogPlace) -> TilesProjection:
        world = TilesWorld(
            objects=d.objects,
            keys=d.keys,
            clock=d.clock,
            open_reader=lambda: d.engine.reader(log.audit, log.partition),
            ended_at=lambda: fork.size if (fork := d.trust.history.fork(log.origin)) else None,
        )
        return TilesProjection(world, log.origin)

    return RoleSpec(name=TILES, sources=d.engine.topology.sources, make=make, finishes=True)


def _ocsf(d: Deployment, answers: SchemaAnswers) -> RoleSpec:
    from projections.ocsf_alerts.projection import (  # noqa: PLC0415  # as its role runs
        OcsfAlerts,
        OcsfAlertsWorld,
    )
    from schemas.codec import decode_alert  # noqa: PLC0415

    topology = d.engine.topology

    def make(log: LogPlace) -> AnsweredProjection:
        schemas = LogAnswers(answers)
        world = OcsfAlertsWorld(
            make_writer=lambda: d.engine.writer(topology.ocsf_alerts, log.partition),
            make_reader=lambda: d.engine.reader(topology.ocsf_alerts, log.partition),
            decode=lambda record: decode_alert(record, schemas),
        )
        inner = OcsfAlerts(world, log.origin)
        part = (OCSF, log.audit, log.partition)
        return AnsweredProjection(inner, schemas, d.health, part)

    return RoleSpec(name=OCSF, sources=(topology.alerts,), make=make)
