"""The anchors of `verify --anchor`: a file, or a whole store of them.

A store is a directory or a bucket as a sealer keeps it: `anchors/v1/<origin>/<size>.note`; of it,
what is no good is passed over. A single file is what the caller names, so there it is an error.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.settings import load_settings
from streams.verifier import ANCHORS, anchors_among, open_anchor

__all__ = ["anchors_at"]


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
        return await anchors_among(store, await store.versions(ANCHORS), keys)
    finally:
        await store.close()
