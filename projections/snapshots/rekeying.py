"""A new wrapping key for every data key there is: objects are added, nothing is rewritten."""

from collections.abc import Sequence
from typing import NamedTuple

from projections.snapshots.keys import wrapped_by
from projections.snapshots.names import keys_prefix, snapshot_of
from projections.snapshots.refusal import SnapshotRefusedError
from projections.snapshots.store import SnapshotStore
from streams.keys.wrapping import WrappingKeys
from streams.ports import Clock

__all__ = ["Rekeyed", "rekey"]

DAY_MS = 86_400_000


class Rekeyed(NamedTuple):
    """How many data keys the first key wraps now.

    `added` of them by this run, `before` already; `previous` wrapped them too; `refused` says
    which are lost to the keys at hand, and why.
    """

    added: int
    before: int
    previous: Sequence[str]
    refused: Sequence[str]


async def rekey(store: SnapshotStore, keys: WrappingKeys, clock: Clock) -> Rekeyed:
    """Wrap every data key by the first of `keys`, those of chunks that are named again included.

    A crash between two of them is completed by the next run.

    Raises:
        TransientError, OutcomeUnknownError, SettingsError: the store or a key does not answer.
    """
    until: dict[str, int] = {}
    for version in await store.objects.versions(keys_prefix(store.root)):
        named = snapshot_of(version.key)
        if named is None or version.is_delete_marker:
            continue
        info = await store.objects.head(version.key, version.version_id)
        ends = int(info.retain_until.timestamp() * 1000) if info and info.retain_until else 0
        until[named[1]] = max(ends, until.get(named[1], 0))
    added, before, refused = 0, 0, []
    previous: set[str] = set()
    for snapshot, ends in sorted(until.items()):
        there = await store.key_ids(snapshot)
        previous |= there - {keys.first.key_id}
        is_there = keys.first.key_id in there
        try:
            # What is said to be wrapped already may have been planted: unwrap it.
            alone = WrappingKeys([keys.first]) if is_there else keys
            data_key = await store.data_key(alone, snapshot)
        except SnapshotRefusedError as error:
            refused.append(str(error))
            continue
        if is_there:
            before += 1
            continue
        body = await wrapped_by(keys.first, snapshot, data_key)
        days = max(-(-(ends - clock.now_ms()) // DAY_MS), 1)
        added += await store.put_key(snapshot, keys.first.key_id, body, days)
    return Rekeyed(added, before, sorted(previous), refused)
