"""A replay as it is asked for: which logs, from where, whose signatures count, and to where.

The composition of this package: what a command, a drill and a measurement have in common.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from projections.replay.archived import ArchivedLog, archived_logs
from projections.replay.copying import Copied, copy_log
from projections.replay.fold import LogPlan
from projections.replay.live import LiveLog
from projections.replay.places import Place, PrefixedPlace, directory_place
from projections.replay.staging import StagingLog
from streams.app import open_anchors, open_engine, open_objects, operator_keys, own_vkeys
from streams.audit.checkpoint import CheckpointText, LogName, parse_log_name
from streams.audit.note import TrustedKeys
from streams.cli.root_logs import archived_roots, live_roots
from streams.embedded.home import DATABASE
from streams.engine import Engine
from streams.epochs import logs_there, newest_epoch
from streams.errors import SettingsError, SourceUnreadableError, TransientError
from streams.objects.locations import CheckedStore
from streams.segments import ARCHIVE
from streams.settings import Settings
from streams.topology import LogPlace
from streams.verifier import SILENT, Progress, RootLogs, Trust, rooted
from streams.verifier.holdings import held_logs

__all__ = ["Begin", "Replay", "ReplayRequest", "Target", "audit_topic", "open_replay"]

PREFIX = re.compile(r"[a-zA-Z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Where a replay begins: at an index, at an audit offset, or at a time (ms); at most one."""

    index: int = 0
    offset: int | None = None
    time_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where it goes: under a prefix, into a directory, or to the deployment's own topics."""

    prefix: str = ""
    directory: Path | None = None
    is_restore: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What is asked for.

    Attributes:
        source: the audit topics themselves, or the archive.
        target: where it goes; None where nothing is to be written.
        logs: origins; empty for every log of the deployment.
        begin: where each begins.
        keys: whose signatures count; None for this deployment's own and its operator's.
        with_deployment: open the deployment too, where it can be reached, to compare with it.
    """

    source: Literal["log", "archive"]
    target: Target | None = None
    logs: tuple[str, ...] = ()
    begin: Begin = Begin()
    keys: TrustedKeys | None = None
    with_deployment: bool = False


class Replay:
    """Logs that can be planned and copied; made by `open_replay`.

    Attributes:
        sources: where they are read.
        place: where copies go, None where nothing is copied.
        origins: the logs, operations and heads first.
    """

    def __init__(
        self,
        request: ReplayRequest,
        sources: "Sources",
        origins: Sequence[str],
        place: Place | None,
    ) -> None:
        self._request = request
        self.sources = sources
        self.place = place
        self.origins = tuple(origins)

    @property
    def engine(self) -> Engine | None:
        """The deployment itself, where it was opened."""
        return self.sources.engine

    async def plan(self, origin: str) -> LogPlan:
        """What a copy of a log would read. Raises TransientError, SourceUnreadableError."""
        async with self.sources.log(origin) as source:
            plan = await source.plan(await self._begin(source))
        return plan._replace(missing=(*plan.missing, *self.sources.lacking(origin, plan.size)))

    async def copy(self, origin: str, progress: Progress = SILENT) -> Copied:
        """Copy a log into the place that was asked for. Raises as `copy_log`."""
        assert self.place is not None, "nowhere to copy to"
        place, name = self.place, parse_log_name(origin)
        audit = self.sources.audit(name)
        plan = await self.plan(origin)
        if plan.begin > plan.size:
            raise SourceUnreadableError("; ".join(plan.missing))
        staging = StagingLog(
            lambda: place.reader(audit, name.partition),
            lambda: place.writer(audit, name.partition),
            origin,
            self.sources.keys,
        )
        async with self.sources.log(origin, plan.size) as source:
            progress.begin(origin, plan.records)
            return await copy_log(source, staging, plan.begin, progress)

    async def prepare(self) -> None:
        """Make the partitions that copies go to. Raises as `Place.ensure`."""
        assert self.place is not None, "nowhere to copy to"
        partitions: dict[str, int] = {}
        for name in map(parse_log_name, self.origins):
            audit = self.sources.audit(name)
            partitions[audit] = max(partitions.get(audit, 0), name.partition + 1)
        await self.place.ensure(partitions)

    async def _begin(self, source: ArchivedLog | LiveLog) -> int:
        begin = self._request.begin
        if begin.offset is not None:
            return await source.index_at(begin.offset)
        if begin.time_ms is not None:
            return await source.index_since(begin.time_ms)
        return begin.index


class Sources:
    """Where logs are read."""

    def __init__(
        self,
        engine: Engine | None,
        store: CheckedStore | None,
        trust: Trust,
        prefix: str,
        anchors: dict[str, CheckpointText],
    ) -> None:
        self.engine = engine
        self.store = store
        self._prefix = prefix
        self._anchors = anchors
        self.trust = trust
        self.keys = trust.keys or TrustedKeys(())

    def audit(self, name: LogName) -> str:
        """The audit topic of a log."""
        return audit_topic(self._prefix, name)

    @asynccontextmanager
    async def log(
        self, origin: str, size: int | None = None
    ) -> AsyncIterator[ArchivedLog | LiveLog]:
        """One log, held to what is known of it from elsewhere, up to `size`."""
        known = [*self.trust.known, *self._anchors.values()]
        anchors = [one for one in known if one.origin == origin and one.size <= (size or 0)]
        until = self.trust.void_from(origin)
        if self.store is not None:
            yield ArchivedLog(
                store=self.store, origin=origin, keys=self.keys, anchors=anchors, until=until
            )
            return
        assert self.engine is not None
        name = parse_log_name(origin)
        reader = self.engine.reader(self.audit(name), name.partition)
        try:
            yield LiveLog(reader, origin, self.keys, anchors=anchors, until=until)
        finally:
            await reader.close()

    def lacking(self, origin: str, size: int) -> tuple[str, ...]:
        """What is known to have been there behind `size`."""
        known = [*self.trust.known, *self._anchors.values()]
        longest = max((one.size for one in known if one.origin == origin), default=0)
        if longest <= size:
            return ()
        return (f"{longest - size} records that were sealed: the log was known at size {longest}",)


def audit_topic(prefix: str, name: LogName) -> str:
    """The audit topic of a log in a deployment of this topic prefix."""
    return f"{prefix}audit.{name.topic}" + (f".e{name.epoch}" if name.epoch else "")


@asynccontextmanager
async def open_replay(settings: Settings, request: ReplayRequest) -> AsyncIterator[Replay]:
    """What a request asks for, opened.

    Raises:
        SettingsError: it cannot be done as asked.
        SourceUnreadableError: no log is there.
        TransientError: a server gives no answer.
    """
    _check(settings, request)
    async with AsyncExitStack() as stack:
        engine = None
        if _needs_engine(settings, request):
            engine = await stack.enter_async_context(open_engine(settings))
        elif request.with_deployment and settings.on_kafka:
            # Without an answer there is nothing to compare with; the archive is there still.
            with suppress(TransientError):
                engine = await stack.enter_async_context(open_engine(settings))
        store = None
        if request.source == "archive":
            store = open_objects(settings)
            stack.push_async_callback(store.close)
        base = settings.origin or (engine.topology.base if engine else None)
        base = base or await _only_base(store)
        trust = await _trust(settings, request.keys, base, (engine, store))
        origins = await _origins(request, base, engine, store)
        anchors = await _anchors(settings, origins, trust, store) if store else {}
        sources = Sources(engine, store, trust, settings.topic_prefix, anchors)
        place = None
        if request.target is not None:
            place = await _place(stack, settings, request.target, (base, engine))
        yield Replay(request, sources, origins, place)


def _check(settings: Settings, request: ReplayRequest) -> None:
    problems = []
    begin, target = request.begin, request.target
    if len(request.logs) != 1 and (begin.index or begin.offset is not None):
        problems.append("an index or an offset is one log's: name it with --log")
    if target is not None:
        problems += _target_problems(settings, target, request)
    if problems:
        raise SettingsError(problems)


def _target_problems(settings: Settings, target: Target, request: ReplayRequest) -> list[str]:
    problems, begin, source = [], request.begin, request.source
    given = [bool(target.prefix), target.directory is not None, target.is_restore]
    if sum(given) != 1:
        problems.append("give one place: --prefix, --into or --restore")
    if target.prefix and not settings.on_kafka:
        problems.append("--prefix makes topics of a cluster; the embedded engine has --into DIR")
    if target.prefix and not PREFIX.fullmatch(target.prefix):
        problems.append(f"--prefix {target.prefix!r}: expected letters, digits, . _ -")
    if target.is_restore and (
        begin.index or begin.offset is not None or begin.time_ms is not None
    ):
        # A log without its beginning could never be taken back out of its own audit topic.
        problems.append("--restore rebuilds whole logs: no --index, --offset or --time")
    if target.is_restore and source != "archive":
        problems.append("--restore rebuilds the audit topics themselves: --from archive")
    own = target.directory is not None and not settings.on_kafka
    if own and target.directory and target.directory.resolve() == settings.home.resolve():
        problems.append(f"--into {target.directory} is the deployment's own home: use --restore")
    return problems


def _needs_engine(settings: Settings, request: ReplayRequest) -> bool:
    if request.source == "log" or not settings.on_kafka:
        return request.source == "log" or (settings.home / DATABASE).is_file()
    return request.target is not None and request.target.directory is None


async def _only_base(store: CheckedStore | None) -> str:
    """The one deployment whose logs are archived."""
    assert store is not None
    logs = held_logs(await store.versions(ARCHIVE))
    bases = sorted({parse_log_name(origin).deployment for origin in logs})
    if len(bases) != 1:
        found = ", ".join(bases) or "no log at all"
        raise SettingsError([f"ATTESTREAM_ORIGIN is not set, and the archive holds {found}"])
    return bases[0]


async def _trust(
    settings: Settings,
    given: TrustedKeys | None,
    base: str,
    held: tuple[Engine | None, CheckedStore | None],
) -> Trust:
    """What follows from the keys given, or this deployment's own and its operator's."""
    keys = given
    if keys is None:
        operator = operator_keys(settings, base)
        own = await own_vkeys(settings, base)
        keys = TrustedKeys([*own, *(operator.vkeys if operator else ())])
    if not keys.vkeys:
        raise SettingsError(
            ["no key is known here: give --keys FILE, with the operator's vkey or the logs'"]
        )
    engine, store = held
    if store is not None:
        roots = archived_roots(store, await store.versions(f"{ARCHIVE}{base}/"))
        return await rooted(Trust(keys=keys), roots)
    assert engine is not None
    return await rooted(Trust(keys=keys), await _live_roots(engine))


async def _live_roots(engine: Engine) -> RootLogs:
    topology = engine.topology
    there = [
        topology.audit(source, epoch)
        for source in (topology.operations, topology.heads)
        if await engine.partitions(topology.audit(source))
        for epoch in range(await newest_epoch(engine, source) + 1)
    ]
    audit = topology.audit(topology.operations)
    return live_roots(lambda topic: engine.reader(topic, 0), audit, there)


async def _origins(
    request: ReplayRequest, base: str, engine: Engine | None, store: CheckedStore | None
) -> list[str]:
    if store is not None:
        found = await archived_logs(store, base)
    else:
        assert engine is not None
        found = [log.origin async for log in logs_there(engine) if await _is_born(engine, log)]
    if not found:
        raise SourceUnreadableError(f"no log of {base} is there")
    if unknown := [origin for origin in request.logs if origin not in found]:
        raise SettingsError([f"{origin} is not there" for origin in unknown])
    return sorted(request.logs or found, key=_roots_first)


def _roots_first(origin: str) -> tuple[bool, bool, str]:
    # What schema ids stand for, and who may sign, is in the operations.
    topic = parse_log_name(origin).topic
    return (
        not topic.endswith("attestream.operations"),
        not topic.endswith("attestream.heads"),
        origin,
    )


async def _is_born(engine: Engine, log: LogPlace) -> bool:
    reader = engine.reader(log.audit, log.partition)
    try:
        bounds = await reader.bounds()
    finally:
        await reader.close()
    return bounds.end > bounds.start


async def _anchors(
    settings: Settings, origins: Sequence[str], trust: Trust, store: CheckedStore
) -> dict[str, CheckpointText]:
    """The newest anchor of each log, of the archive's and of the second place's."""
    found = {}
    # A second place that gives no answer is no reason to leave a log lost.
    with suppress(TransientError):
        async with open_anchors(settings, store) as anchors:
            for origin in origins:
                newest = await anchors.newest(origin, trust.keys)
                if newest is not None:
                    found[origin] = newest
    return found


async def _place(
    stack: AsyncExitStack, settings: Settings, target: Target, at: tuple[str, Engine | None]
) -> Place:
    base, engine = at
    directory = target.directory
    if target.is_restore and not settings.on_kafka:
        directory = settings.home
    if directory is not None:
        return await stack.enter_async_context(directory_place(directory, base))
    assert engine is not None
    return PrefixedPlace(settings, engine, target.prefix)
