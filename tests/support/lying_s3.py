"""An S3 server that lies in one way, and is honest in all others: a real one behind a proxy.

    with lying_s3(server, Lie(request=without_lock)) as liar: ...

What the lie alters is signed again with the server's own secret, so that only the lie is seen;
what it does not touch passes byte for byte, with the signature it came with.
"""

import http.client
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from streams.clock import SystemClock
from streams.objects.signature_v4 import Keys, signed_headers
from tests.support.s3_fixtures import S3Server

__all__ = ["Lie", "Reply", "Request", "honest", "lying_s3", "without"]

SIGNED = re.compile("SignedHeaders=([^,]+)")
# Headers of a request that are made anew.
RENEWED = ("authorization", "connection", "content-length", "expect", "x-amz-date")
# Headers of an answer that the proxy writes itself.
OWN = {"connection", "content-length", "date", "server", "transfer-encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def asks(self) -> dict[str, str]:
        """The query, by name."""
        asked = parse_qs(self.query, keep_blank_values=True)
        return {name: values[0] for name, values in asked.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def honest(_request: Request, reply: Reply) -> Reply:
    """What the server said."""
    return reply


def without(*names: str) -> Callable[[Request], Request]:
    """Drops headers whose names begin so."""

    def dropped(request: Request) -> Request:
        kept = {k: v for k, v in request.headers.items() if not k.startswith(names)}
        return request if kept == request.headers else replace(request, headers=kept)

    return dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """What is altered on the way there and back.

    `request` gives what arrives instead, or a Reply, and nothing arrives. `keeps_torn`: a body
    that was cut short is stored as far as it came. `takes_any_signature`: or none.
    """

    request: Callable[[Request], Request | Reply] = lambda request: request
    reply: Callable[[Request, Reply], Reply] = honest
    keeps_torn: bool = False
    takes_any_signature: bool = False


@contextmanager
def lying_s3(server: S3Server, lie: Lie) -> Iterator[S3Server]:
    """The server, behind the lie."""
    proxy = Proxy(server, lie)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.at(f"http://127.0.0.1:{proxy.server_port}")
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server: S3Server, lie: Lie) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lie = lie
        self.upstream = server.endpoint.removeprefix("http://")
        self.keys = Keys(access_key=server.access_key, secret=server.secret, region="us-east-1")

    def answer(self, request: Request) -> Reply:
        """The server's answer to a request, or the lie's."""
        told = self.lie.request(request)
        if isinstance(told, Request):
            lies = self.lie.takes_any_signature or (told != request and self.is_genuine(request))
            told = self.forward(self.signed(told) if lies else request)
        return self.lie.reply(request, told)

    def is_genuine(self, request: Request) -> bool:
        """Whether it is signed with the server's own secret, in its headers."""
        given = request.headers.get("authorization", "")
        found = SIGNED.search(given)
        if found is None:
            return False
        headers = {n: request.headers[n] for n in found[1].split(";") if n != "x-amz-date"}
        at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%S%z")
        line = (request.method, request.path, canonical(request.query))
        ours = signed_headers(self.keys, at, line, headers)["authorization"]
        return ours.rpartition("=")[2] == given.rpartition("=")[2]

    def signed(self, request: Request) -> Request:
        headers = dict(without(*RENEWED)(request).headers)
        headers["x-amz-content-sha256"] = sha256(request.body).hexdigest()
        at = datetime.fromtimestamp(SystemClock().now_ms() // 1000, UTC)
        line = (request.method, request.path, canonical(request.query))
        headers = signed_headers(self.keys, at, line, headers)
        headers["content-length"] = str(len(request.body))
        return replace(request, headers=headers)

    def forward(self, request: Request) -> Reply:
        connection = http.client.HTTPConnection(self.upstream)
        try:
            target = f"{request.path}?{request.query}" if request.query else request.path
            connection.putrequest(
                request.method, target, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            kept = {k.lower(): v for k, v in answer.getheaders() if k.lower() not in OWN}
            if request.method == "HEAD":
                kept["content-length"] = answer.headers.get("content-length", "0")
            return Reply(status=answer.status, headers=kept, body=answer.read())
        finally:
            connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method
            return self.handle_any
        raise AttributeError(name)

    def handle_any(self) -> None:
        length = int(self.headers.get("content-length", 0))
        path, _, query = self.path.partition("?")
        request = Request(
            method=self.command,
            path=path,
            query=query,
            headers={k.lower(): v for k, v in self.headers.items()},
            body=self.rfile.read(length),
        )
        if len(request.body) == length:
            self.write(self.server.answer(request))
            return
        self.close_connection = True
        if self.server.lie.keeps_torn:
            torn = without("x-amz-checksum")(request)
            self.server.forward(self.server.signed(torn))

    def write(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        headers = {
            "date": self.date_time_string(SystemClock().now_ms() // 1000),
            **reply.headers,
        }
        has_body = self.command != "HEAD" and reply.status != 204
        if has_body:
            headers["content-length"] = str(len(reply.body))
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body if has_body else b"")

    def log_message(self, format: str, *_arguments: Any) -> None:  # noqa: A002  # its own name
        pass


def canonical(query: str) -> str:
    """A query in the order it is signed in; a name alone has an empty value."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return "&".join(f"{name}={value}" for name, _, value in sorted(parts))
