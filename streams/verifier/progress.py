"""How far a verification is: told by whoever reads, shown by whoever asked."""

from typing import Protocol

__all__ = ["SILENT", "Progress"]


class Progress(Protocol):
    """Told what is read, as it is read."""

    def begin(self, name: str, units: int) -> None:
        """Another source is read: `units` bytes, offsets or entries long, as near as is known."""

    def advance(self, rows: int, units: int) -> None:
        """So many more rows are verified, and so many more units of the source are behind."""


class _Silent:
    def begin(self, name: str, units: int) -> None:
        pass

    def advance(self, rows: int, units: int) -> None:
        pass


SILENT: Progress = _Silent()
