"""What one decision index shows of itself: its share in the metrics of the process."""

from dataclasses import asdict

from projections.decision_index.fold import DecisionFold
from streams.telemetry import metrics
from streams.telemetry.logs import get_log

__all__ = ["Shown"]

WITHHELD = ("shadowed", "repeated", "held_back", "below")
log = get_log("decision index")


class Shown:
    """Gauges that several indexes of one process add up to, and counts of what grew since.

    A start that works out the log again counts it again, as a counter of a new process does.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._rows = self._bytes = self._waiting = 0
        self._counted: dict[str, int] = {}
        self._withheld = dict.fromkeys(WITHHELD, 0)

    def begin(self, fold: DecisionFold) -> None:
        """The index stands where this fold does: what it tallied before is not counted."""
        self._counted = asdict(fold.tallies)
        self._show(fold.rows, fold.memory_bytes)

    def waits(self, records: int) -> None:
        """So many sealed records are in hand and not scored yet."""
        metrics.EMBEDDING_QUEUE.inc(records - self._waiting)
        self._waiting = records

    def update(self, fold: DecisionFold) -> None:
        """The fold learned all that was in hand."""
        self.waits(0)
        self._show(fold.rows, fold.memory_bytes)
        now = asdict(fold.tallies)
        grown = {name: now[name] - self._counted.get(name, 0) for name in now}
        self._counted = now
        if grown["unreadable"]:
            metrics.EMBEDDING_DROPPED.inc(grown["unreadable"])
        for why in WITHHELD:
            if grown[why]:
                metrics.WITHHELD_FINDINGS.labels(why).inc(grown[why])
                self._withheld[why] += grown[why]

    def clear(self) -> None:
        """The index is gone."""
        self.waits(0)
        self._show(0, 0)
        if any(self._withheld.values()):
            log.info("findings not published", origin=self._origin, **self._withheld)
        self._withheld = dict.fromkeys(WITHHELD, 0)

    def _show(self, rows: int, size: int) -> None:
        metrics.VECTOR_STORE_SIZE.inc(rows - self._rows)
        metrics.VECTOR_MEMORY.inc(size - self._bytes)
        self._rows, self._bytes = rows, size
