"""The transaction coordinator of one transactional id, and the partition it writes.

Only the newest epoch may do anything. A commit is decided, and answered, before its marker stands
in the partition; until then the coordinator has no ear for a new transaction. A transaction left
open is aborted when another producer starts, or when its time is over, which fences its owner.
"""

from collections.abc import Callable, Sequence
from random import Random

from schemas.records import Record
from streams.errors import FencedError
from streams.ports import NewRecord
from tests.fault.simulator.loop import SimulatedLoop
from tests.fault.simulator.network import BusyError
from tests.fault.simulator.partition_log import PartitionLog

__all__ = ["TRANSACTION_TIMEOUT_S", "Coordinator"]

TRANSACTION_TIMEOUT_S = 15.0
PRODUCER = 7


class Coordinator:
    """`decided` is told the records of every commit at the moment it is decided."""

    def __init__(self, log: PartitionLog, loop: SimulatedLoop, chance: Random) -> None:
        self.log = log
        self.epoch = -1
        self.marker_s: Callable[[], float] = lambda: 0.0
        self.decided: Callable[[list[Record]], None] = lambda _rows: None
        self._loop, self._chance = loop, chance
        self._state = "idle"
        self._number = 0  # of the transaction that is open, or was last
        self._placed: dict[tuple[int, int], int] = {}
        self._committed: int | None = None

    @property
    def is_idle(self) -> bool:
        return self._state == "idle"

    def start(self) -> int:
        """InitProducerId: a new epoch, once nothing of the one before is left open.

        Its last marker may still be on the way, which is less than Kafka promises.
        """
        if self._state == "ending" and self._chance.random() < 0.5:
            raise BusyError
        self.epoch += 1
        if self._state == "open":
            self._end(commits=False)
            raise BusyError
        return self.epoch

    def send(self, epoch: int, sequence: int, rows: Sequence[NewRecord]) -> int:
        """Add records to the open transaction, beginning one; the first one's offset."""
        self._check(epoch)
        placed = self._placed.get((epoch, sequence))
        if placed is not None:
            return placed
        if self._state == "ending":
            raise BusyError
        if self._state == "idle":
            self._state = "open"
            self._number += 1
            self._loop.later(TRANSACTION_TIMEOUT_S, self._expire, self._number)
        first = self.log.append(rows, PRODUCER)
        self._placed[epoch, sequence] = first
        return first

    def commit(self, epoch: int) -> None:
        """EndTxn. Asking again is answered as before."""
        self._check(epoch)
        if self._state == "open":
            self._committed = self._number
            self._end(commits=True)
        elif self._committed != self._number:
            raise FencedError("no transaction is open")

    def abort(self, epoch: int) -> None:
        self._check(epoch)
        if self._state == "open":
            self._end(commits=False)

    def confirm(self, epoch: int) -> None:
        """A transaction of an offset alone: nothing of it stands in this partition."""
        self._check(epoch)
        if self._state != "idle":
            raise BusyError

    def open_rows(self) -> list[Record]:
        """What no marker decided yet."""
        return self.log.open_rows(PRODUCER)

    @property
    def is_committing(self) -> bool:
        """A commit is decided, and its marker on the way."""
        return self._state == "ending" and self._committed == self._number

    def abort_hanging(self) -> None:
        """What an operator does to a transaction that this coordinator does not know of."""
        self.log.mark(PRODUCER, commits=False)

    def _check(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise FencedError(f"epoch {epoch} is fenced by {self.epoch}")

    def _expire(self, number: int) -> None:
        if self._state == "open" and self._number == number:
            self.epoch += 1
            self._end(commits=False)

    def _end(self, *, commits: bool) -> None:
        self._state = "ending"
        if commits:
            self.decided(self.open_rows())
        self._loop.later(self.marker_s(), self._mark, commits)

    def _mark(self, commits: bool) -> None:
        self.log.mark(PRODUCER, commits=commits)
        self._state = "idle"
