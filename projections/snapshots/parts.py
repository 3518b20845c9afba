"""A projection's state as named bytes, and the chunks they are stored in.

Some of a state only grows: what was saved of it once never changes, and is not saved again. The
rest is saved whole each time. A chunk says itself which bytes it holds:

    length of the header, u32 big-endian ‖ header, RFC 8785 JSON ‖ the bytes of its runs
    header = {"grows": true|false, "runs": [[name, first byte, length], …]}
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import rfc8785

from projections.snapshots.refusal import SnapshotRefusedError

__all__ = [
    "CHUNK_BYTES",
    "Assembly",
    "ChunkContent",
    "Growing",
    "LoadedParts",
    "Run",
    "StateParts",
    "TakenParts",
    "cut_runs",
    "decode_chunk",
    "encode_chunk",
    "take",
]

CHUNK_BYTES = 8 * 2**20
RUNS_MAX = 4096  # of a chunk
HEADER_BYTES = 4


class Growing(NamedTuple):
    """Bytes that are only ever added to. `part(first, end)` copies some of them."""

    name: str
    size: int
    part: Callable[[int, int], bytes]


class StateParts(NamedTuple):
    """A state, as it is until the projection goes on."""

    growing: tuple[Growing, ...]
    changing: Mapping[str, bytes]


class Run(NamedTuple):
    """Some bytes of a named part, from byte `first` on."""

    name: str
    first: int
    data: bytes


class TakenParts(NamedTuple):
    """A copy of what is to be saved: nothing that happens later shows in it.

    `grown`: how long each growing part is with these runs.
    """

    added: tuple[Run, ...]
    changing: tuple[Run, ...]
    grown: Mapping[str, int]


class ChunkContent(NamedTuple):
    """What a chunk holds: runs of growing parts, or of others."""

    grows: bool
    runs: tuple[Run, ...]


class LoadedParts(NamedTuple):
    """A state as it was stored: growing parts and others, by name."""

    growing: Mapping[str, bytes]
    changing: Mapping[str, bytes]


def take(parts: StateParts, saved: Mapping[str, int]) -> TakenParts:
    """Copy what is not saved yet; `saved` says how much is of each growing part."""
    added = []
    for name, size, part in parts.growing:
        first = saved.get(name, 0)
        assert first <= size, f"{name} shrank from {first} to {size} bytes"
        if size > first:
            added.append(Run(name, first, part(first, size)))
    changing = [Run(name, 0, data) for name, data in parts.changing.items()]
    grown = {name: size for name, size, _ in parts.growing}
    return TakenParts(tuple(added), tuple(changing), grown)


def cut_runs(runs: Iterable[Run], most: int = CHUNK_BYTES) -> Iterator[tuple[Run, ...]]:
    """The same bytes in groups of at most `most` bytes: the runs of one chunk each."""
    group: list[Run] = []
    room = most
    for name, first, data in runs:
        at = 0
        while True:
            piece = data[at : at + room]
            group.append(Run(name, first + at, piece))
            at += len(piece)
            room -= len(piece)
            if room == 0 or len(group) == RUNS_MAX:
                yield tuple(group)
                group, room = [], most
            if at >= len(data):
                break
    if group:
        yield tuple(group)


def encode_chunk(content: ChunkContent) -> bytes:
    """A chunk's bytes, not encrypted yet."""
    runs: list[list[str | int]] = [[name, first, len(data)] for name, first, data in content.runs]
    header = rfc8785.dumps({"grows": content.grows, "runs": runs})
    size = len(header).to_bytes(HEADER_BYTES, "big")
    return b"".join((size, header, *(run.data for run in content.runs)))


def decode_chunk(plain: bytes) -> ChunkContent:
    """The inverse of `encode_chunk`, of bytes that were authenticated.

    Raises:
        SnapshotRefusedError: no chunk of this format.
    """
    try:
        at = HEADER_BYTES + int.from_bytes(plain[:HEADER_BYTES], "big")
        header = json.loads(plain[HEADER_BYTES:at])
        grows, listed = header["grows"], header["runs"]
        if not isinstance(grows, bool) or len(header) != 2 or len(listed) > RUNS_MAX:
            raise ValueError("another header")  # noqa: TRY301
        runs = []
        for name, first, length in listed:
            _check_run(name, first, length)
            runs.append(Run(name, first, plain[at : at + length]))
            at += length
        if at != len(plain):
            raise ValueError("another length")  # noqa: TRY301
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SnapshotRefusedError(f"a chunk of another format: {error}") from error
    return ChunkContent(grows, tuple(runs))


class Assembly:
    """Puts chunks together again, in their order."""

    def __init__(self) -> None:
        self._growing: dict[str, list[bytes]] = {}
        self._changing: dict[str, list[bytes]] = {}
        self._sizes: dict[tuple[bool, str], int] = {}

    def add(self, content: ChunkContent) -> None:
        """Take the next chunk. Raises SnapshotRefusedError where bytes are missing before it."""
        parts = self._growing if content.grows else self._changing
        for name, first, data in content.runs:
            size = self._sizes.get((content.grows, name), 0)
            if first != size:
                raise SnapshotRefusedError(f"{name}: byte {first} comes behind {size} bytes")
            parts.setdefault(name, []).append(data)
            self._sizes[content.grows, name] = size + len(data)

    def grown(self) -> dict[str, int]:
        """How long each growing part is so far."""
        return {name: size for (grows, name), size in self._sizes.items() if grows}

    def parts(self) -> LoadedParts:
        """What was put together."""
        return LoadedParts(
            {name: b"".join(pieces) for name, pieces in self._growing.items()},
            {name: b"".join(pieces) for name, pieces in self._changing.items()},
        )


def _check_run(name: object, first: object, length: object) -> None:
    if not isinstance(name, str):
        raise TypeError("a run without name")
    for number in (first, length):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ValueError(f"no place of bytes: {number!r:.50}")
