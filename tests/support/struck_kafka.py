"""Every call `streams.kafka` makes into aiokafka's clients, through proxies that may be struck.

A call's name is the client's class and method, and for a request its kind:
`AIOKafkaClient.send FetchRequest`; `… at once` for one that waits for nothing, and so cannot meet
the network. What a producer answers later is a call of its own.
"""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import streams.kafka
from tests.support.struck import LIFE, Calls

__all__ = ["client_classes", "strikable"]

PREFIX = "AIOKafka"


def client_classes() -> Iterator[tuple[str, str]]:
    """Module and name of every client class that a module of the adapter uses."""
    for found in pkgutil.iter_modules(streams.kafka.__path__):
        module = importlib.import_module(f"streams.kafka.{found.name}")
        for name, value in vars(module).items():
            if name.startswith(PREFIX) and inspect.isclass(value):
                yield module.__name__, name


def strikable(plain: Callable[..., Any]) -> Callable[..., Any]:
    """In the place of a client class: a client of this context's life, or a plain one."""

    def make(*arguments: Any, **named: Any) -> Any:
        calls = LIFE.get()
        client = plain(*arguments, **named)
        name = getattr(plain, "__name__", "client")
        return client if calls is None else StruckClient(name, client, calls)

    return make


class StruckClient:
    """A real client; asks its life's calls before and after every method."""

    def __init__(self, name: str, client: Any, calls: Calls) -> None:
        self._name, self._client, self._calls = name, client, calls

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._client, attribute)
        if attribute.startswith("_"):
            return value
        name = f"{self._name}.{attribute}"
        if attribute == "client":
            return StruckClient(name, value, self._calls)
        if not callable(value):
            return value
        if inspect.iscoroutinefunction(value):
            return self._waiting(name, value)
        return self._at_once(name, value)

    def _at_once(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            done = self._calls.around(f"{name} at once", lambda: method(*arguments, **named))
            return self._awaited(name, done)

        return call

    def _waiting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            what = f"{name}{kind_of(arguments)}"
            done = await self._calls.around_waiting(what, lambda: method(*arguments, **named))
            return self._awaited(what, done)

        return call

    def _awaited(self, name: str, done: Any) -> Any:
        """What was returned; an answer that comes later is struck when it is awaited."""
        if not asyncio.isfuture(done):
            return done
        return asyncio.ensure_future(self._answer(f"{name} answer", done))

    async def _answer(self, name: str, answer: "asyncio.Future[Any]") -> Any:
        async def wait() -> Any:
            return await answer

        return await self._calls.around_waiting(name, wait)


def kind_of(arguments: tuple[Any, ...]) -> str:
    """The kind of request among the arguments of a call, if there is one."""
    kinds = [type(argument).__name__ for argument in arguments]
    return "".join(f" {kind}" for kind in kinds if kind.endswith("Request"))
