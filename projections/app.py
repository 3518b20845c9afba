"""The one Faust app: it hosts the services of a worker and gives them life cycle and web pages.

`attestream worker`, or `faust -A projections.app worker`. The services are plain aiokafka loops
(an agent costs 55 µs an event against 4, and acknowledges what its handler raised); Faust runs
them, serves the pages, and hosts the one agent for low-rate work: alerts into the log lines.

Importing this module builds nothing; the attribute `app` does, from the environment.
"""

import asyncio
import os
import ssl
import tempfile
from collections.abc import Sequence
from typing import Any

import faust
from mode import Service

from projections.api.pages import METRICS_CONTENT_TYPE, Answer, healthz, metrics, readyz
from projections.api.search import SearchPages
from projections.roles import ALL_ROLES, SEALER, projection_specs
from projections.search import LocalSearch
from projections.services import ProjectionService
from schemas.codec import decode_alert
from schemas.errors import RejectedInput
from schemas.records import Record
from streams.app import Deployment, SealingService, kafka_connection, open_deployment
from streams.clock import SystemClock
from streams.settings import Settings, load_settings, sanitised
from streams.telemetry.health import Health
from streams.telemetry.logs import get_log

__all__ = ["make_app", "run_worker"]

log = get_log("worker")


def make_app(settings: Settings, roles: Sequence[str] = ALL_ROLES) -> faust.App:
    """A Faust app that runs `roles` when its worker starts."""
    connection = kafka_connection(settings)
    health, search = Health(), LocalSearch()
    app = faust.App(
        f"{settings.topic_prefix}attestream.faust",
        broker=[f"kafka://{server}" for server in connection.bootstrap.split(",")],
        broker_credentials=_credentials(connection.client_arguments()),
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="attestream-faust-"),
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=min(3.0, settings.session_timeout_ms / 3000),
        web_host=settings.http_host,
        web_bind=settings.http_host,
        web_port=settings.http_port,
        web_enabled=True,
    )
    hosted = _host(app, settings, (health, search), roles)
    _serve(app, health, SearchPages(search, hosted.peers, settings.own_url))
    _announce(app, settings)
    return app


def run_worker(settings: Settings, roles: Sequence[str]) -> int:
    """Run a worker until a signal ends it; its exit status."""
    worker = faust.Worker(make_app(settings, roles), loglevel="WARN", redirect_stdouts=False)
    return int(worker.execute_from_commandline() or 0)


def __getattr__(name: str) -> faust.App:
    """`app`, built on first use: what `faust -A projections.app` looks for."""
    if name != "app":
        raise AttributeError(name)
    app = make_app(load_settings(os.environ))
    globals()["app"] = app
    return app


class _Hosted:
    """The open deployment, once the worker has started."""

    deployment: Deployment | None = None

    async def peers(self, role: str) -> list[str]:
        return await self.deployment.engine.peers(role) if self.deployment else []


def _host(
    app: faust.App, settings: Settings, shared: tuple[Health, LocalSearch], roles: Sequence[str]
) -> _Hosted:
    health, search = shared
    hosted = _Hosted()

    class Pipeline(Service):  # type: ignore[misc]  # mode is untyped
        """Runs the services of this worker; a service that fails ends the worker."""

        @Service.task  # type: ignore[untyped-decorator]
        async def serve_roles(self) -> None:
            log.info("worker starts", roles=list(roles), **sanitised(settings))
            async with open_deployment(settings, health, SystemClock()) as deployment:
                hosted.deployment = deployment
                services: list[Any] = []
                if SEALER in roles:
                    services.append(SealingService(deployment))
                services += [
                    ProjectionService(deployment, spec)
                    for spec in projection_specs(deployment, search)
                    if spec.name in roles
                ]
                async with asyncio.TaskGroup() as group:
                    for service in services:
                        group.create_task(service.run())

    app.service(Pipeline)
    return hosted


def _serve(app: faust.App, health: Health, search: SearchPages) -> None:
    def answered(web: Any, answer: Answer) -> Any:  # noqa: ANN401  # Faust's web types
        return web.json(answer.body, status=answer.status)

    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def alive(web: Any, _request: Any) -> Any:  # noqa: ANN401
        return answered(web, healthz())

    @app.page("/readyz")  # type: ignore[untyped-decorator]
    async def ready(web: Any, _request: Any) -> Any:  # noqa: ANN401
        return answered(web, readyz(health))

    @app.page("/v1/search/{kind}", name="search")  # type: ignore[untyped-decorator]
    async def searched(web: Any, request: Any, kind: str) -> Any:  # noqa: ANN401
        return answered(
            web, await search.answer(kind, (await request.read()).decode("utf-8", "replace"))
        )

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def measured(web: Any, _request: Any) -> Any:  # noqa: ANN401
        return web.bytes(metrics(), content_type=METRICS_CONTENT_TYPE.partition(";")[0])


def _announce(app: faust.App, settings: Settings) -> None:
    topic = app.topic(
        f"{settings.topic_prefix}attestream.alerts", value_type=bytes, value_serializer="raw"
    )

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def announce_alerts(stream: Any) -> None:  # noqa: ANN401
        async for value in stream:
            # A line that cannot be written loses nothing: the alert stays in its topic.
            try:
                alert = decode_alert(Record(0, 0, None, value))
            except RejectedInput as error:
                log.warning("unreadable alert", why=str(error))
            else:
                log.info("alert", id=alert.alert_id, risk=alert.risk, title=alert.title)


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
