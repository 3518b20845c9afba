"""Names of snapshot objects, and back (formats §8).

    snapshots/v1/<origin>/<projection>/manifests/<snapshot>.json
    snapshots/v1/<origin>/<projection>/chunks/<snapshot>/<number, 10 digits>
    snapshots/v1/<origin>/<projection>/keys/<snapshot>/<key id>.json

A snapshot's id is 26 characters: 48 bits of milliseconds and 80 random bits in lower-case
base32hex (RFC 4648 §7), which sorts by time.
"""

import re
from base64 import b32hexdecode, b32hexencode
from typing import NamedTuple

__all__ = [
    "ID_RANDOM_BYTES",
    "SNAPSHOTS",
    "LogRoot",
    "chunk_name",
    "chunks_prefix",
    "created_ms",
    "is_snapshot_id",
    "key_name",
    "keys_prefix",
    "log_root",
    "manifest_name",
    "manifests_prefix",
    "new_snapshot_id",
    "snapshot_of",
]

SNAPSHOTS = "snapshots/v1/"
ID_RANDOM_BYTES = 10
ID_TIME_BYTES = 6
ID_PADDING = "======"
TIME_MS_MAX = 253_402_300_799_999  # the year 9999
ID = re.compile(r"[0-9a-v]{25}[048cgkos]")
KEY_ID = re.compile(r"[a-z0-9-]{1,64}")
NAME = re.compile(
    r"(?P<root>.+/)(?:manifests/(?P<manifest>[0-9a-v]{26})\.json"
    r"|chunks/(?P<chunk>[0-9a-v]{26})/[0-9]{10}|keys/(?P<key>[0-9a-v]{26})/[a-z0-9-]{1,64}\.json)",
    re.ASCII,
)
ROOT = re.compile(rf"{SNAPSHOTS}(?P<origin>.+)/(?P<projection>[a-z-]+)/")


class LogRoot(NamedTuple):
    """Whose snapshots a name belongs to."""

    origin: str
    projection: str


def new_snapshot_id(now_ms: int, random: bytes) -> str:
    """An id of this time. `random`: 10 bytes."""
    if len(random) != ID_RANDOM_BYTES:
        raise ValueError(f"expected {ID_RANDOM_BYTES} random bytes, found {len(random)}")
    packed = now_ms.to_bytes(ID_TIME_BYTES, "big") + random
    return b32hexencode(packed).decode().rstrip("=").lower()


def is_snapshot_id(text: str) -> bool:
    """Whether this is an id in its one spelling, of a time that calendars have."""
    return ID.fullmatch(text) is not None and created_ms(text) <= TIME_MS_MAX


def created_ms(snapshot: str) -> int:
    """When a snapshot was begun, in milliseconds since the epoch, as its id says."""
    return int.from_bytes(b32hexdecode(snapshot.upper() + ID_PADDING)[:ID_TIME_BYTES], "big")


def log_root(origin: str, projection: str) -> str:
    """What all names of one projection of one log begin with."""
    return f"{SNAPSHOTS}{origin}/{projection}/"


def manifests_prefix(root: str) -> str:
    """What all manifests begin with."""
    return f"{root}manifests/"


def manifest_name(root: str, snapshot: str) -> str:
    """The manifest: a snapshot is there once this object is."""
    return f"{manifests_prefix(root)}{snapshot}.json"


def chunks_prefix(root: str) -> str:
    """What all chunks begin with."""
    return f"{root}chunks/"


def chunk_name(root: str, writer: str, number: int) -> str:
    """A chunk, under the snapshot that wrote it."""
    return f"{chunks_prefix(root)}{writer}/{number:010}"


def keys_prefix(root: str, snapshot: str = "") -> str:
    """What the wrapped data keys of a snapshot begin with; of all of them where none is named."""
    return f"{root}keys/{snapshot}/" if snapshot else f"{root}keys/"


def key_name(root: str, snapshot: str, key_id: str) -> str:
    """A snapshot's data key, wrapped by one key. Raises ValueError for an id that names none."""
    if not KEY_ID.fullmatch(key_id):
        raise ValueError(f"not the id of a wrapping key: {key_id!r}")
    return f"{keys_prefix(root, snapshot)}{key_id}.json"


def snapshot_of(name: str) -> tuple[LogRoot, str] | None:
    """Which snapshot an object belongs to; None for a name of another kind."""
    found = NAME.fullmatch(name)
    root = ROOT.fullmatch(found["root"]) if found else None
    if not found or not root:
        return None
    snapshot = found["manifest"] or found["chunk"] or found["key"]
    if not is_snapshot_id(snapshot):
        return None
    return LogRoot(root["origin"], root["projection"]), snapshot
