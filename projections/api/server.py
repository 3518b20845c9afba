"""The pages on a plain aiohttp server: the embedded engine's, which has no Faust."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from projections.api.pages import METRICS_CONTENT_TYPE, Answer, healthz, metrics, readyz
from projections.api.search import SearchPages
from projections.api.snapshots import SnapshotPages
from streams.errors import SettingsError
from streams.telemetry.health import Health

__all__ = ["serve"]


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    health: Health,
    search: SearchPages,
    snapshots: SnapshotPages | None = None,
) -> AsyncIterator[str]:
    """Serve the pages while the context lasts; gives the URL.

    Raises:
        SettingsError: the address cannot be bound.
    """
    app = web.Application()

    async def alive(_request: web.Request) -> web.Response:
        return _answer(healthz())

    async def ready(_request: web.Request) -> web.Response:
        return _answer(readyz(health))

    async def searched(request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        return _answer(await search.answer(kind, await request.text()))

    async def snapshot_taken(request: web.Request) -> web.Response:
        assert snapshots is not None
        return _answer(await snapshots.answer(request.match_info["name"]))

    if snapshots is not None:
        app.router.add_post("/v1/snapshots/{name}", snapshot_taken)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", _metrics)
    app.router.add_post("/v1/search/{kind}", searched)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                [f"ATTESTREAM_HTTP_PORT: cannot listen on {host}:{port}: {error.strerror}"]
            ) from error
        bound = runner.addresses[0][1]
        yield f"http://{host}:{bound}"
    finally:
        await runner.cleanup()


def _answer(answer: Answer) -> web.Response:
    return web.json_response(answer.body, status=answer.status, dumps=json.dumps)


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=metrics(), headers={"Content-Type": METRICS_CONTENT_TYPE})
