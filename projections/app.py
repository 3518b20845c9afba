"""The one Faust app: it hosts the services of a worker and gives them life cycle and web pages.

`attestream worker`, or `faust -A projections.app worker`. The services are plain aiokafka loops
(an agent costs 55 µs an event against 4, and acknowledges what its handler raised); Faust runs
them, serves the pages, and hosts the one agent for low-rate work: alerts into the log lines. The
services start before Faust's own consumer and never wait for it; a worker without the index role
has no agent, and no such consumer.

Importing this module builds nothing; the attribute `app` does, from the environment.
"""

import asyncio
import os
import signal
import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import faust
from faust.web import View
from mode import Service

from projections.api.pages import METRICS_CONTENT_TYPE, Answer, healthz, metrics, readyz
from projections.api.search import SearchPages
from projections.api.snapshots import SNAPSHOT_KINDS, SnapshotPages
from projections.drill.promise import DrillWatch
from projections.roles import (
    ALL_ROLES,
    INDEX,
    SEALER,
    projection_specs,
    schema_answers,
)
from projections.schema_answers.answers import SchemaAnswers
from projections.search import LocalSearch
from projections.services import ProjectionService
from projections.snapshots.local import LocalSnapshots
from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from schemas.errors import RejectedInput
from schemas.records import Record
from streams.app import Deployment, SealingService, kafka_connection, open_deployment
from streams.clock import SystemClock
from streams.errors import AttestreamError, TransientError
from streams.garbage import collect_rarely
from streams.settings import Settings, load_settings, sanitised
from streams.telemetry.health import Health
from streams.telemetry.logs import get_log

__all__ = ["make_app", "run_worker"]

log = get_log("worker")


def make_app(settings: Settings, roles: Sequence[str] = ALL_ROLES) -> faust.App:
    """A Faust app that runs `roles` when its worker starts."""
    connection = kafka_connection(settings)
    health, search = Health(), LocalSearch()
    app = _App(
        f"{settings.topic_prefix}attestream.faust",
        broker=[f"kafka://{server}" for server in connection.bootstrap.split(",")],
        broker_credentials=_credentials(connection.client_arguments()),
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=min(3.0, settings.session_timeout_ms / 3000),
        web_host=settings.http_host,
        web_bind=settings.http_host,
        web_port=settings.http_port,
        web_enabled=True,
        Worker=_Worker,
    )
    app.hosted = _Hosted(settings, roles, health, search)
    app.boot_strategy = _Boot(app, enable_kafka=INDEX in roles)
    _serve(app, health, SearchPages(search, lambda: app.hosted.deployment, settings.own_url))
    _serve_snapshots(app, SnapshotPages(app.hosted.snapshots, SNAPSHOT_KINDS))
    if INDEX in roles:
        _announce(app, settings, health)
    return app


def run_worker(settings: Settings, roles: Sequence[str]) -> int:
    """Run a worker until a signal ends it; its exit status.

    Raises:
        AttestreamError: why the worker ended by itself.
    """
    app = make_app(settings, roles)
    collect_rarely()
    worker = app.Worker(loglevel="WARN", redirect_stdouts=False)
    return int(worker.execute_from_commandline() or 0)


def __getattr__(name: str) -> faust.App:
    """`app`, built on first use: what `faust -A projections.app` looks for."""
    if name != "app":
        raise AttributeError(name)
    app = make_app(load_settings(os.environ))
    collect_rarely()
    globals()["app"] = app
    return app


class _Hosted:
    """What the app runs: the services of a worker's roles."""

    def __init__(
        self, settings: Settings, roles: Sequence[str], health: Health, search: LocalSearch
    ) -> None:
        self._settings = settings
        self._roles = roles
        self._health = health
        self._search = search
        self.snapshots = LocalSnapshots()
        self.deployment: Deployment | None = None
        self.answers: SchemaAnswers | None = None
        self.ended_by: AttestreamError | None = None

    async def run(self) -> None:
        """Until cancelled; what the project expects to happen ends the worker in order."""
        log.info("worker starts", roles=list(self._roles), **sanitised(self._settings))
        try:
            await self._serve_roles()
        except* AttestreamError as failures:
            self.ended_by = next(_leaves(failures))
            # Faust would print a traceback of what is one sentence.
            signal.raise_signal(signal.SIGTERM)

    async def _serve_roles(self) -> None:
        async with open_deployment(self._settings, self._health, SystemClock()) as deployment:
            self.deployment = deployment
            self.answers = answers = schema_answers(deployment)
            services: list[Any] = []
            if SEALER in self._roles:
                services += [SealingService(deployment), DrillWatch(deployment)]
            services += [
                ProjectionService(deployment, spec)
                for spec in projection_specs(deployment, self._search, answers, self.snapshots)
                if spec.name in self._roles
            ]
            async with asyncio.TaskGroup() as group:
                for service in services:
                    group.create_task(service.run())


