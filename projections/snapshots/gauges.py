"""How old and how large the newest snapshot is, as metrics."""

from contextlib import suppress

from projections.snapshots.manifest import Manifest
from projections.snapshots.names import created_ms
from streams.audit.checkpoint import parse_log_name
from streams.ports import Clock
from streams.telemetry import metrics

__all__ = ["SnapshotGauges"]


class SnapshotGauges:
    """The newest snapshot of one projection of one log.

    Its age is 0 while it has everything that was applied; before the first, it counts from here.
    """

    def __init__(self, clock: Clock, origin: str, projection: str) -> None:
        name = parse_log_name(origin)
        self._labels = (projection, name.topic, str(name.partition))
        self._clock = clock
        self._since_ms = clock.now_ms()
        self._saved = self._applied = 0
        metrics.SNAPSHOT_AGE.labels(*self._labels).set_function(self._age)

    def saved(self, manifest: Manifest) -> None:
        """This one is the newest now."""
        self._since_ms, self._saved = created_ms(manifest.snapshot), manifest.saved_at.size
        metrics.SNAPSHOT_SIZE.labels(*self._labels).set(manifest.size_bytes)

    def applied(self, size: int) -> None:
        """The projection has so many leaves."""
        self._applied = size

    def clear(self) -> None:
        """Nobody keeps snapshots of it here any more. Idempotent."""
        for gauge in (metrics.SNAPSHOT_AGE, metrics.SNAPSHOT_SIZE):
            with suppress(KeyError):
                gauge.remove(*self._labels)

    def _age(self) -> float:
        if self._applied == self._saved:
            return 0.0
        return max(self._clock.now_ms() - self._since_ms, 0) / 1000
