"""Fetching ahead of whoever reads: in order, several at once, and never more than fits.

What is fetched waits in memory, so both are bounded: how many are on their way, and their sizes
together. One that alone is larger is fetched when nothing else is held.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from streams.tasks import cancelled

__all__ = ["Ahead", "in_order"]

T = TypeVar("T")
R = TypeVar("R")


class Ahead(NamedTuple):
    """How far ahead: `count` of them, `size` bytes together."""

    count: int = 6  # type: ignore[assignment]  # shadows tuple.count, which nobody calls
    size: int = 64 * 2**20


async def in_order(
    wanted: Sequence[T],
    fetch: Callable[[T], Awaitable[R]],
    size_of: Callable[[T], int],
    ahead: Ahead,
) -> AsyncGenerator[tuple[T, R], None]:
    """Each of `wanted` with what `fetch` gave for it, in their order.

    Raises what `fetch` raises, once all before it were given out.
    """
    running: deque[tuple[T, int, asyncio.Task[R]]] = deque()
    held = at = 0
    try:
        while at < len(wanted) or running:
            while at < len(wanted) and len(running) < ahead.count:
                size = size_of(wanted[at])
                if running and held + size > ahead.size:
                    break
                task = asyncio.ensure_future(_fetched(fetch, wanted[at]))
                running.append((wanted[at], size, task))
                held += size
                at += 1
            one, size, task = running[0]
            await asyncio.wait({task})
            yield one, task.result()
            running.popleft()
            held -= size
    finally:
        await cancelled(*(task for _, _, task in running))


async def _fetched(fetch: Callable[[T], Awaitable[R]], one: T) -> R:
    return await fetch(one)
