"""The snapshots that this process can be asked for."""

from typing import Protocol

from projections.snapshots.manifest import Manifest

__all__ = ["LocalSnapshots", "TakesSnapshots"]


class TakesSnapshots(Protocol):
    """One projection of one log, running here."""

    @property
    def projection(self) -> str:
        """Its name in manifests."""

    async def create(self) -> Manifest:
        """Take a snapshot now. Raises AttestreamError."""


class LocalSnapshots:
    """The projections of this process that take snapshots."""

    def __init__(self) -> None:
        self._keepers: list[TakesSnapshots] = []

    def add(self, keeper: TakesSnapshots) -> None:
        """It runs here now."""
        self._keepers.append(keeper)

    def remove(self, keeper: TakesSnapshots) -> None:
        """It does not any more. Idempotent."""
        if keeper in self._keepers:
            self._keepers.remove(keeper)

    async def create(self, projection: str) -> list[Manifest]:
        """Take a snapshot of each of these, one after the other. Raises AttestreamError."""
        chosen = [keeper for keeper in self._keepers if keeper.projection == projection]
        return [await keeper.create() for keeper in chosen]
