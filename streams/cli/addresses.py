"""What an address of `verify` is, by its form.

kafka://host:port/topic[/partition]   an audit topic, or one partition of it
s3://bucket/prefix                    an archive
a directory                           an embedded home (it has `attestream.db`), an archive, or
                                      static logs: itself, or whatever is below it
s3://bucket/prefix/tiles/v1/origin    a static log
a file                                a segment as `audit export` writes it, a copy of an
                                      embedded database, or a tlog-proof
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from streams.errors import SettingsError, SourceUnreadableError
from streams.segments import TILES
from streams.static_log import CHECKPOINT

__all__ = ["is_segment", "kafka_address", "kind_of", "static_logs", "tiled_origin"]

DATABASE = "attestream.db"
SQLITE_MAGIC = b"SQLite format 3\x00"
SEGMENT_MAGIC = b"Obj\x01"
PROOF_MAGIC = b"c2sp.org/tlog-proof@"


def kind_of(address: str) -> Literal["kafka", "archive", "tiles", "embedded", "proof"]:
    """What stands there. Raises SourceUnreadableError."""
    path = Path(address)
    if address.startswith("kafka://"):
        return "kafka"
    if address.startswith("s3://"):
        return "archive" if tiled_origin(address) is None else "tiles"
    if (path / "archive" / "v1").is_dir():
        return "archive"
    if (path / DATABASE).is_file() or _starts_with(path, SQLITE_MAGIC):
        return "embedded"
    if _starts_with(path, PROOF_MAGIC):
        return "proof"
    if next(static_logs(path), None):
        return "tiles"
    if not path.exists():
        raise SourceUnreadableError("no such file or directory")
    raise SourceUnreadableError(
        "neither a segment, a database, a tlog-proof, an archive, nor a static log"
    )


def is_segment(address: str) -> bool:
    """Whether it is a segment file."""
    path = Path(address)
    return path.is_file() and (path.suffix == ".avro" or _starts_with(path, SEGMENT_MAGIC))


def static_logs(path: Path) -> Iterator[str]:
    """The directories at or below `path` that are static logs."""
    for folder, folders, files in os.walk(path):
        if CHECKPOINT in files and "tile" in folders:
            yield folder
        folders[:] = sorted(set(folders) - {"tile"})


def tiled_origin(address: str) -> str | None:
    """The origin in the address of a static log; None where none is in it."""
    place = address if address.startswith("s3://") else str(Path(address).absolute())
    _, found, origin = f"{place.rstrip('/')}/".rpartition(f"/{TILES}")
    return origin.rstrip("/") if found else None


def kafka_address(address: str) -> tuple[str, str, int | None]:
    """Broker, topic and perhaps partition. Raises SettingsError."""
    parts = urlsplit(address)
    topic, _, partition = parts.path.removeprefix("/").partition("/")
    if not parts.netloc or not topic or not (partition.isdecimal() or not partition):
        raise SettingsError([f"expected kafka://host:port/topic[/partition], got {address}"])
    return parts.netloc, topic, int(partition) if partition else None


def _starts_with(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False  # What it is cannot be told; whoever reads it says why.
