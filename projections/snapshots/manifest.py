"""Manifests: what a snapshot is of, and which chunks it is made of (formats §8).

RFC 8785 JSON, one spelling: `parse` renders what it read and compares. It is only ever given bytes
whose HMAC was checked, and trusts none of them for it: what it says is checked against the log.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import rfc8785

from projections.snapshots.names import is_snapshot_id
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.records import Checkpoint

__all__ = ["ChunkEntry", "Manifest", "SavedAt"]

FORMAT = "attestream.snapshot/v1"
JSON_INTEGER_MAX = 2**53 - 1
CHUNK_NUMBER_MAX = 2**32 - 1
FRONTIER_MAX = 64
DIGEST = re.compile(r"[0-9a-f]{64}")
MEMBERS = {
    "chunks",
    "format",
    "frontier",
    "key",
    "logs",
    "note",
    "parameters",
    "projection",
    "retained_until",
    "snapshot",
}


class ChunkEntry(NamedTuple):
    """One chunk: who wrote it, its number there, and the stored bytes.

    `retained_until`: when its lock may end, in milliseconds since the epoch.
    """

    writer: str
    number: int
    size: int
    sha256: str
    retained_until: int


class SavedAt(NamedTuple):
    """Where in a log a state was saved; `opening` is the checkpoint of that size and root."""

    origin: str
    size: int
    root: bytes
    opening: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One snapshot.

    Attributes:
        snapshot: its id.
        projection: whose state it is.
        parameters: what the state depends on beside the log; of other parameters it is useless.
        saved_at: the place in the log.
        chunks: in the order they are put together again.
        key: id of the key that wrapped the data key first.
        retained_until: when its lock may end, in milliseconds since the epoch.
    """

    snapshot: str
    projection: str
    parameters: Mapping[str, str]
    saved_at: SavedAt
    chunks: tuple[ChunkEntry, ...]
    key: str
    retained_until: int

    @property
    def size_bytes(self) -> int:
        """What all chunks take, reused ones included."""
        return sum(chunk.size for chunk in self.chunks)

    def render(self) -> bytes:
        """The document, without its HMAC."""
        origin, size, root, opening = self.saved_at
        members: dict[str, Any] = {
            "chunks": [
                {
                    "bytes": _integer(chunk.size),
                    "number": chunk.number,
                    "retained_until": _integer(chunk.retained_until),
                    "sha256": chunk.sha256,
                    "writer": chunk.writer,
                }
                for chunk in self.chunks
            ],
            "format": FORMAT,
            "frontier": [node.hex() for node in opening.frontier],
            "key": self.key,
            "logs": {origin: {"root": root.hex(), "size": _integer(size)}},
            "note": opening.note,
            "parameters": dict(self.parameters),
            "projection": self.projection,
            "retained_until": _integer(self.retained_until),
            "snapshot": self.snapshot,
        }
        return rfc8785.dumps(members)

    @classmethod
    def parse(cls, document: bytes) -> "Manifest":
        """The inverse of `render`.

        Raises:
            SnapshotRefusedError: not a manifest in its one spelling.
        """
        try:
            members = json.loads(document)
            if members.keys() != MEMBERS or members["format"] != FORMAT:
                raise ValueError("other members, or another format")  # noqa: TRY301
            manifest = _manifest(members)
            if manifest.render() != document:
                raise ValueError("not the one spelling of its members")  # noqa: TRY301
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SnapshotRefusedError(f"a manifest that is none: {error}"[:300]) from error
        return manifest


def _manifest(members: Mapping[str, Any]) -> Manifest:
    ((origin, log),) = members["logs"].items()
    frontier = members["frontier"]
    if not isinstance(frontier, list) or len(frontier) > FRONTIER_MAX:
        raise ValueError("a frontier of a tree that cannot be")
    opening = Checkpoint(_text(members["note"]), tuple(map(_digest, frontier)))
    saved_at = SavedAt(
        _text(origin),
        _parse_integer(log["size"]),
        _digest(log["root"]),
        opening,
    )
    parameters = members["parameters"]
    return Manifest(
        snapshot=_snapshot(members["snapshot"]),
        projection=_text(members["projection"]),
        parameters={_text(name): _text(value) for name, value in parameters.items()},
        saved_at=saved_at,
        chunks=tuple(map(_chunk, members["chunks"])),
        key=_text(members["key"]),
        retained_until=_parse_integer(members["retained_until"]),
    )


def _chunk(entry: Mapping[str, Any]) -> ChunkEntry:
    number = _parse_integer(entry["number"])
    if number > CHUNK_NUMBER_MAX:
        raise ValueError(f"no chunk has the number {number}")
    return ChunkEntry(
        _snapshot(entry["writer"]),
        number,
        _parse_integer(entry["bytes"]),
        _digest(entry["sha256"]).hex(),
        _parse_integer(entry["retained_until"]),
    )


def _integer(value: int) -> int | str:
    return value if value <= JSON_INTEGER_MAX else str(value)


def _parse_integer(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number, got {value!r:.100}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.100}")
    return value


def _snapshot(value: object) -> str:
    if not isinstance(value, str) or not is_snapshot_id(value):
        raise ValueError(f"expected the id of a snapshot, got {value!r:.100}")
    return value


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise ValueError(f"expected a digest in lower-case hex, got {value!r:.100}")
    return bytes.fromhex(value)
