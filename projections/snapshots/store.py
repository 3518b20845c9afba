"""The objects of one projection's snapshots of one log: chunks, then keys, then the manifest.

Each is created once and never changed. A snapshot is there once its manifest is: whoever dies
before it leaves chunks that nobody names, and the clean-up takes them when their lock ends. The
oldest version of a name is the object, whatever was laid over it.
"""

from dataclasses import dataclass
from hashlib import sha256

from projections.snapshots.cipher import MANIFEST_BYTES_MAX, authenticated
from projections.snapshots.keys import unwrapped_by
from projections.snapshots.manifest import ChunkEntry, Manifest
from projections.snapshots.names import (
    chunk_name,
    key_name,
    keys_prefix,
    log_root,
    manifest_name,
    manifests_prefix,
    snapshot_of,
)
from projections.snapshots.refusal import SnapshotRefusedError, UnknownKeyError
from streams.errors import ObjectExistsError
from streams.keys.wrapping import WrappingKeys
from streams.ports import ObjectStore

__all__ = ["SnapshotStore"]

KEY_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStore:
    """Where the snapshots of one projection of one log are."""

    objects: ObjectStore
    origin: str
    projection: str

    @property
    def root(self) -> str:
        """What all names begin with."""
        return log_root(self.origin, self.projection)

    async def snapshots(self) -> list[str]:
        """The ids of all snapshots that were finished, newest first, as names say."""
        found = set()
        for version in await self.objects.versions(manifests_prefix(self.root)):
            named = snapshot_of(version.key)
            if named and not version.is_delete_marker:
                found.add(named[1])
        return sorted(found, reverse=True)

    async def put_chunk(self, snapshot: str, number: int, body: bytes, retain_days: int) -> None:
        """Raises TransientError, OutcomeUnknownError, SettingsError, VerificationError."""
        await self._create(chunk_name(self.root, snapshot, number), body, retain_days)

    async def put_key(self, snapshot: str, key_id: str, body: bytes, retain_days: int) -> bool:
        """Whether it was not there yet. Raises as `put_chunk`."""
        try:
            await self._create(key_name(self.root, snapshot, key_id), body, retain_days)
        except ObjectExistsError:
            return False
        return True

    async def put_manifest(self, snapshot: str, body: bytes, retain_days: int) -> None:
        """Raises as `put_chunk`."""
        await self._create(manifest_name(self.root, snapshot), body, retain_days)

    async def key_ids(self, snapshot: str) -> set[str]:
        """The ids of the keys that wrapped a snapshot's data key, as its names say."""
        prefix = keys_prefix(self.root, snapshot)
        return {
            version.key.removeprefix(prefix).removesuffix(".json")
            for version in await self.objects.versions(prefix)
            if not version.is_delete_marker and version.key.endswith(".json")
        }

    async def data_key(self, keys: WrappingKeys, snapshot: str) -> bytes:
        """A snapshot's data key.

        Raises:
            UnknownKeyError: no key at hand wrapped it.
            SnapshotRefusedError: one should have, and did not.
            TransientError, SettingsError: the store or a key does not answer.
        """
        refused = None
        for key_id in keys.ids:
            key = keys.get(key_id)
            stored = await self._read(key_name(self.root, snapshot, key_id), KEY_BYTES_MAX)
            if key is None or stored is None:
                continue
            try:
                return await unwrapped_by(key, snapshot, stored)
            except SnapshotRefusedError as error:
                # Whoever may write there can plant an object of that name: another key may do.
                refused = error
        if refused is not None:
            raise refused
        wrapped = ", ".join(sorted(await self.key_ids(snapshot))) or "no key"
        raise UnknownKeyError(
            f"snapshot {snapshot}: its data key is wrapped by {wrapped}; at hand: "
            f"{', '.join(keys.ids)}"
        )

    async def manifest(self, data_key: bytes, snapshot: str) -> Manifest:
        """A snapshot's manifest, authenticated.

        Raises:
            SnapshotRefusedError: missing, changed, or another snapshot's.
            TransientError, SettingsError: the store does not answer.
        """
        stored = await self._read(manifest_name(self.root, snapshot), MANIFEST_BYTES_MAX)
        if stored is None:
            raise SnapshotRefusedError(f"snapshot {snapshot}: its manifest is gone")
        manifest = Manifest.parse(authenticated(data_key, stored))
        found = (manifest.snapshot, manifest.saved_at.origin, manifest.projection)
        if found != (snapshot, self.origin, self.projection):
            raise SnapshotRefusedError(
                f"snapshot {snapshot} of {self.origin}: its manifest is that of {found[0]}, "
                f"{found[2]} of {found[1]}"
            )
        return manifest

    async def stored_chunk(self, entry: ChunkEntry) -> bytes:
        """A chunk as it is stored, its SHA-256 checked.

        Raises:
            SnapshotRefusedError: missing or changed.
            TransientError, SettingsError: the store does not answer.
        """
        stored = await self._read(chunk_name(self.root, entry.writer, entry.number), entry.size)
        if stored is None:
            raise SnapshotRefusedError(f"chunk {entry.number} of {entry.writer} is gone")
        if (len(stored), sha256(stored).hexdigest()) != (entry.size, entry.sha256):
            raise SnapshotRefusedError(
                f"chunk {entry.number} of {entry.writer} is not what was stored: expected "
                f"{entry.size} bytes of SHA-256 {entry.sha256}, found {len(stored)} of "
                f"{sha256(stored).hexdigest()}"
            )
        return stored

    async def _read(self, name: str, most: int) -> bytes | None:
        """An object; its size is looked at before its bytes are taken into memory.

        Raises:
            SnapshotRefusedError: it is larger than what was stored there can be.
            TransientError, SettingsError: the store does not answer.
        """
        for version in await self.objects.versions(name):
            if version.key != name or version.is_delete_marker:
                continue
            if version.size > most:
                raise SnapshotRefusedError(
                    f"{name} is not what was stored: expected at most {most} bytes, found "
                    f"{version.size}"
                )
            return await self.objects.get(name, version.version_id)
        return None

    async def _create(self, name: str, body: bytes, retain_days: int) -> None:
        await self.objects.create(name, body, retain_days=retain_days)
