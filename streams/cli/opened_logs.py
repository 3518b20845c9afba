"""The logs of the deployment that is set, opened for a command that reads them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from streams.engine import Engine
from streams.epochs import logs_there
from streams.errors import SettingsError
from streams.ports import PartitionReader
from streams.settings import load_settings

__all__ = ["Log", "engine_as_set", "logs_of", "open_log"]


class Log(NamedTuple):
    """One log: its origin, and its audit partition."""

    origin: str
    source: str
    partition: int
    reader: PartitionReader
    epoch: int = 0


@asynccontextmanager
async def engine_as_set() -> AsyncIterator[Engine]:
    """The engine that the environment names."""
    from streams.app import open_engine  # noqa: PLC0415  # loads a client library

    async with open_engine(load_settings(os.environ)) as engine:
        yield engine


@asynccontextmanager
async def open_log(origin: str) -> AsyncIterator[tuple[Engine, Log]]:
    """One log by its origin.

    Raises:
        SettingsError: no log is called so.
    """
    async with engine_as_set() as engine:
        async for log in logs_of(engine):
            if log.origin == origin:
                yield engine, log
                return
        raise SettingsError([f"no log is called {origin}: `attestream audit heads` lists them"])


async def logs_of(engine: Engine) -> AsyncIterator[Log]:
    """Every log of a deployment, of every epoch; readers are closed as the next one is asked for.

    Partitions whose log was not forked have an empty one in the topics of later epochs.
    """
    async for origin, source, partition, epoch, topic in logs_there(engine):
        reader = engine.reader(topic, partition)
        try:
            yield Log(origin, source, partition, reader, epoch)
        finally:
            await reader.close()
