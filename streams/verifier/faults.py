"""What was found wrong of one log, by whoever looks: of each kind the lowest index."""

from streams.errors import BreakError

__all__ = ["Faults"]


class Faults:
    """Breaks of one log.

    Attributes:
        void_from: see `__init__`.
    """

    def __init__(self, void_from: int | None = None) -> None:
        """`void_from`: an operator declared what is at or above it void; None for nothing."""
        self.void_from = void_from
        self._lowest: dict[str, BreakError] = {}

    def note(self, found: BreakError) -> None:
        """Keep a break, if it is the lowest of its kind, and not one of void records."""
        if self.void_from is not None and found.index >= self.void_from:
            return
        known = self._lowest.get(found.kind)
        if known is None or found.index < known.index:
            self._lowest[found.kind] = found

    @property
    def breaks(self) -> tuple[BreakError, ...]:
        """The lowest of each kind, by index."""
        return tuple(sorted(self._lowest.values(), key=lambda found: found.index))

    def index_of(self, kind: str) -> int | None:
        """Where the first break of a kind is; None without one."""
        return self._lowest[kind].index if kind in self._lowest else None
