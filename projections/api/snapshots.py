"""The page that takes snapshots: of this worker's indexes; each worker has its own logs."""

from collections.abc import Mapping

from projections.api.pages import Answer
from projections.snapshots.local import LocalSnapshots
from projections.snapshots.manifest import Manifest
from streams.errors import AttestreamError

__all__ = ["SNAPSHOT_KINDS", "SnapshotPages", "told"]

SNAPSHOT_KINDS = {"decisions": "decision-index"}
"""What snapshots are taken of: the name in the address, and in manifests."""


class SnapshotPages:
    """Answers `POST /v1/snapshots/{projection}`; there is no body."""

    def __init__(self, local: LocalSnapshots, projections: Mapping[str, str]) -> None:
        """`projections`: the name in the address, and in manifests."""
        self._local = local
        self._projections = projections

    async def answer(self, name: str) -> Answer:
        """200 with `snapshots`, 404, or 503 with `error`."""
        if name not in self._projections:
            known = " and ".join(self._projections)
            return Answer(404, {"error": f"{name} has no snapshots, {known} may have"})
        try:
            taken = await self._local.create(self._projections[name])
        except AttestreamError as error:
            return Answer(503, {"error": str(error)})
        if not taken:
            return Answer(503, {"error": f"no snapshots of {name} are taken here"})
        return Answer(200, {"snapshots": [told(manifest) for manifest in taken]})


def told(manifest: Manifest) -> dict[str, object]:
    """A snapshot as JSON."""
    return {
        "snapshot": manifest.snapshot,
        "projection": manifest.projection,
        "origin": manifest.saved_at.origin,
        "size": manifest.saved_at.size,
        "root": manifest.saved_at.root.hex(),
        "bytes": manifest.size_bytes,
        "chunks": len(manifest.chunks),
    }
