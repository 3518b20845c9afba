"""What snapshots there are, and whether each can be restored."""

from collections.abc import Mapping
from typing import NamedTuple

from projections.snapshots.manifest import Manifest
from projections.snapshots.names import SNAPSHOTS, created_ms, snapshot_of
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.restoring import SnapshotReader
from projections.snapshots.store import SnapshotStore
from projections.snapshots.world import OpenedPlace

__all__ = ["SnapshotFacts", "facts_of", "stores_in", "verify_snapshot"]


class SnapshotFacts(NamedTuple):
    """One snapshot. `manifest` is None where it cannot be read, and `problem` says why."""

    snapshot: str
    origin: str
    projection: str
    created_ms: int
    keys: tuple[str, ...]
    manifest: Manifest | None
    problem: str


async def stores_in(place: OpenedPlace) -> list[SnapshotStore]:
    """Every projection of every log that has snapshots there. Raises TransientError."""
    names = (version.key for version in await place.objects.versions(SNAPSHOTS))
    found = {named[0] for name in names if (named := snapshot_of(name))}
    return [
        SnapshotStore(objects=place.objects, origin=origin, projection=projection)
        for origin, projection in sorted(found)
    ]


async def facts_of(store: SnapshotStore, place: OpenedPlace) -> list[SnapshotFacts]:
    """The snapshots of one store, newest first; each manifest authenticated."""
    reader = SnapshotReader(store=store, keys=place.keys)
    facts = []
    for snapshot in await store.snapshots():
        manifest, problem = None, ""
        try:
            manifest = await reader.manifest(snapshot)
        except SnapshotRefusedError as error:
            problem = str(error)
        keys = tuple(sorted(await store.key_ids(snapshot)))
        facts.append(
            SnapshotFacts(
                snapshot,
                store.origin,
                store.projection,
                created_ms(snapshot),
                keys,
                manifest,
                problem,
            )
        )
    return facts


async def verify_snapshot(
    store: SnapshotStore, place: OpenedPlace, snapshot: str
) -> Mapping[str, int]:
    """Read everything a snapshot is made of; the length of each of its parts.

    Raises:
        SnapshotRefusedError: something is missing, changed, or does not fit.
        TransientError, SettingsError: the store or a key does not answer.
    """
    reader = SnapshotReader(store=store, keys=place.keys)
    state = await reader.state(await reader.manifest(snapshot))
    parts = {**state.parts.growing, **state.parts.changing}
    return {name: len(data) for name, data in parts.items()}
