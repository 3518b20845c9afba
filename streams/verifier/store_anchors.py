"""The anchors in a store: a directory or a bucket as a sealer keeps it.

Whoever may write there can add an object, so only notes of trusted keys under the name of their
own size count, over all versions of all names.
"""

from collections.abc import Iterable
from contextlib import aclosing

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.ports import ObjectStore, ObjectVersion
from streams.segments import ObjectName, parse_object_name
from streams.verifier.fetching import Ahead, in_order
from streams.verifier.walk import open_anchor

__all__ = ["ANCHORS", "anchors_among"]

ANCHORS = "anchors/v1/"
NOTE_BYTES_MAX = 2**16


async def anchors_among(
    store: ObjectStore, versions: Iterable[ObjectVersion], keys: TrustedKeys | None
) -> list[CheckpointText]:
    """Every good anchor among what a store lists under `ANCHORS`.

    All are read, however many: whoever may add some must not be able to push out another.

    Raises:
        TransientError, SettingsError: the store cannot be read.
    """
    wanted = [
        (name, version)
        for version in versions
        if (name := parse_object_name(version.key)) is not None
        and name.kind == "anchor"
        and not version.is_delete_marker
        and version.size <= NOTE_BYTES_MAX
    ]

    async def fetch(one: tuple[ObjectName, ObjectVersion]) -> bytes | None:
        return await store.get(one[1].key, one[1].version_id)

    found = []
    async with aclosing(in_order(wanted, fetch, lambda one: one[1].size, Ahead())) as fetched:
        async for (name, _), note in fetched:
            text = _anchor(note or b"", keys)
            if text is not None and (text.origin, text.size) == (name.origin, name.number):
                found.append(text)
    return found


def _anchor(note: bytes, keys: TrustedKeys | None) -> CheckpointText | None:
    try:
        return open_anchor(note, keys)
    except SettingsError:
        return None