class _Pipeline(Service):  # type: ignore[misc]  # mode is untyped
    """What is hosted, as Faust runs it; an unexpected failure crashes the worker."""

    def __init__(self, hosted: _Hosted, **how: Any) -> None:  # noqa: ANN401  # mode's own
        super().__init__(**how)
        self._hosted = hosted

    @Service.task  # type: ignore[untyped-decorator]
    async def serve_roles(self) -> None:
        await self._hosted.run()


class _App(faust.App):  # type: ignore[misc]  # Faust is untyped
    """Faust's app without its directories: nothing of it is kept on a disk."""

    hosted: _Hosted

    def _create_directories(self) -> None:
        pass


class _Boot(faust.App.BootStrategy):  # type: ignore[misc]
    """Starts the pipeline first: a consumer that cannot join its group must not hold it up."""

    def server(self) -> Iterable[Any]:
        pipeline = _Pipeline(self.app.hosted, loop=self.app.loop, beacon=self.app.beacon)
        return [pipeline, *super().server()]


class _Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, ending with what ended the pipeline."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # Faust's own
        super().__init__(*arguments, **options)
        # A spinner spins for every log line, and has every library write them at DEBUG.
        self.spinner = None

    def execute_from_commandline(self) -> None:
        try:
            super().execute_from_commandline()
        except SystemExit:
            if (why := self.app.hosted.ended_by) is not None:
                raise why from None
            raise


def _leaves(group: BaseExceptionGroup[AttestreamError]) -> Iterator[AttestreamError]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def _serve(app: faust.App, health: Health, search: SearchPages) -> None:
    def answered(web: Any, answer: Answer) -> Any:  # noqa: ANN401  # Faust's web types
        return web.json(answer.body, status=answer.status)

    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def alive(web: Any, _request: Any) -> Any:  # noqa: ANN401
        return answered(web, healthz())

    @app.page("/readyz")  # type: ignore[untyped-decorator]
    async def ready(web: Any, _request: Any) -> Any:  # noqa: ANN401
        return answered(web, readyz(health))

    @app.page("/v1/search/{kind}", name="search")
    class Searched(View):  # type: ignore[misc]  # a function would be asked by GET only
        async def post(self, request: Any, kind: str) -> Any:  # noqa: ANN401
            body = (await request.read()).decode("utf-8", "replace")
            return answered(self, await search.answer(kind, body))

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def measured(web: Any, _request: Any) -> Any:  # noqa: ANN401
        return web.bytes(metrics(), content_type=METRICS_CONTENT_TYPE.partition(";")[0])


def _serve_snapshots(app: faust.App, snapshots: SnapshotPages) -> None:
    @app.page("/v1/snapshots/{name}", name="snapshots")
    class Taken(View):  # type: ignore[misc]  # as Searched
        async def post(self, _request: Any, name: str) -> Any:  # noqa: ANN401
            answer = await snapshots.answer(name)
            return self.json(answer.body, status=answer.status)


def _announce(app: faust.App, settings: Settings, health: Health) -> None:
    name = "announce-alerts"
    topic = app.topic(
        f"{settings.topic_prefix}attestream.alerts", value_type=bytes, value_serializer="raw"
    )
    health.agent(name, f"waits for its partitions in group {app.conf.id}")

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def at_work(*_: Any, **__: Any) -> None:  # noqa: ANN401
        health.agent(name)

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def announce_alerts(stream: Any) -> None:  # noqa: ANN401
        async for value in stream:
            # A line that cannot be written loses nothing: the alert stays in its topic.
            try:
                alert = await _alert_in(Record(0, 0, None, value), app.hosted.answers)
            except (RejectedInput, TransientError) as error:
                log.warning("unreadable alert", why=str(error))
            else:
                log.info("alert", id=alert.alert_id, risk=alert.risk, title=alert.title)


async def _alert_in(record: Record, answers: SchemaAnswers | None) -> AnomalyAlert:
    if answers is None:
        return decode_alert(record)
    await answers.learn([record])
    return decode_alert(record, answers)


def _credentials(arguments: dict[str, Any]) -> Any:  # noqa: ANN401  # Faust's own union
    context: ssl.SSLContext | None = arguments.get("ssl_context")
    if "sasl_mechanism" in arguments:
        return faust.SASLCredentials(
            mechanism=arguments["sasl_mechanism"],
            username=arguments["sasl_plain_username"],
            password=arguments["sasl_plain_password"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
