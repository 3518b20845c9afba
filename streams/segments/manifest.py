"""Manifests: what an archiver says of one segment, each bound to the one before (formats §8).

RFC 8785 JSON, one spelling: `Manifest.parse` renders what it read and compares. The checkpoint in
it signs the content; the hash of the previous manifest makes the manifests a chain, whose head is
sealed in `attestream.heads`. Names are logical, so a replica's manifests verify too.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import rfc8785

from streams.errors import BreakError

__all__ = ["FIRST_PREVIOUS", "Manifest"]

FORMAT = "attestream.manifest/v1"
FIRST_PREVIOUS = "0" * 64  # the `previous` of the first manifest
JSON_INTEGER_MAX = 2**53 - 1
DIGEST = re.compile(r"[0-9a-f]{64}")
INTEGER_TEXT = re.compile(r"[1-9][0-9]{15,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One archived segment.

    Attributes:
        origin: the log.
        segment: logical name of the segment.
        version_id: the store's id of the version that counts.
        sha256: of the file, lower-case hex.
        segment_bytes: length of the file.
        first_index: leaf index of its first audit record.
        last_index: leaf index of its last one; its closing checkpoint has one more as size.
        first_offset: audit offset of the record of the first index.
        last_offset: audit offset of the record of the last index.
        checkpoint: the closing checkpoint's note, verbatim.
        previous: SHA-256 of the manifest before, lower-case hex; 64 zeros in the first.
        retain_until: until when the store said it locks the segment; whole seconds, UTC.
        schemas: SHA-256 of each schema text in the file, by fingerprint.
    """

    origin: str
    segment: str
    version_id: str
    sha256: str
    segment_bytes: int
    first_index: int
    last_index: int
    first_offset: int
    last_offset: int
    checkpoint: str
    previous: str
    retain_until: datetime
    schemas: Mapping[str, str]

    def render(self) -> bytes:
        """The manifest as it is stored."""
        members: dict[str, Any] = {
            name: _integer(value) if isinstance(value, int) else value
            for name, value in ((n, getattr(self, n)) for n in self.__slots__)
        }
        members["format"] = FORMAT
        members["retain_until"] = _render_time(self.retain_until)
        members["schemas"] = dict(self.schemas)
        return rfc8785.dumps(members)

    def digest(self) -> str:
        """SHA-256 of the stored manifest, lower-case hex."""
        return sha256(self.render()).hexdigest()

    @classmethod
    def parse(cls, data: bytes, *, first: int = 0) -> "Manifest":
        """The inverse of `render`.

        Args:
            data: the object.
            first: the index its name says.

        Raises:
            BreakError: `archive` at `first`: not a manifest in its one spelling.
        """
        try:
            members = json.loads(data)
            if members.pop("format") != FORMAT:
                raise ValueError("another format")  # noqa: TRY301
            members |= {name: _parse_integer(members[name]) for name in _INTEGERS}
            members["retain_until"] = _parse_time(members["retain_until"])
            _check_texts(members)
            manifest = cls(**members)
            if manifest.render() != data:
                raise ValueError("not the one spelling of its members")  # noqa: TRY301
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BreakError("archive", first, f"a manifest that is none: {error}") from error
        return manifest


_INTEGERS = ("segment_bytes", "first_index", "last_index", "first_offset", "last_offset")


def _integer(value: int) -> int | str:
    return value if value <= JSON_INTEGER_MAX else str(value)


def _parse_integer(value: object) -> int:
    if isinstance(value, str) and INTEGER_TEXT.fullmatch(value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number, got {value!r:.100}")
    return value


def _render_time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_time(value: str) -> datetime:
    return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _check_texts(members: Mapping[str, Any]) -> None:
    texts = [members[name] for name in ("origin", "segment", "version_id", "checkpoint")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("expected text")
    digests = [members["sha256"], members["previous"], *members["schemas"].values()]
    if not all(isinstance(digest, str) and DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError("expected digests in lower-case hex")
    if members["last_index"] < members["first_index"]:
        raise ValueError("the last index is below the first")
