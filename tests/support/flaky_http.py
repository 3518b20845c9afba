"""An HTTP proxy that loses requests and answers, and lets others through, as one says."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["Loss", "flaky_proxy"]

# "request": never arrives. "answer": applied, and the connection ends unanswered. "503": the
# server is said to be busy. "body": all of the answer but its last byte. "noise": a page of
# somebody else's, with status 200. "hang": no answer, until the client gives up. "slow": the
# answer, later.
Loss = Literal["", "request", "answer", "503", "body", "noise", "hang", "slow"]

SLOW_S = 0.3

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NOISE = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<p>Sorry"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HOP_HEADERS = re.compile(rb"\r\n(?:connection|expect):[^\r]*", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@asynccontextmanager
async def flaky_proxy(upstream: str, loss: Callable[[str], Loss]) -> AsyncIterator[str]:
    """The proxy's endpoint; `loss` is asked with each request's first line."""
    address = urlsplit(upstream)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"100-continue" in head.lower():
                writer.write(CONTINUE)
            length = LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            lost = loss(head.split(b"\r\n", 1)[0].decode())
            if lost in {"503", "noise"}:
                writer.write(BUSY if lost == "503" else NOISE)
            elif lost == "hang":
                await reader.read()
            elif lost != "request":
                await asyncio.sleep(SLOW_S if lost == "slow" else 0)
                answer = await _forward(address.hostname, address.port, head, body)
                writer.write(
                    b"" if lost == "answer" else answer[:-1] if lost == "body" else answer
                )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


async def _forward(host: str | None, port: int | None, head: bytes, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    # The Host header is signed: the proxy leaves it as the client sent it.
    head = HOP_HEADERS.sub(b"", head).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    writer.write(head + body)
    await writer.drain()
    try:
        return await reader.read(-1)
    finally:
        writer.close()
