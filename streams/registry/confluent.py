"""A thin client of the Confluent schema registry API: three pages of it, over aiohttp.

Only the registry's own word counts as an answer: status 200, or 404 with its code 40403. Whatever
else may stand between (a proxy's page, a registry that starts, a refusal) is an error, and waits.
A node of a registry may not have heard yet of what another one registered, so "unknown" counts
when every node has said so several times, over seconds.

`GET /schemas/guids/…` came with Confluent Platform 8. A registry that serves ids and has no such
page knows no GUID.
"""

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import aiohttp

from schemas.catalogue import parse_text
from schemas.framing import ReferenceKind, SchemaReference
from schemas.schema_answers import TEXT_BYTES_MAX
from streams.errors import SettingsError, TransientError
from streams.registry.port import RegistryAnswer

__all__ = ["ConfluentRegistry", "RegistryAddress", "RegistryPatience", "opened_registry"]

BODY_BYTES_MAX = 4 * TEXT_BYTES_MAX
CONNECTIONS = 8
JSON_TYPE = "application/vnd.schemaregistry.v1+json"
PASSING_STATUS = {408, 425, 429}
NO_SUBJECT, NO_SCHEMA = 40401, 40403
REASONS = {
    401: "wants other credentials (SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO)",
    403: "does not permit it to these credentials",
    404: "has no such page: is the path of the URL right?",
    409: "finds the schema incompatible with what the subject has",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAddress:
    """How to reach a registry: its nodes' URLs, `user:password` or a bearer token, a CA file."""

    urls: tuple[str, ...]
    user_info: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryPatience:
    """How long to try: the delays between attempts, in seconds, and the time of one request."""

    delays_s: tuple[float, ...] = (0.5, 1.5)
    connect_timeout_s: float = 2
    total_timeout_s: float = 5


class _Page(NamedTuple):
    """What a node answered: `body` is {} unless it was a JSON object, None if it was too long."""

    url: str
    status: int
    body: Mapping[str, Any] | None

    @property
    def code(self) -> object:
        return None if self.body is None else self.body.get("error_code")


class ConfluentRegistry:
    """One registry, by one session of connections; `opened_registry` makes it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: tuple[str, ...],
        patience: RegistryPatience,
    ) -> None:
        self._session = session
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._patience = patience

    @property
    def url(self) -> str:
        """As the port says: the URLs given, joined by commas."""
        return ",".join(self._urls)

    async def ask(self, reference: SchemaReference) -> RegistryAnswer:
        """As the port says."""
        number = int.from_bytes(reference.value, "big")
        by_guid = reference.kind is ReferenceKind.GUID
        path = f"/schemas/guids/{UUID(int=number)}" if by_guid else f"/schemas/ids/{number}"
        found = await self._known(path)
        if found is None:
            return RegistryAnswer(None, f"the registry does not know {reference}")
        return await self._answer(path, found)

    async def register(self, subject: str, text: str) -> int:
        """As the port says. A user that may only read finds what was registered for it."""
        path, question = f"/subjects/{subject}", {"schema": text}
        page = await self._page("POST", path, question)
        if page.status == 404 and page.code in {NO_SUBJECT, NO_SCHEMA}:
            path += "/versions"
            page = await self._page("POST", path, question)
        if page.status != 200:
            raise self._refused(page, path)
        number = (page.body or {}).get("id")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**31:
            raise TransientError(f"schema registry {page.url}: answered no id")
        return number

    async def _known(self, path: str) -> _Page | None:
        """The page, or None where every node said, over some time, that there is no such schema.

        Raises:
            TransientError: any of them gave no answer. SettingsError: refused.
        """
        failure: TransientError | None = None
        for delay in (*self._patience.delays_s, None):
            try:
                pages = await self._every_node(path)
            except TransientError as error:
                failure, pages = error, []
            for page in pages:
                if page.status == 200:
                    return page
                if not await self._says_unknown(page, path):
                    raise self._refused(page, path)
            if delay is not None:
                await asyncio.sleep(delay)
        if failure is not None:
            raise failure
        return None

    async def _says_unknown(self, page: _Page, path: str) -> bool:
        if page.status != 404:
            return False
        if page.code == NO_SCHEMA:
            return True
        if not path.startswith("/schemas/guids/"):
            return False
        # Whether the page is missing or the whole registry shows where ids are asked for.
        ids = await self._once("GET", page.url, f"/schemas/ids/{2**31 - 1}", None)
        return ids.status == 200 or (ids.status == 404 and ids.code == NO_SCHEMA)

    async def _answer(self, path: str, page: _Page) -> RegistryAnswer:
        if page.body is None:
            return RegistryAnswer(None, f"an answer of more than {BODY_BYTES_MAX} bytes")
        kind = page.body.get("schemaType", "AVRO")
        if kind != "AVRO":
            return RegistryAnswer(None, f"a schema of type {str(kind)[:40]}, not AVRO")
        if page.body.get("references"):
            return await self._resolved(path)
        return _text_of(page)

    async def _resolved(self, path: str) -> RegistryAnswer:
        """The schema with those that it refers to in their places, if the registry does that."""
        page = await self._page("GET", f"{path}?format=resolved", None, may_lack=True)
        if page.status == 200 and page.body is not None:
            answer = _text_of(page)
            try:
                if answer.text is not None:
                    parse_text(answer.text)
                    return answer
            except ValueError:
                pass
        return RegistryAnswer(None, "the schema refers to others, and was not given resolved")

    async def _page(
        self,
        method: str,
        path: str,
        question: Mapping[str, str] | None = None,
        *,
        may_lack: bool = False,
    ) -> _Page:
        """The answer of the first node that gives one. `may_lack`: 501 is one. TransientError."""
        failure: TransientError | None = None
        for delay in (*self._patience.delays_s, None):
            for url in self._urls:
                try:
                    page = await self._once(method, url, path, question)
                except TransientError as error:
                    failure = error
                    continue
                if not _is_passing(page.status) or (may_lack and page.status == 501):
                    return page
                failure = _busy(page)
            if delay is not None:
                await asyncio.sleep(delay)
        assert failure is not None, "no node was asked"
        raise failure

    async def _every_node(self, path: str) -> list[_Page]:
        """What every node answers, or what the first that knows does. Raises TransientError."""
        pages: list[_Page] = []
        failure: TransientError | None = None
        for url in self._urls:
            try:
                page = await self._once("GET", url, path, None)
            except TransientError as error:
                failure = error
                continue
            if page.status == 200:
                return [page]
            if _is_passing(page.status):
                failure = _busy(page)
            pages.append(page)
        if failure is not None:
            raise failure
        return pages

    async def _once(
        self, method: str, url: str, path: str, question: Mapping[str, str] | None
    ) -> _Page:
        try:
            async with self._session.request(
                method,
                url + path,
                data=None if question is None else json.dumps(question),
                allow_redirects=False,
            ) as answer:
                return _Page(url, answer.status, await _body(url, answer))
        except (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL) as error:
            why = "the address, or its certificate (SCHEMA_REGISTRY_SSL_CA_FILE), is not right"
            raise SettingsError(
                [f"SCHEMA_REGISTRY_URL {url}: {why} ({type(error).__name__})"]
            ) from None
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError
            raise TransientError(
                f"schema registry {url} does not answer ({type(error).__name__})"
            ) from None

    def _refused(self, page: _Page, path: str) -> SettingsError:
        reason = REASONS.get(page.status, "refused the request")
        status = f"HTTP {page.status}" + (f", code {page.code}" if page.code else "")
        return SettingsError([f"SCHEMA_REGISTRY_URL {page.url}{path}: {reason} ({status})"])


@asynccontextmanager
async def opened_registry(
    address: RegistryAddress, patience: RegistryPatience | None = None
) -> AsyncIterator[ConfluentRegistry]:
    """A client while the context lasts. Raises SettingsError for an unusable CA file."""
    patience = patience or RegistryPatience()
    headers = {"Accept": f"{JSON_TYPE}, application/json", "Content-Type": JSON_TYPE}
    if address.user_info is not None:
        headers["Authorization"] = f"Basic {b64encode(address.user_info.encode()).decode()}"
    elif address.token is not None:
        headers["Authorization"] = f"Bearer {address.token}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_context(address), limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(
            total=patience.total_timeout_s, sock_connect=patience.connect_timeout_s
        ),
        headers=headers,
    ) as session:
        yield ConfluentRegistry(session, address.urls, patience)


def _context(address: RegistryAddress) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=address.ca_file)
    except (OSError, ValueError):
        raise SettingsError(
            ["SCHEMA_REGISTRY_SSL_CA_FILE: not a PEM file of certificates"]
        ) from None


async def _body(url: str, answer: aiohttp.ClientResponse) -> Mapping[str, Any] | None:
    read = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        read += chunk
        if len(read) > BODY_BYTES_MAX:
            answer.close()
            return None
    try:
        body = json.loads(bytes(read))
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        return body
    if answer.status == 200:
        raise TransientError(f"schema registry {url}: answered no JSON object")
    return {}


def _text_of(page: _Page) -> RegistryAnswer:
    text = (page.body or {}).get("schema")
    if not isinstance(text, str):
        raise TransientError(f"schema registry {page.url}: answered without a schema")
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return RegistryAnswer(None, "a schema text that is no Unicode")
    if length > TEXT_BYTES_MAX:
        return RegistryAnswer(None, f"a schema text of {length} bytes")
    return RegistryAnswer(text)


def _is_passing(status: int) -> bool:
    return status >= 500 or status in PASSING_STATUS


def _busy(page: _Page) -> TransientError:
    return TransientError(f"schema registry {page.url} does not answer (HTTP {page.status})")
