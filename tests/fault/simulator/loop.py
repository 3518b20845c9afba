"""Virtual time and a seeded order: an event loop on which a seed gives the same history each time.

What runs next is drawn among everything that is ready, and time moves only when nothing is. Every
callback belongs to the process in whose context it was scheduled, or to none: that is the world,
its servers and its weather. A process that is paused keeps its callbacks until it wakes up, one
that is dead keeps them for ever, so that it ends between two awaits, wherever they are.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any

__all__ = ["PROCESS", "Process", "SimulatedLoop", "StuckError"]


class StuckError(AssertionError):
    """Nothing is ready and nothing is scheduled, or the history takes too many steps."""


class Process:
    """One operating-system process: whatever was scheduled in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_paused = False
        self.is_dead = False
        self.parked: list[asyncio.Handle] = []

    @property
    def is_running(self) -> bool:
        return not (self.is_paused or self.is_dead)


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
STEPS_MAX = 400_000


class _Task(asyncio.Task[Any]):
    """A task with a hash of its own: sets of tasks are walked in the same order each time."""

    numbers = count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._hash = next(self.numbers)
        self.process = _process_of(kwargs.get("context"))
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._hash


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs callbacks in an order drawn from `chance`; `time()` is virtual, in seconds."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._runnable: list[tuple[Process | None, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, Process | None, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._failure: BaseException | None = None
        self._world = Context()
        self.steps = 0
        _Task.numbers = count()

    def time(self) -> float:
        return self._now

    def fail(self, error: BaseException) -> None:
        """End the history with `error`, the first one counts."""
        self._failure = self._failure or error

    def later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule something of the world's, whoever asks for it."""
        self.call_at(self._now + delay, callback, *args, context=self._world)

    def spawn(self, process: Process | None, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start the first task of a process."""
        context = copy_context()
        context.run(PROCESS.set, process)
        task: asyncio.Task[Any] = self.create_task(work, context=context)
        return task

    def wake(self, process: Process) -> None:
        """Let a paused process go on, behind everything it slept through."""
        process.is_paused = False
        self._runnable += [(process, handle) for handle in process.parked]
        process.parked.clear()

    def bury(self, processes: list[Process]) -> None:
        """End every task, also those of the dead, so that none outlives the history."""
        self._failure = None
        for process in processes:
            process.is_dead = False
            self.wake(process)
        for _ in range(50):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self._run_while(lambda tasks=tasks: not all(t.done() for t in tasks), 3000)  # type: ignore[misc]
        self.close()

    def run_until_complete(self, future: Any) -> Any:
        """Run a coroutine, and whatever else there is, until it is done."""
        main: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        self._run_while(lambda: not main.done(), STEPS_MAX)
        if self._failure is not None:
            raise self._failure
        if not main.done():
            raise StuckError("the history does not end")
        return main.result()

    def tasks_of(self, process: Process) -> list[asyncio.Task[Any]]:
        """What a process has under way."""
        tasks = asyncio.all_tasks(self)
        return [task for task in tasks if isinstance(task, _Task) and task.process is process]

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._runnable.append((_process_of(context), handle))
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), _process_of(context), timer))
        return timer

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        return _Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.fail(error if error is not None else AssertionError(context["message"]))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when their time comes."""

    def _run_while(self, wanted: Callable[[], bool], steps_max: int) -> None:
        asyncio.events._set_running_loop(self)
        try:
            for _ in range(steps_max):
                if self._failure is not None or not wanted() or not self._step():
                    return
                self.steps += 1
        finally:
            asyncio.events._set_running_loop(None)

    def _step(self) -> bool:
        """Run one callback; False where there is none, now or later."""
        runnable = self._runnable
        if not runnable and not self._advance():
            return False
        at = int(self._chance.random() * len(runnable))
        runnable[at], runnable[-1] = runnable[-1], runnable[at]
        process, handle = runnable.pop()
        if handle._cancelled:
            return True
        if process is not None and not process.is_running:
            process.parked.append(handle)
            return True
        handle._run()
        return True

    def _advance(self) -> bool:
        """Move time on to the next timer that still counts."""
        timers = self._timers
        while timers and timers[0][3]._cancelled:
            heapq.heappop(timers)
        if not timers:
            return False
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            _, _, process, timer = heapq.heappop(timers)
            self._runnable.append((process, timer))
        return True


def _process_of(context: Context | None) -> Process | None:
    return PROCESS.get() if context is None else context.get(PROCESS)
