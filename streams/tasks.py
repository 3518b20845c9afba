"""Waiting for several things at once on one event loop, without leaving a task behind.

A task that is awaited directly is cancelled with whoever awaits it. Where it swallows that, as
client libraries do while they close, its waiter never hears that it was cancelled, and goes on
for ever. So tasks are waited for by `asyncio.wait` alone, whose own future nobody swallows.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

__all__ = ["any_of", "beside", "cancelled", "heard", "let_end", "side_by_side", "unhurried"]

T = TypeVar("T")


async def any_of(
    event: asyncio.Event, tasks: set[asyncio.Task[Any]], timeout_s: float | None
) -> None:
    """Return when `event` is set, any of `tasks` is done, or `timeout_s` seconds have passed."""
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait(
            {waiter, *tasks}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        await cancelled(waiter)


async def beside(main: Coroutine[Any, Any, T], side: Coroutine[Any, Any, object]) -> T:
    """What `main` returns; `side` runs until then. Raises what either raises first."""
    first, other = asyncio.create_task(main), asyncio.create_task(side)
    try:
        done, _ = await asyncio.wait({first, other}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancelled(first, other)
    return first.result()


async def cancelled(*tasks: asyncio.Task[Any] | None) -> None:
    """End tasks whose outcomes no longer matter.

    All are told before any is waited for: who is cancelled while waiting leaves none behind.
    """
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.add_done_callback(heard)
        task.cancel()
    if ending:
        await asyncio.wait(ending)


async def let_end(work: Coroutine[Any, Any, object], seconds: float | None = None) -> None:
    """Let `work`, such as the closing of a client, come to its end, whatever it raises.

    Who is cancelled meanwhile is so once it is over. What is not over after `seconds` is
    cancelled and left.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(heard)
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    try:
        try:
            await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            left = None if until is None else max(until - loop.time(), 0)
            await asyncio.wait({task}, timeout=left)
            raise
    finally:
        task.cancel()


async def unhurried(work: Coroutine[Any, Any, T], grace_s: float) -> T:
    """Await `work` that leaves something open where it is cancelled, as a client's start does.

    Who is cancelled meanwhile lets it come to its end, for `grace_s` at most.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(heard)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=grace_s)
        await cancelled(task)
        raise
    return task.result()


async def side_by_side(*halves: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Run endless coroutines; when one raises, end them all and raise it."""
    tasks = [asyncio.create_task(half) for half in halves]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    finally:
        await cancelled(*tasks)
    raise next(failure for failure in failures if failure is not None)


def heard(done: "asyncio.Future[Any]") -> None:
    """Fetch an outcome nobody asks for, so that asyncio does not report its exception."""
    if not done.cancelled():
        done.exception()
