"""The logs of the deployment that is set, opened for a command that reads them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from streams.engine import Engine
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
    """Every log of a deployment; each reader is closed when the next one is asked for."""
    topology = engine.topology
    for source in topology.sources:
        topic = topology.audit(source)
        for partition in range(await engine.partitions(topic)):
            reader = engine.reader(topic, partition)
            try:
                yield Log(topology.origin(source, partition), source, partition, reader)
            finally:
                await reader.close()
