"""Removing what no rule keeps, and nothing that anything kept still needs.

Manifests go first, then the chunks and keys that no remaining manifest names: whoever dies between
leaves bytes nobody names, which the next clean-up takes. Nothing is removed before its lock ends,
and a snapshot that is being written only names what is locked longer than it: so cleaning up and
writing need not know of each other, on however many machines.

A manifest that cannot be read, for want of a key or because it is damaged, is never removed here,
and while there is one no chunk is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from projections.snapshots.manifest import Manifest
from projections.snapshots.names import chunk_name, chunks_prefix, keys_prefix, snapshot_of
from projections.snapshots.names import manifest_name as name_of_manifest
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.restoring import SnapshotReader
from projections.snapshots.retention import KEPT, Kept, Verdict, judge
from projections.snapshots.store import SnapshotStore
from streams.keys.wrapping import WrappingKeys
from streams.objects.disposal import DisposableStore
from streams.ports import Clock, ObjectVersion

__all__ = ["Cleaner", "CleanupReport"]


TORN = "a chunk of it is gone: nothing keeps it"


class CleanupReport(NamedTuple):
    """What became of each snapshot, newest first, and how many other objects went.

    `objects` and `bytes` are of what nobody names any more; `waiting` of these are still locked.
    """

    verdicts: Sequence[Verdict]
    objects: int
    bytes: int
    waiting: int


class _Read(NamedTuple):
    """Manifests that were authenticated; those of them that lack a chunk; others, and why."""

    manifests: Mapping[str, Manifest]
    torn: frozenset[str]
    unreadable: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaner:
    """Cleans up the snapshots of one projection of one log."""

    store: SnapshotStore
    objects: DisposableStore
    keys: WrappingKeys
    clock: Clock
    kept: Kept = KEPT

    async def run(self, *, dry_run: bool = False) -> CleanupReport:
        """Judge every snapshot and remove what may go; with `dry_run` only say so.

        Raises:
            TransientError, SettingsError: the store or a key does not answer; nothing is lost.
        """
        listed = await self.objects.versions(self.store.root)
        read = await self._read(listed)
        judged = judge([one for one in read.manifests if one not in read.torn], self.kept)
        judged += [Verdict(one, is_kept=False, reason=TORN) for one in sorted(read.torn)]
        verdicts = [await self._final(verdict, listed, dry_run=dry_run) for verdict in judged]
        verdicts += [
            Verdict(one, is_kept=True, reason=why) for one, why in read.unreadable.items()
        ]
        remaining = {verdict.snapshot for verdict in verdicts if verdict.is_kept}
        superfluous = [] if read.unreadable else self._unnamed(listed, read, remaining)
        gone, waiting = [], 0
        for version in superfluous:
            if await self._is_locked(version):
                waiting += 1
            elif dry_run or await self.objects.delete(version.key, version.version_id):
                gone.append(version)
            else:
                waiting += 1
        verdicts.sort(key=lambda verdict: verdict.snapshot, reverse=True)
        return CleanupReport(verdicts, len(gone), sum(one.size for one in gone), waiting)

    async def _read(self, listed: Sequence[ObjectVersion]) -> _Read:
        reader = SnapshotReader(store=self.store, keys=self.keys)
        there = {version.key for version in listed if not version.is_delete_marker}
        manifests, torn, unreadable = dict[str, Manifest](), set[str](), dict[str, str]()
        for snapshot in await self.store.snapshots():
            try:
                manifests[snapshot] = await reader.manifest(snapshot)
            except SnapshotRefusedError as error:
                unreadable[snapshot] = f"cannot be read: {error}"
                continue
            if not self._chunks(manifests[snapshot]) <= there:
                torn.add(snapshot)
        return _Read(manifests, frozenset(torn), unreadable)

    async def _final(
        self, verdict: Verdict, listed: Sequence[ObjectVersion], *, dry_run: bool
    ) -> Verdict:
        """A verdict once the lock was asked, and the manifest removed where it says so."""
        if verdict.is_kept:
            return verdict
        name = name_of_manifest(self.store.root, verdict.snapshot)
        for version in [version for version in listed if version.key == name]:
            if await self._is_locked(version):
                return verdict._replace(
                    is_kept=True, reason=f"{verdict.reason}, but its lock does"
                )
            if not dry_run and not await self.objects.delete(version.key, version.version_id):
                return verdict._replace(
                    is_kept=True, reason=f"{verdict.reason}, but the store does"
                )
        return verdict

    def _unnamed(
        self, listed: Iterable[ObjectVersion], read: _Read, remaining: set[str]
    ) -> list[ObjectVersion]:
        manifests = [read.manifests[snapshot] for snapshot in sorted(remaining)]
        chunks = {name for manifest in manifests for name in self._chunks(manifest)}
        writers = {entry.writer for manifest in manifests for entry in manifest.chunks}
        needed = writers | remaining
        found = []
        for version in listed:
            named = snapshot_of(version.key)
            if named is None:
                continue
            is_chunk = version.key.startswith(chunks_prefix(self.store.root))
            is_key = version.key.startswith(keys_prefix(self.store.root))
            if (is_chunk and version.key not in chunks) or (is_key and named[1] not in needed):
                found.append(version)
        return found

    def _chunks(self, manifest: Manifest) -> set[str]:
        return {
            chunk_name(self.store.root, entry.writer, entry.number) for entry in manifest.chunks
        }

    async def _is_locked(self, version: ObjectVersion) -> bool:
        if version.is_delete_marker:
            return False
        info = await self.objects.head(version.key, version.version_id)
        if info is None or info.retain_until is None:
            return False
        return info.retain_until > datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)
