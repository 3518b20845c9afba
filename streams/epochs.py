"""The epochs of a log: what is sealed now, and what was sealed before operators forked it.

Which epoch of a source partition is open is a pure function of the operator's sealed orders
(`streams.audit.trust`): so every process that read the same orders seals and reads the same log.
Each epoch has a topic and an origin of its own; the topic of one that ended stays as evidence.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from streams.audit.operations import EpochForked
from streams.audit.trust import TrustHistory
from streams.engine import Engine
from streams.errors import SettingsError
from streams.topology import LogPlace, Topology

__all__ = ["Epoch", "epochs_of", "logs_there", "newest_epoch", "newest_epochs"]

GONE_MAX = 8  # epochs in a row whose topics are gone


class Epoch(NamedTuple):
    """One epoch of a source partition.

    Attributes:
        log: where it is.
        opened: the fork that opened it; None for the first one.
        ended: the fork that ended it; None for the one that is open.
    """

    log: LogPlace
    opened: EpochForked | None
    ended: EpochForked | None


def epochs_of(
    history: TrustHistory, topology: Topology, source: str, partition: int
) -> tuple[Epoch, ...]:
    """Every epoch of a source partition, in order; the last one is the one that is open."""
    forks = history.forks(topology.origin(source, partition))
    opened, ended = (None, *forks), (*forks, None)
    return tuple(
        Epoch(topology.log(source, partition, number), first, last)
        for number, (first, last) in enumerate(zip(opened, ended, strict=True))
    )


async def newest_epoch(engine: Engine, source: str) -> int:
    """The number of the newest epoch that has a topic, whichever partitions it is of.

    Topics of epochs before it may be gone: whoever deletes one must not hide those behind it.
    One that may not be asked for counts as absent: rights are given by name, and most names here
    are of no topic.

    Raises:
        TransientError: the engine gives no answer.
    """
    newest = epoch = 0
    while (epoch := epoch + 1) <= newest + GONE_MAX:
        with suppress(SettingsError):
            if await engine.partitions(engine.topology.audit(source, epoch)):
                newest = epoch
    return newest


async def newest_epochs(engine: Engine) -> dict[str, int]:
    """The newest epoch of each source topic. Raises as `newest_epoch`."""
    return {source: await newest_epoch(engine, source) for source in engine.topology.sources}


async def logs_there(engine: Engine) -> AsyncIterator[LogPlace]:
    """Every log that has an audit partition, epochs that ended and partitions not born among them.

    Raises:
        TransientError: the engine gives no answer.
    """
    topology = engine.topology
    for source in topology.sources:
        for epoch in range(await newest_epoch(engine, source) + 1):
            for partition in range(await engine.partitions(topology.audit(source, epoch))):
                yield topology.log(source, partition, epoch)
