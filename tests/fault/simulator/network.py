"""What lies between a process and a server: time, and everything that may become of a request.

A request is `lost` (the server never sees it), `applied` (it happens and the answer is lost) or
`late` (it happens after the process gave up waiting). Each such fate has an aftermath: the process
goes on and tries again, is killed and started again, loses the partition to another member, or
stops for a while and wakes up as a zombie.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, TypeVar

from streams.errors import AttestreamError
from tests.fault.simulator.loop import PROCESS, Process, SimulatedLoop

__all__ = [
    "AFTERMATHS",
    "FATES",
    "WRITES",
    "BusyError",
    "Cell",
    "Network",
    "NoAnswerError",
    "Planned",
    "Weather",
]

T = TypeVar("T")

# Every durable write of the sealer, and the anchor's of the archive.
WRITES = (
    "start",
    "claim",
    "genesis",
    "genesis commit",
    "records",
    "records commit",
    "note alone",
    "note alone commit",
    "position",
    "confirm",
    "verdict",
    "anchor",
)
FATES = ("lost", "applied")
AFTERMATHS = ("retry", "restart", "rebalance", "zombie")
PATIENCE_S = (0.3, 3.0)


class NoAnswerError(Exception):
    """The process gave up waiting: nobody told it what became of its request."""


class BusyError(AttestreamError):
    """The server asks to be asked again (CONCURRENT_TRANSACTIONS)."""


class Cell(NamedTuple):
    """One cell of the table."""

    write: str
    fate: str
    aftermath: str


class Planned(NamedTuple):
    """What becomes of the `number`-th call of `cell.write`, counted from 1.

    A call the server refused, as it does a fenced one's, was neither lost nor applied: then it is
    the next one.
    """

    cell: Cell
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How often something happens to a call, and how long calls take."""

    write_faults: float = 0.0
    late: float = 0.1  # of the faults of writes
    read_faults: float = 0.0
    sign_faults: float = 0.0
    interruptions: float = 0.0  # of any call, without a fault of its own
    slow: float = 0.02
    slow_s: float = 1.0
    retention: float = 0.0  # how often it passes right behind a look at the bounds
    sign_s: float = 0.01
    marker_s: float = 0.01


FAIR = Weather()


@dataclass(slots=True)
class Network:
    """`aftermath` is told what to do to which process; `say` writes the trace."""

    loop: SimulatedLoop
    chance: Random
    weather: Weather
    aftermath: Callable[[str, Process], None]
    say: Callable[[str], None]
    retention: Callable[[], None] = lambda: None
    planned: list[Planned] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    hit: Counter[Cell] = field(default_factory=Counter)
    unreachable: set[str] = field(default_factory=set)
    is_late: bool = False  # while something arrives late
    is_over: bool = False

    async def read(self, call: str, do: Callable[[], T]) -> T:
        """Ask for something that changes nothing; raises NoAnswerError."""
        is_lost = self.chance.random() < self.weather.read_faults
        outcome = await self._ask(call, do, Cell(call, "lost", "retry") if is_lost else None)
        if call == "bounds" and self.chance.random() < self.weather.retention:
            self.retention()
        return outcome

    async def sign(self, do: Callable[[], T]) -> T:
        """Ask the signer, who may have signed although nobody heard of it."""
        cell = None
        if self.chance.random() < self.weather.sign_faults:
            cell = Cell("sign", self.chance.choice(FATES), "retry")
        return await self._ask("sign", do, cell)

    async def write(self, call: str, do: Callable[[], T]) -> T:
        """Ask for a durable write; raises NoAnswerError, or what the server said."""
        self.seen[call] += 1
        cell = None
        for planned in self.planned:
            is_due = planned.cell.write == call and planned.number <= self.seen[call]
            if is_due and not self.hit[planned.cell]:
                cell = planned.cell
        if cell is None and self.chance.random() < self.weather.write_faults:
            fate = "late" if self.chance.random() < self.weather.late else ""
            cell = Cell(call, fate or self.chance.choice(FATES), self.chance.choice(AFTERMATHS))
        return await self._ask(call, do, cell)

    def marker_s(self) -> float:
        """How long a marker is on its way."""
        if self.chance.random() < self.weather.slow:
            return self.chance.uniform(0, self.weather.slow_s)
        return self.chance.uniform(0, self.weather.marker_s)

    async def _ask(self, call: str, do: Callable[[], T], cell: Cell | None) -> T:
        process = PROCESS.get()
        if self.is_over or (self.unreachable and call in self.unreachable):
            raise NoAnswerError(call)
        answer = self.loop.create_future()

        def arrive() -> None:
            if cell is not None and cell.fate != "applied":
                self._struck(cell, process)
                patience = self.chance.uniform(*PATIENCE_S)
                self.loop.later(patience, _settle, answer, NoAnswerError(call))
                if cell.fate == "late":
                    self.loop.later(patience + self.chance.uniform(0, 5), self._late, call, do)
                return
            outcome = _outcome(do)
            if process is not None and self.chance.random() < self.weather.interruptions:
                self.say(f"{process.name} is interrupted at {call}")
                self.aftermath(self.chance.choice(AFTERMATHS[1:]), process)
            if cell is not None and not isinstance(outcome, AttestreamError):
                self._struck(cell, process)
                patience = self.chance.uniform(*PATIENCE_S)
                self.loop.later(patience, _settle, answer, NoAnswerError(call))
                return
            self.loop.later(self._delay(call), _settle, answer, outcome)

        self.loop.later(self._delay(call), arrive)
        outcome = await answer
        if isinstance(outcome, Exception):
            raise outcome
        result: T = outcome
        return result

    def _late(self, call: str, do: Callable[[], Any]) -> None:
        self.is_late = True
        outcome = _outcome(do)
        self.is_late = False
        self.say(f"{call} arrives late: {outcome!r}")

    def _struck(self, cell: Cell, process: Process | None) -> None:
        if cell.write in WRITES:
            self.hit[cell] += 1
            self.say(f"{process and process.name}: {cell.write} {cell.fate}, {cell.aftermath}")
        if process is not None:
            self.aftermath(cell.aftermath, process)

    def _delay(self, call: str) -> float:
        weather, chance = self.weather, self.chance
        if call == "sign":
            return chance.uniform(0, weather.sign_s)
        if chance.random() < weather.slow:
            return chance.uniform(0, weather.slow_s)
        return chance.uniform(0.0002, 0.003)


def _outcome(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except AttestreamError as refused:
        return refused


def _settle(answer: Any, outcome: Any) -> None:
    if not answer.done():
        answer.set_result(outcome)
