"""The coordinator of one consumer group with one partition.

A member is known by its id until it misses its heartbeats. Whenever someone comes or goes there is
a new generation with one owner; what an older generation posts is refused.
"""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from streams.errors import NotOwnerError
from streams.ports import Posted
from tests.fault.simulator.loop import SimulatedLoop

__all__ = ["HEARTBEAT_S", "SESSION_S", "Assignment", "Group"]

HEARTBEAT_S = 2.0
SESSION_S = 6.0


class Assignment(NamedTuple):
    """What a member gets by joining."""

    generation: int
    owns: bool


class Group:
    """`accepted` is told every position that is posted, with the one before."""

    def __init__(self, topic: str, loop: SimulatedLoop, chance: Random) -> None:
        self.topic = topic
        self.generation = 0
        self.owner: str | None = None
        self.posted: Posted | None = None
        self.accepted: Callable[[Posted, Posted | None], None] = lambda _new, _old: None
        self._loop, self._chance = loop, chance
        self._seen: dict[str, float] = {}

    def heartbeat(self, member: str, generation: int) -> bool:
        """False: join again."""
        if member not in self._seen:
            return False
        self._seen[member] = self._loop.time()
        return generation == self.generation

    def join(self, member: str) -> Assignment:
        is_new = member not in self._seen
        self._seen[member] = self._loop.time()
        if is_new:
            self._rebalance(self._chance.choice(sorted(self._seen)))
        return Assignment(self.generation, self.owner == member)

    def expire(self) -> None:
        """Forget who missed its heartbeats."""
        gone = [m for m, at in self._seen.items() if at < self._loop.time() - SESSION_S]
        for member in gone:
            del self._seen[member]
        if gone and self._seen:
            self._rebalance(self._chance.choice(sorted(self._seen)))

    def move(self) -> None:
        """Give the partition to another member, if there is one."""
        others = sorted(self._seen.keys() - {self.owner})
        if others:
            self._rebalance(self._chance.choice(others))

    def post(self, member: str, generation: int, posted: Posted) -> None:
        if generation != self.generation or member not in self._seen:
            raise NotOwnerError(f"{self.topic}: {member} of {generation}, not {self.generation}")
        before, self.posted = self.posted, posted
        self.accepted(posted, before)

    def _rebalance(self, owner: str) -> None:
        self.generation += 1
        self.owner = owner
