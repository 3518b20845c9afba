"""From a snapshot back to a state, through memory alone.

The order is the point: the data key is unwrapped, the manifest's HMAC checked, then parsed; its
checkpoint verified and found in the log; each chunk's SHA-256 and tag checked, then parsed. What
does not fit at any step is refused in one sentence, and the next older snapshot is tried.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from projections.ports import Position
from projections.snapshots.cipher import decrypt_chunk
from projections.snapshots.containment import LogToFit, check_ended, check_opening, place_behind
from projections.snapshots.manifest import ChunkEntry, Manifest
from projections.snapshots.parts import Assembly, ChunkContent, LoadedParts, decode_chunk
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.store import SnapshotStore
from projections.snapshots.world import Saveable, SnapshotSubject
from projections.snapshots.writing import Saved
from streams.errors import SourceChangedError
from streams.keys.wrapping import WrappingKeys

__all__ = ["BESIDE", "Fitting", "ReadSnapshot", "RestoredState", "SnapshotReader", "restore_into"]

BESIDE = "beside"


class Fitting(NamedTuple):
    """A manifest that fits parameters and log, and the offset the log goes on at behind it."""

    manifest: Manifest
    offset: int


class RestoredState(NamedTuple):
    """Where a projection goes on, and what its next snapshot can name again."""

    position: Position
    saved: Saved


class ReadSnapshot(NamedTuple):
    """A snapshot's state, whole and authenticated, and what a next one can name again."""

    parts: LoadedParts
    saved: Saved


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotReader:
    """Reads the snapshots of one projection of one log."""

    store: SnapshotStore
    keys: WrappingKeys

    async def manifest(self, snapshot: str) -> Manifest:
        """A snapshot's manifest, authenticated.

        Raises:
            SnapshotRefusedError, TransientError, SettingsError: it cannot be had.
        """
        return await self.store.manifest(await self.store.data_key(self.keys, snapshot), snapshot)

    async def fitting(self, snapshot: str, subject: SnapshotSubject) -> Fitting:
        """A snapshot's manifest, if its state may be carried on over this log.

        Raises:
            SnapshotRefusedError, TransientError, SettingsError: it may not, or cannot be had.
        """
        manifest = await self.manifest(snapshot)
        self.check_parameters(manifest, subject.parameters)
        return Fitting(manifest, await self.place_in(manifest, subject.log))

    def check_parameters(self, manifest: Manifest, parameters: Mapping[str, str]) -> None:
        """A state made under other parameters is another projection's.

        Raises:
            SnapshotRefusedError: one of them differs.
        """
        for name in sorted(parameters.keys() | manifest.parameters.keys()):
            now, then = parameters.get(name, "none"), manifest.parameters.get(name, "none")
            if now != then:
                raise SnapshotRefusedError(f"its {name} is {then}, that of now is {now}")

    async def place_in(self, manifest: Manifest, log: LogToFit) -> int:
        """The offset the log goes on at behind a snapshot.

        Raises:
            SnapshotRefusedError: the log does not hold it, or its checkpoint is not trusted.
            TransientError: no answer.
        """
        check_ended(manifest.saved_at, log)
        check_opening(manifest.saved_at, log.keys)
        reader = log.open_reader()
        try:
            return await place_behind(manifest.saved_at, reader)
        except SourceChangedError as error:
            raise SnapshotRefusedError(f"the log changed while it was read: {error}") from error
        finally:
            await reader.close()

    async def state(self, manifest: Manifest) -> ReadSnapshot:
        """Everything a snapshot holds.

        Raises:
            SnapshotRefusedError: a chunk is missing, changed, or does not fit.
            TransientError, SettingsError: the store or a key does not answer.
        """
        assembly, grown = Assembly(), list[Mapping[str, int]]()
        data_keys: dict[str, bytes] = {}
        for entry in manifest.chunks:
            if entry.writer not in data_keys:
                data_keys[entry.writer] = await self.store.data_key(self.keys, entry.writer)
            stored = await self.store.stored_chunk(entry)
            content = await asyncio.to_thread(_opened, data_keys[entry.writer], entry, stored)
            assembly.add(content)
            if content.grows:
                grown.append(assembly.grown())
        return ReadSnapshot(assembly.parts(), Saved(manifest, tuple(grown)))


def _opened(data_key: bytes, entry: ChunkEntry, stored: bytes) -> ChunkContent:
    return decode_chunk(decrypt_chunk(data_key, (entry.writer, entry.number), stored))


async def restore_into(
    target: Saveable, reader: SnapshotReader, fitting: Fitting, subject: SnapshotSubject
) -> RestoredState:
    """Restore a snapshot that fits its log, and search in it.

    Raises:
        SnapshotRefusedError, TransientError, SettingsError: `target` is to forget what it has.
    """
    manifest, offset = fitting
    growing, changing = (state := await reader.state(manifest)).parts
    own = {name: data for name, data in changing.items() if not name.startswith(f"{BESIDE}/")}
    await target.load(LoadedParts(growing, own))
    if wrong := target.prove():
        raise SnapshotRefusedError(f"what was restored is not found: {wrong}")
    for name, beside in subject.beside.items():
        data = changing.get(f"{BESIDE}/{name}")
        if data is None:
            raise SnapshotRefusedError(f"it was taken without its {name}")
        await beside.load(data)
    size, opening = manifest.saved_at.size, manifest.saved_at.opening
    return RestoredState(Position(size, opening, offset), state.saved)
