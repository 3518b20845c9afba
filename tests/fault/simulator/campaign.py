"""Many histories, in this process or in several, and what they add up to."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.fault.simulator.history import Outcome, run_history
from tests.fault.simulator.mixes import CELLS
from tests.fault.simulator.network import AFTERMATHS, FATES, WRITES, Cell

__all__ = ["Tally", "run_all", "run_on_all_cores"]

CHUNK = 16
SHOWN = 5  # failures written out


@dataclass(slots=True)
class Tally:
    """Counts over histories."""

    histories: int = 0
    leaves: int = 0
    signed: int = 0
    stops: int = 0
    hit: Counter[Cell] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.histories += 1
        self.leaves += outcome.leaves
        self.signed += outcome.signed
        self.stops += outcome.stops
        self.hit += outcome.hit
        if outcome.violation:
            self.failures.append(outcome)

    @property
    def missed(self) -> list[Cell]:
        """Cells of the table that no history hit."""
        return [cell for cell in CELLS if not self.hit[cell]]

    def complaint(self) -> str:
        """What to print where laws were broken: each with how to see it again."""
        shown = sorted(self.failures, key=lambda o: (o.mix, o.seed))[:SHOWN]
        return f"{len(self.failures)} of {self.histories}\n" + "\n".join(map(str, shown))

    def table(self) -> str:
        """Write × fate × aftermath, with how often each was hit."""
        columns = [(fate, after) for fate in FATES for after in AFTERMATHS]
        lines = [
            " " * 18 + "".join(f"{fate:>10}" for fate, _ in columns),
            " " * 18 + "".join(f"{after:>10}" for _, after in columns),
        ]
        for write in WRITES:
            counts = (self.hit[Cell(write, *column)] for column in columns)
            lines.append(f"{write:18}" + "".join(f"{count:>10}" for count in counts))
        lines.append(
            f"{self.histories} histories, {self.leaves} leaves, {self.signed} texts signed, "
            f"{self.stops} stops"
        )
        return "\n".join(lines)


def run_all(histories: Iterable[tuple[int, str]]) -> Tally:
    """Run (seed, mix) after (seed, mix)."""
    tally = Tally()
    for history in histories:
        tally.add(run_history(*history))
    return tally


def run_on_all_cores(histories: Iterable[tuple[int, str]]) -> Tally:
    """The same on every core."""
    tally = Tally()
    with get_context("spawn").Pool() as pool:
        for part in pool.imap_unordered(run_all, _chunks(histories)):
            tally.histories += part.histories
            tally.leaves += part.leaves
            tally.signed += part.signed
            tally.stops += part.stops
            tally.hit += part.hit
            tally.failures += part.failures
    return tally


def _chunks(histories: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    chunk = []
    for history in histories:
        chunk.append(history)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
