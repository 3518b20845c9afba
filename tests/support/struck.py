"""Calls of a client library, counted by name; one of them may be struck.

A first run without a strike lists the calls; then one run a call strikes it. Whatever is called
anew later is listed by itself.
"""

import contextvars
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["LIFE", "Calls", "Strike"]


class Strike(NamedTuple):
    """The `number`-th call named `call` raises `error()`, before or after it happened.

    `error` may also not return at all: then the process ends there.
    """

    call: str
    number: int
    when: Literal["before", "after"]
    error: Callable[[], BaseException]


@dataclass(slots=True)
class Calls:
    """The calls of one life; from several threads one at a time, so that a strike is a moment.

    `done` is told of each call that happened, with its number.
    """

    strike: Strike | None = None
    seen: Counter[str] = field(default_factory=Counter)
    struck: BaseException | None = None
    done: Callable[[str, int], None] | None = None
    lock: Any = field(default_factory=threading.RLock)

    def around(self, call: str, do: Callable[[], Any]) -> Any:
        with self.lock:
            number = self._reach(call, "before")
            done = do()
            self._reach(call, "after", number)
            if self.done is not None:
                self.done(call, number)
            return done

    async def around_waiting(self, call: str, do: Callable[[], Awaitable[Any]]) -> Any:
        number = self._reach(call, "before")
        done = await do()
        self._reach(call, "after", number)
        if self.done is not None:
            self.done(call, number)
        return done

    def _reach(self, call: str, when: str, number: int = 0) -> int:
        if when == "before":
            self.seen[call] += 1
        number = number or self.seen[call]
        strike = self.strike
        if strike is not None and (call, number, when) == strike[:3]:
            self.struck = strike.error()
            raise self.struck
        return number


# Whose calls are counted: clients made in this context. None: nobody's.
LIFE: contextvars.ContextVar[Calls | None] = contextvars.ContextVar("LIFE", default=None)
