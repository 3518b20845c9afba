"""The simulated servers keep the laws of the ports: the contract suites run over them as well."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import pytest

from schemas.records import Record
from streams.ports import NewRecord, PartitionReader, PartitionWriter, SourcePartition
from tests.contract import test_partition_reader, test_partition_writer, test_source_partition
from tests.fault.simulator.adapters import (
    SimulatedReader,
    SimulatedSource,
    SimulatedWriter,
    Tenure,
)
from tests.fault.simulator.group import Group
from tests.fault.simulator.loop import SimulatedLoop
from tests.fault.simulator.network import FAIR, Network
from tests.fault.simulator.partition_log import PartitionLog
from tests.fault.simulator.transactions import Coordinator

SUITES = (test_partition_reader, test_partition_writer, test_source_partition)
# It measures time with the system's clock, which does not move here.
ELSEWHERE = {"test_a_wait_is_bounded"}
ORDERS = 5


def laws() -> Iterator[Any]:
    """Every test of the suites with its parameters, as a call that lacks an engine."""
    for suite in SUITES:
        for name, law in vars(suite).items():
            if not name.startswith("test_") or name in ELSEWHERE:
                continue
            cases: list[dict[str, Any]] = [{}]
            for mark in getattr(law, "pytestmark", []):
                assert mark.name == "parametrize", name
                cases = [{mark.args[0]: value} for value in mark.args[1]]
            for case in cases:
                yield pytest.param(partial(law, **case), id=f"{name}{case or ''}")


class SimulatedUnderTest:
    """An `EngineUnderTest` of simulated servers, in fair weather."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop, self._chance = loop, Random(2)
        self._network = Network(
            loop, Random(3), FAIR, lambda _kind, _process: None, lambda _text: None
        )
        self._logs: dict[tuple[str, int], PartitionLog] = {}
        self._coordinators: dict[tuple[str, int], Coordinator] = {}
        self._groups: dict[tuple[str, int], Group] = {}
        self._tenures: dict[tuple[str, int], Tenure] = {}
        self._members = 0

    async def topic(self, partitions: int = 1) -> str:
        name = f"topic-{len(self._logs)}"
        for number in range(partitions):
            log = PartitionLog(name, number, topic_id=name)
            log.partitions = partitions
            coordinator = Coordinator(log, self._loop, self._chance)
            coordinator.marker_s = lambda: self._chance.uniform(0, 0.1)
            self._logs[name, number] = log
            self._coordinators[name, number] = coordinator
            self._groups[name, number] = Group(name, self._loop, self._chance)
        return name

    def reader(self, topic: str, partition: int = 0) -> PartitionReader:
        return SimulatedReader(self._logs[topic, partition], self._network)

    def writer(self, topic: str, partition: int = 0) -> PartitionWriter:
        return SimulatedWriter(self._coordinators[topic, partition], self._network)

    async def feed(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        rows = [NewRecord(r.timestamp, r.value, r.key, r.headers) for r in records]  # type: ignore[arg-type]
        return self._logs[topic, partition].append(rows)

    async def own(self, topic: str, partition: int = 0) -> SourcePartition:
        name = (topic, partition)
        self._members += 1
        member = f"member-{self._members}"
        group = self._groups[name]
        group.join(member)
        while group.owner != member:
            group.move()
        self._tenures[name] = Tenure(member, group.generation)
        return SimulatedSource(self._logs[name], self._network, group, self._tenures[name])

    async def take_over(self, topic: str, partition: int = 0) -> SourcePartition:
        self._tenures[topic, partition].ended = True
        return await self.own(topic, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        self._logs[topic, partition].trim(before)


@pytest.mark.parametrize("law", list(laws()))
def test_law(law: Callable[[SimulatedUnderTest], Coroutine[Any, Any, None]]) -> None:
    for order in range(ORDERS):
        loop = SimulatedLoop(Random(order))
        loop.run_until_complete(law(SimulatedUnderTest(loop)))
        loop.bury([])
