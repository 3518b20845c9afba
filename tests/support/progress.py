"""Somebody who watches a verification, and counts."""

__all__ = ["Counted"]


class Counted:
    """A `Progress` that remembers what it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.units = self.rows = self.done = 0

    def begin(self, name: str, units: int) -> None:
        self.names.append(name)
        self.units += units

    def advance(self, rows: int, units: int) -> None:
        self.rows += rows
        self.done += units
