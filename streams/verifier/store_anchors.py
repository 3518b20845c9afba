"""The anchors in a store: a directory or a bucket as a sealer keeps it.

Whoever may write there can add an object, so only notes of trusted keys under the name of their
own size count, over all versions of all names.
"""

from collections import defaultdict
from collections.abc import Iterable

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.ports import ObjectStore, ObjectVersion
from streams.segments import parse_object_name
from streams.verifier.walk import open_anchor

__all__ = ["ANCHORS", "anchors_among"]

ANCHORS = "anchors/v1/"
NEWEST = 64  # of each log: they all lead to the same history, the newest says most
NOTE_BYTES_MAX = 2**16


async def anchors_among(
    store: ObjectStore, versions: Iterable[ObjectVersion], keys: TrustedKeys | None
) -> list[CheckpointText]:
    """The newest good anchors of each log among what a store lists under `ANCHORS`.

    Raises:
        TransientError, SettingsError: the store cannot be read.
    """
    named: dict[str, list[tuple[int, ObjectVersion]]] = defaultdict(list)
    for version in versions:
        name = parse_object_name(version.key)
        if name is None or name.kind != "anchor" or version.is_delete_marker:
            continue
        if version.size <= NOTE_BYTES_MAX:
            named[name.origin].append((name.number, version))
    found = []
    for origin, sized in named.items():
        good = 0
        for size, version in sorted(sized, key=lambda pair: -pair[0]):
            note = await store.get(version.key, version.version_id)
            text = _anchor(note or b"", keys)
            # What is planted must not use up the room of what counts.
            if text is not None and (text.origin, text.size) == (origin, size):
                found.append(text)
                good += 1
            if good == NEWEST:
                break
    return found


def _anchor(note: bytes, keys: TrustedKeys | None) -> CheckpointText | None:
    try:
        return open_anchor(note, keys)
    except SettingsError:
        return None
