"""Waiting for records: woken at once from this process, within `POLL_S` from another one.

SQLite tells nobody of a commit. Whoever commits here announces it; for commits of other
processes (`send` beside `run`) one timer asks for `data_version`, and only while somebody waits.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Arrivals"]

POLL_S = 0.05


class Arrivals:
    """All waiting readers of one database, on one event loop.

    `changed` says whether anyone else committed since it was last asked. What it said before a
    reader looked in vain is not forgotten: a reader may be woken for nothing, never too late.
    """

    def __init__(self, changed: Callable[[], bool]) -> None:
        self._changed = changed
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, topic: str, timeout_s: float) -> None:
        """Return when records of `topic` may have come, or after `timeout_s` seconds."""
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting.setdefault(topic, set())
        waiting.add(arrival)
        if self._timer is None:
            self._timer = loop.call_later(POLL_S, self._poll, loop)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await arrival
        finally:
            waiting.discard(arrival)

    def announce(self, topic: str) -> None:
        """Records of `topic` are committed."""
        for arrival in self._waiting.get(topic, ()):
            if not arrival.done():
                arrival.set_result(None)

    def stop(self) -> None:
        """End the timer: the database is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if not any(self._waiting.values()):
            return
        self._timer = loop.call_later(POLL_S, self._poll, loop)
        if self._changed():
            for topic in self._waiting:
                self.announce(topic)
