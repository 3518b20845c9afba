"""A schema registry on loopback that keeps the law of Confluent's API, with faults on request.

Ids count from 1 and are the same for the same schema under any subject; a text is given back as
one line of JSON, whatever it looked like when it came; errors have the codes of Confluent's.
"""

import asyncio
import json
import ssl
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from threading import Thread
from typing import Any, Literal
from uuid import UUID

from aiohttp import web
from fastavro import parse_schema

from tests.support.signing_servers import Handler, served

__all__ = ["Fault", "LocalRegistry"]

# "silence": never an answer. "noise": a page of somebody else's, with status 200. "page": the
# same with 404. "torn": half an answer. Numbers are statuses without a body of the registry's.
Fault = Literal["", "silence", "noise", "page", "torn", "503", "429", "403", "302", "500"]
TYPE = "application/vnd.schemaregistry.v1+json"
ID_MAX = 2**31 - 1


@dataclass(slots=True)
class LocalRegistry:
    """Schemas by id, subjects, and how often each page was asked for."""

    user_info: str | None = None
    token: str | None = None
    serves_guids: bool = True
    resolves: bool = True
    fault: Fault = ""
    lags: int = 0  # so many questions are answered as if nothing was registered
    readonly: bool = False
    incompatible: set[str] = field(default_factory=set)
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Served while the context lasts; gives the URL."""
        app = web.Application(middlewares=[self._around], client_max_size=2**22)
        app.router.add_get("/schemas/ids/{id}", self._by_id)
        if self.serves_guids:
            app.router.add_get("/schemas/guids/{guid}", self._by_guid)
        app.router.add_post("/subjects/{subject}", self._look_up)
        app.router.add_post("/subjects/{subject}/versions", self._register)
        async with served(app, context) as url:
            yield url

    @contextmanager
    def beside(self) -> Iterator[str]:
        """As `running`, in a thread of its own: for tests that wait for processes."""
        url: Future[str] = Future()
        ended = asyncio.Event()
        loop = asyncio.new_event_loop()

        async def serve() -> None:
            async with self.running() as served_at:
                url.set_result(served_at)
                await ended.wait()

        thread = Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        try:
            yield url.result(10)
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(10)
            loop.close()

    def put(self, text: str, **more: Any) -> int:
        """Register a text under no subject; its id."""
        if not more:
            text = json.dumps(json.loads(text), separators=(",", ":"))
        entry = {"schema": text, **more}
        for number, known in self.schemas.items():
            if known == entry:
                return number
        self.schemas[len(self.schemas) + 1] = entry
        return len(self.schemas)

    def guid(self, number: int) -> bytes:
        return md5(json.dumps(self.schemas[number]).encode(), usedforsecurity=False).digest()

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked[f"{request.method} {request.path}"] += 1
        if not self._is_welcome(request.headers.get("Authorization")):
            return failure(401, 401, "Unauthorized")
        spoiled = await self._spoiled(request)
        if spoiled is not None:
            return spoiled
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return failure(404, 404, "HTTP 404 Not Found")

    async def _spoiled(self, request: web.Request) -> web.StreamResponse | None:
        match self.fault:
            case "":
                return None
            case "silence":
                return await asyncio.Future()
            case "noise" | "page":
                return web.Response(text="<p>Sorry", status=200 if self.fault == "noise" else 404)
            case "torn":
                half = web.StreamResponse(headers={"Content-Length": "100"})
                await half.prepare(request)
                await half.write(b'{"schema":')
                assert request.transport is not None
                request.transport.close()
                return half
            case "302":
                return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})
            case status:
                return web.Response(status=int(status))

    def _is_welcome(self, given: str | None) -> bool:
        if self.user_info is not None:
            return given == f"Basic {b64encode(self.user_info.encode()).decode()}"
        return self.token is None or given == f"Bearer {self.token}"

    async def _by_id(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        if number > ID_MAX:
            raise web.HTTPNotFound
        return self._given(request, number)

    async def _by_guid(self, request: web.Request) -> web.Response:
        guid = UUID(request.match_info["guid"]).bytes
        number = next((n for n in self.schemas if self.guid(n) == guid), 0)
        return self._given(request, number)

    def _given(self, request: web.Request, number: int) -> web.Response:
        entry = self.schemas.get(number)
        if self.lags:
            self.lags -= 1
            entry = None
        if entry is None:
            return failure(404, 40403, "Schema not found")
        if request.query.get("format") == "resolved":
            if not self.resolves:
                return failure(501, 501, "Not implemented")
            return answer({"schema": entry["resolved"]})
        told = {name: value for name, value in entry.items() if name != "resolved"}
        return answer({**told, "guid": str(UUID(bytes=self.guid(number)))})

    async def _look_up(self, request: web.Request) -> web.Response:
        subject, number = request.match_info["subject"], await self._number(request)
        if subject not in self.subjects:
            return failure(404, 40401, f"Subject '{subject}' not found.")
        if number not in self.subjects[subject]:
            return failure(404, 40403, "Schema not found")
        return answer({"subject": subject, "id": number, "version": 1})

    async def _register(self, request: web.Request) -> web.Response:
        subject = request.match_info["subject"]
        if self.readonly:
            return failure(403, 40301, "User is denied operation Write")
        if subject in self.incompatible:
            return failure(409, 409, "Schema being registered is incompatible")
        number = await self._number(request)
        self.subjects.setdefault(subject, []).append(number)
        return answer({"id": number, "guid": str(UUID(bytes=self.guid(number)))})

    async def _number(self, request: web.Request) -> int:
        assert request.headers["Content-Type"] == TYPE
        text = json.loads(await request.text())["schema"]
        parse_schema(json.loads(text))
        return self.put(text)


def answer(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type=TYPE)


def failure(status: int, code: int, message: str) -> web.Response:
    return answer({"error_code": code, "message": message}, status)
