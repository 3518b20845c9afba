"""The data key of a snapshot, wrapped: objects of their own, so that a rotation only adds one.

    {"format":"attestream.snapshot-key/v1","key":<key id>,"snapshot":<id>,"wrapped":<base64>}

The subject a data key is wrapped for is its snapshot's id: moved to another
snapshot's name it does not unwrap.
"""

import re
import secrets
from base64 import b64decode, b64encode

import rfc8785

from projections.snapshots.cipher import DATA_KEY_BYTES
from projections.snapshots.refusal import SnapshotRefusedError
from streams.keys.wrapping import KeyRefusedError, WrappingKey

__all__ = ["new_data_key", "parse_key_object", "unwrapped_by", "wrapped_by"]

FORMAT = "attestream.snapshot-key/v1"
BASE64 = re.compile(rb"[A-Za-z0-9+/]{1,16384}={0,2}")


def new_data_key() -> bytes:
    """A key for one snapshot."""
    return secrets.token_bytes(DATA_KEY_BYTES)


async def wrapped_by(key: WrappingKey, snapshot: str, data_key: bytes) -> bytes:
    """The object that holds a snapshot's data key. Raises TransientError, SettingsError."""
    wrapped = await key.wrap(data_key, snapshot)
    head, tail = _around(snapshot, key.key_id)
    return head + b64encode(wrapped) + tail


async def unwrapped_by(key: WrappingKey, snapshot: str, stored: bytes) -> bytes:
    """A snapshot's data key, from the object that `key` wrapped.

    Raises:
        SnapshotRefusedError: it did not.
        TransientError, SettingsError: of a key that is asked.
    """
    try:
        data_key = await key.unwrap(parse_key_object(stored, snapshot, key.key_id), snapshot)
    except KeyRefusedError as error:
        raise SnapshotRefusedError(f"the data key of {snapshot}: {error}") from None
    if len(data_key) != DATA_KEY_BYTES:
        raise SnapshotRefusedError(f"the data key of {snapshot} has {len(data_key)} bytes")
    return data_key


def parse_key_object(stored: bytes, snapshot: str, key_id: str) -> bytes:
    """The wrapped key in an object, which nobody vouches for yet: compared, not parsed.

    Raises:
        SnapshotRefusedError: not a key object of this snapshot and key.
    """
    head, tail = _around(snapshot, key_id)
    encoded = stored.removeprefix(head).removesuffix(tail)
    is_whole = len(stored) == len(head) + len(encoded) + len(tail)
    if is_whole and BASE64.fullmatch(encoded):
        try:
            return b64decode(encoded, validate=True)
        except ValueError:
            pass
    raise SnapshotRefusedError(f"the data key of {snapshot} for {key_id}: an object that is none")


def _around(snapshot: str, key_id: str) -> tuple[bytes, bytes]:
    """What stands before and behind the wrapped key."""
    whole = rfc8785.dumps({"format": FORMAT, "key": key_id, "snapshot": snapshot, "wrapped": "|"})
    head, _, tail = whole.rpartition(b"|")
    return head, tail
