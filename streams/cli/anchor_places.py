"""The anchors of `verify --anchor`: a file, or a whole store of them.

A store is a directory or a bucket as a sealer keeps it: `anchors/v1/<origin>/<size>.note`. Whoever
may write there can add a file, so only notes of trusted keys under the name of their own size
count. A single file is what the caller names, so one that is no good is an error.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.ports import ObjectStore, ObjectVersion
from streams.segments import parse_object_name
from streams.settings import load_settings
from streams.verifier import open_anchor

__all__ = ["anchors_at"]

NEWEST = 64  # of each log: they all lead to the same history, the newest says most
ANCHORS = "anchors/v1/"


def anchors_at(
    address: str, environ: Mapping[str, str], keys: TrustedKeys | None
) -> list[CheckpointText]:
    """The anchors at an address.

    Raises:
        SettingsError: no anchor there, or a file that is none.
        TransientError: the store cannot be read now.
        MissingExtraError: a bucket, and its client is not installed.
    """
    path = Path(address)
    if not address.startswith("s3://") and not path.is_dir():
        try:
            return [open_anchor(path.read_bytes(), keys, address)]
        except OSError as error:
            raise SettingsError([f"{address}: {error.strerror}"]) from error
    found = asyncio.run(_stored(address, environ, keys))
    if not found:
        raise SettingsError([f"{address}: no anchor of a trusted key in {ANCHORS}"])
    return found


async def _stored(
    address: str, environ: Mapping[str, str], keys: TrustedKeys | None
) -> list[CheckpointText]:
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    needed = {name: value for name, value in environ.items() if name.startswith("S3_")}
    store = open_objects(load_settings(needed | {"ATTESTREAM_ARCHIVE": address}))
    try:
        return await _opened(store, keys)
    finally:
        await store.close()


async def _opened(store: ObjectStore, keys: TrustedKeys | None) -> list[CheckpointText]:
    named: dict[str, list[tuple[int, ObjectVersion]]] = defaultdict(list)
    for version in await store.versions(ANCHORS):
        name = parse_object_name(version.key)
        if name is not None and name.kind == "anchor" and not version.is_delete_marker:
            named[name.origin].append((name.number, version))
    found = []
    for origin, versions in named.items():
        good = 0
        for size, version in sorted(versions, key=lambda pair: -pair[0]):
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
