"""Writing a snapshot: planned, taken in one step, then written while the projection goes on.

Taking copies bytes and nothing else. Everything slow happens beside the projection, in threads
that hold no lock of Python's while they hash, encrypt and write. Chunks of the snapshot before are
named again as long as their lock lasts at least as long as the new one's, and the same key wrapped
them: so a lock covers all of a snapshot, nothing that is named can be deleted meanwhile, and who
only has an older key reads nothing that is written after a rotation.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from projections.snapshots.cipher import NONCE_BYTES, encrypt_chunk, with_mac
from projections.snapshots.keys import new_data_key, wrapped_by
from projections.snapshots.manifest import ChunkEntry, Manifest, SavedAt
from projections.snapshots.names import ID_RANDOM_BYTES, created_ms, new_snapshot_id
from projections.snapshots.parts import (
    ChunkContent,
    Run,
    StateParts,
    TakenParts,
    cut_runs,
    encode_chunk,
    take,
)
from projections.snapshots.retention import lock_days
from projections.snapshots.store import SnapshotStore
from streams.keys.wrapping import WrappingKeys
from streams.ports import Clock

__all__ = ["Saved", "SnapshotPlan", "SnapshotWriter"]

DAY_MS = 86_400_000


class Saved(NamedTuple):
    """A snapshot that stands, and what its growing parts hold after each of its first chunks.

    `grown[i]`: how long each part is once chunk i was added; one entry a growing chunk.
    """

    manifest: Manifest
    grown: tuple[Mapping[str, int], ...]


class SnapshotPlan(NamedTuple):
    """A snapshot that is about to be taken: its id and lock, and the chunks it names again."""

    snapshot: str
    retain_days: int
    retained_until: int
    reused: tuple[ChunkEntry, ...]
    grown: tuple[Mapping[str, int], ...]


class _Written(NamedTuple):
    entries: list[ChunkEntry]
    grown: list[Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWriter:
    """Writes the snapshots of one projection of one log."""

    store: SnapshotStore
    keys: WrappingKeys
    parameters: Mapping[str, str]
    clock: Clock

    async def plan(self, previous: Saved | None) -> SnapshotPlan:
        """Decide what the next snapshot names again. Raises TransientError, SettingsError."""
        now = self.clock.now_ms()
        earlier = [one for one in await self.store.snapshots() if created_ms(one) <= now]
        snapshot = new_snapshot_id(now, secrets.token_bytes(ID_RANDOM_BYTES))
        days = lock_days(snapshot, earlier)
        until = now + days * DAY_MS
        if (
            previous is None
            or previous.manifest.key != self.keys.first.key_id
            # Who removed it by hand may have removed its chunks.
            or previous.manifest.snapshot not in earlier
        ):
            return SnapshotPlan(snapshot, days, until, (), ())
        kept = _lasting(previous, until)
        chunks, grown = previous.manifest.chunks[:kept], previous.grown[:kept]
        return SnapshotPlan(snapshot, days, until, chunks, grown)

    def taken(self, plan: SnapshotPlan, parts: StateParts) -> TakenParts:
        """Copy what the plan does not have; at a place where the state is whole."""
        return take(parts, plan.grown[-1] if plan.grown else {})

    async def write(self, plan: SnapshotPlan, taken: TakenParts, saved_at: SavedAt) -> Saved:
        """Chunks, then the key, then the manifest.

        Raises:
            TransientError, OutcomeUnknownError, SettingsError, VerificationError: there is no
                such snapshot; what was written of it is cleaned up when its lock has ended.
        """
        data_key = new_data_key()
        key = self.keys.first
        key_object = await wrapped_by(key, plan.snapshot, data_key)
        written = await self._chunks(plan, taken, data_key)
        manifest = Manifest(
            snapshot=plan.snapshot,
            projection=self.store.projection,
            parameters=self.parameters,
            saved_at=saved_at,
            chunks=(*plan.reused, *written.entries),
            key=key.key_id,
            retained_until=plan.retained_until,
        )
        days = plan.retain_days
        await self.store.put_key(plan.snapshot, key.key_id, key_object, days)
        stored = with_mac(data_key, manifest.render())
        await self.store.put_manifest(plan.snapshot, stored, days)
        # Now the snapshot is there.
        return Saved(manifest, (*plan.grown, *written.grown))

    async def _chunks(self, plan: SnapshotPlan, taken: TakenParts, data_key: bytes) -> _Written:
        written = _Written([], [])
        grown = dict(plan.grown[-1]) if plan.grown else {}
        for number, content in enumerate(_contents(taken)):
            place = (plan.snapshot, number)
            stored, digest = await asyncio.to_thread(_encrypted, data_key, place, content)
            await self.store.put_chunk(plan.snapshot, number, stored, plan.retain_days)
            written.entries.append(
                ChunkEntry(plan.snapshot, number, len(stored), digest, plan.retained_until)
            )
            if content.grows:
                for name, first, data in content.runs:
                    grown[name] = first + len(data)
                written.grown.append(dict(grown))
        return written


def _contents(taken: TakenParts) -> Iterator[ChunkContent]:
    """Growing parts first, so that the next snapshot can name a beginning of the chunks again."""
    for grows, runs in ((True, taken.added), (False, taken.changing)):
        group: tuple[Run, ...]
        for group in cut_runs(runs):
            yield ChunkContent(grows, group)


def _encrypted(
    data_key: bytes, place: tuple[str, int], content: ChunkContent
) -> tuple[bytes, str]:
    nonce = secrets.token_bytes(NONCE_BYTES)
    stored = encrypt_chunk(data_key, place, nonce, encode_chunk(content))
    return stored, sha256(stored).hexdigest()


def _lasting(previous: Saved, until: int) -> int:
    """How many of its growing chunks, from the first on, are locked for that long."""
    growing = previous.manifest.chunks[: len(previous.grown)]
    return next(
        (place for place, chunk in enumerate(growing) if chunk.retained_until < until),
        len(growing),
    )
