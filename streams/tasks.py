"""Waiting for several things at once on one event loop, without leaving a task behind."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

__all__ = ["any_of", "cancelled", "first_failure"]


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


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """End a task whose outcome no longer matters: the session it belongs to is dropped."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def first_failure(*halves: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Run endless coroutines side by side; when one raises, end the others and raise it."""
    tasks = [asyncio.create_task(half) for half in halves]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise AssertionError("a half of the sealer returned")
    finally:
        for task in tasks:
            await cancelled(task)
