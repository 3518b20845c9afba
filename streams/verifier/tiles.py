"""A static log: every bundle, every tile, and the root against the checkpoint (formats §6).

Each entry must hash to the leaf in its tile, each tile to its hash in the tile above, and the
right edge to the signed root. So one pass over the files checks all of them, in memory that does
not grow with the log, and a fault is named where it is. Beyond what readers of one checkpoint
see, partial tiles of earlier checkpoints must say the same as what stands now, entries must be
those of this log in order, and no file may be longer than its name says.

A directory lags its log, since it is published now and then: an anchor larger than its checkpoint
is `shorter_than_anchor`.
"""

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple, Protocol

from streams.audit.anchoring import AnchorWalk
from streams.audit.checkpoint import (
    CheckpointText,
    LogName,
    check_signatures,
    parse_checkpoint,
    parse_log_name,
)
from streams.audit.leaf import LEAF_PREFIX, parse_entry
from streams.audit.merkle import EMPTY_ROOT, Frontier, fold
from streams.audit.note import MalformedError
from streams.audit.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    TileNodes,
    frontier_plan,
    parse_tile_path,
    tile_at,
    tile_root,
)
from streams.errors import BreakError, SourceUnreadableError
from streams.ports import ObjectStore, PublicStore
from streams.static_log import StaticLog, first_leaf
from streams.verifier.progress import SILENT, Progress
from streams.verifier.verdicts import LogVerdict, Trust

__all__ = ["TileRequest", "TileShelf", "verify_tiles"]

READ_AHEAD = 20  # bundles and tiles at once
LISTED = 100  # tiles whose names are listed at once; a multiple of READ_AHEAD


class TileShelf(ObjectStore, PublicStore, Protocol):
    """A store that is read as it stands, and listed."""


class TileRequest(NamedTuple):
    """Which static log to verify.

    Attributes:
        prefix: of its objects; empty, or ending in `/`.
        origin: the log that is expected, None takes it from the checkpoint.
        progress: told of every bundle.
    """

    prefix: str = ""
    origin: str | None = None
    progress: Progress = SILENT


async def verify_tiles(shelf: TileShelf, trust: Trust, request: TileRequest) -> LogVerdict:
    """Verify one static log.

    Raises:
        SourceUnreadableError: there is no checkpoint, or none of an audit partition's log.
        TransientError: the store cannot be read.
    """
    published = await StaticLog(shelf, request.prefix).checkpoint()
    if published is None:
        raise SourceUnreadableError("no checkpoint is published there")
    breaks = _Breaks()
    text = _opened(published.body, trust, request.origin, breaks)
    if text is None:
        return LogVerdict(origin=request.origin or "", breaks=breaks.all())
    try:
        name = parse_log_name(text.origin)
    except MalformedError as error:
        raise SourceUnreadableError(f"not the log of an audit partition: {error}") from error
    request.progress.begin(text.origin, text.size)
    entries = _Entries(name, text, trust, breaks)
    tree = _Tree(_Shelved(shelf, request.prefix, breaks), text, breaks)
    for first in range(0, -(-text.size // TILE_WIDTH), READ_AHEAD):
        numbers = range(first, min(first + READ_AHEAD, -(-text.size // TILE_WIDTH)))
        for number, pair in zip(numbers, await tree.read(numbers), strict=True):
            row = entries.take(number * TILE_WIDTH, *pair)
            if row is None:
                return entries.verdict()
            await tree.rise(0, row)
            request.progress.advance(len(row), len(row))
    await tree.end()
    entries.end()
    return entries.verdict()


def _opened(
    note: bytes, trust: Trust, origin: str | None, breaks: "_Breaks"
) -> CheckpointText | None:
    try:
        text, parsed = parse_checkpoint(note.decode())
    except (UnicodeDecodeError, BreakError) as error:
        breaks.add("altered", 0, getattr(error, "detail", str(error)))
        return None
    if origin is not None and text.origin != origin:
        breaks.add("bad_signature", 0, f"a checkpoint of {text.origin!r}")
        return None
    if trust.keys is not None:
        try:
            check_signatures(parsed, text, trust.keys)
        except BreakError as error:
            breaks.note(error)
    return text


class _Breaks:
    """The first break of each kind, by index."""

    def __init__(self) -> None:
        self._found: dict[str, BreakError] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def note(self, found: BreakError) -> None:
        known = self._found.get(found.kind)
        if known is None or found.index < known.index:
            self._found[found.kind] = found

    def add(self, kind: str, index: int, detail: str) -> None:
        self.note(BreakError(kind, index, detail))

    def is_known(self, kind: str, low: int, high: int) -> bool:
        """Whether the break of a kind lies in [low, high)."""
        return kind in self._found and low <= self._found[kind].index < high

    def all(self) -> tuple[BreakError, ...]:
        return tuple(sorted(self._found.values(), key=lambda found: found.index))


class _Shelved:
    """The files of a log, where a fault of one is noted and reading goes on."""

    def __init__(self, shelf: TileShelf, prefix: str, breaks: _Breaks) -> None:
        self._shelf = shelf
        self._prefix = prefix
        self._files = StaticLog(shelf, prefix)
        self._breaks = breaks
        self._listed: dict[int, tuple[int, dict[int, list[Tile]]]] = {}
        self._listing = asyncio.Lock()

    async def items(self, tile: Tile) -> list[bytes] | None:
        """Entries of a bundle or hashes of a tile, agreeing with every other width of it."""
        standing = await self._read(tile)
        for other in await self._others(tile):
            items = await self._read(other)
            both = min(tile.width, other.width)
            if items is not None and standing is not None and items[:both] != standing[:both]:
                detail = f"{other.path} says otherwise than {tile.path}"
                self._breaks.add("archive", first_leaf(tile), detail)
        return standing

    async def _read(self, tile: Tile) -> list[bytes] | None:
        read = self._files.entries if tile.level == ENTRIES else self._files.hashes
        try:
            return await read(tile)
        except BreakError as error:
            self._breaks.note(error)
            return None

    async def _others(self, tile: Tile) -> list[Tile]:
        """The same tile in other widths: of earlier checkpoints, or of one to come."""
        unit = tile.number // LISTED
        async with self._listing:
            known, names = self._listed.get(tile.level, (-1, {}))
            if known != unit:
                names = await self._list(Tile(tile.level, unit * LISTED))
                self._listed[tile.level] = unit, names
        return [other for other in names.get(tile.number, ()) if other != tile]

    async def _list(self, first: Tile) -> dict[int, list[Tile]]:
        start = self._prefix + first.path[:-2]
        found: dict[int, list[Tile]] = {}
        for version in await self._shelf.versions(start):
            path = version.key.removeprefix(self._prefix)
            try:
                tile = parse_tile_path(path)
            except MalformedError:
                self._breaks.add("archive", first_leaf(first), f"{path} is no tile")
                continue
            if tile not in found.setdefault(tile.number, []) and not version.is_delete_marker:
                found[tile.number].append(tile)
        return found


class _Entries:
    """What the entries say, against the leaves and against each other."""

    def __init__(self, name: LogName, text: CheckpointText, trust: Trust, breaks: _Breaks) -> None:
        self._name = name
        self._text = text
        self._breaks = breaks
        self._trust = trust
        self._anchors = AnchorWalk(trust.known)
        self._anchors.keep(text.origin)
        self._before = Frontier()
        self._offset = -1
        self._records = 0

    def take(
        self, first: int, entries: list[bytes] | None, hashes: list[bytes] | None
    ) -> list[bytes] | None:
        """The leaf hashes of a tile: as it says, or as its bundle does; None where neither is."""
        row = hashes
        if entries is not None:
            self._records += len(entries)
            leaves = [sha256(LEAF_PREFIX + entry).digest() for entry in entries]
            row = leaves if hashes is None else hashes
            altered = {i for i, leaf in enumerate(leaves) if leaf != row[i]}
            if altered:
                detail = "the entry is not that of its leaf"
                self._breaks.add("altered", first + min(altered), detail)
            # What an altered entry says is no news.
            self._check((first + i, entry) for i, entry in enumerate(entries) if i not in altered)
        if row is not None and self._trust.known:
            self._pass_anchors(row)
        return row

    def end(self) -> None:
        for found in self._anchors.end(self._text.size):
            self._breaks.note(found)

    def verdict(self) -> LogVerdict:
        good = not self._breaks
        return LogVerdict(
            origin=self._text.origin,
            size=self._text.size if good else 0,
            root=(self._text.root if good else EMPTY_ROOT).hex(),
            records=self._records,
            checkpoints=1,
            **self._trust.states(self._anchors.compared),
            breaks=self._breaks.all(),
        )

    def _check(self, entries: Iterable[tuple[int, bytes]]) -> None:
        for index, entry in entries:
            try:
                said, (topic, partition, offset, _) = parse_entry(entry)
            except MalformedError as error:
                self._breaks.add("altered", index, str(error))
                continue
            if (topic, partition) != self._name[1:3]:
                self._breaks.add("altered", index, f"an entry of {topic}/{partition}")
            if said != index:
                self._breaks.add("sequence", index, f"here comes the entry of record {said}")
            if offset <= self._offset:
                detail = f"source offset {offset} comes behind {self._offset}"
                self._breaks.add("sequence", index, detail)
            self._offset = offset

    def _pass_anchors(self, row: list[bytes]) -> None:
        size = self._before.size + len(row)
        for found in self._anchors.pass_by(self._before, row, size):
            self._breaks.note(found)
        self._before.extend(row)


class _Tree:
    """The tiles above the leaves, each against the hash of it in the tile above."""

    def __init__(self, files: _Shelved, text: CheckpointText, breaks: _Breaks) -> None:
        self._files = files
        self._text = text
        self._breaks = breaks
        self._edge: dict[Tile, bytes] = {}
        self._rows: dict[int, list[bytes]] = {}  # what the next tile of a level must hold
        self._next: dict[int, int] = {}

    async def read(self, numbers: range) -> list[tuple[list[bytes] | None, list[bytes] | None]]:
        """Bundle and tile of each number, all at once."""
        tiles = [tile_at(level, n, self._text.size) for n in numbers for level in (ENTRIES, 0)]
        found = iter(await asyncio.gather(*(self._files.items(t) for t in tiles if t)))
        return list(zip(found, found, strict=True))

    async def rise(self, level: int, row: list[bytes]) -> None:
        """Take the hashes of the next tile of a level, as it says them."""
        number = self._next[level] = self._next.get(level, -1) + 1
        if len(row) < TILE_WIDTH:
            self._edge[Tile(level, number, len(row))] = b"".join(row)
            return
        above = self._rows.setdefault(level + 1, [])
        above.append(tile_root(row))
        if len(above) == TILE_WIDTH:
            await self._settle(level + 1)

    async def end(self) -> None:
        """Settle the right edge, and fold it to the root."""
        for level in range(1, -(-self._text.size.bit_length() // TILE_HEIGHT) + 1):
            if self._rows.get(level):
                await self._settle(level)
        plan = frontier_plan(self._text.size)
        nodes = plan.hashes(TileNodes(self._text.size, self._edge.__getitem__))
        is_known = self._breaks.is_known("altered", 0, self._text.size)
        if fold(nodes) != self._text.root and not is_known:
            self._breaks.add("altered", 0, "the tiles fold to another root than is signed")

    async def _settle(self, level: int) -> None:
        computed = self._rows.pop(level)
        number = self._next.get(level, -1) + 1
        tile = Tile(level, number, len(computed))
        stored = await self._files.items(tile)
        if stored is not None and stored != computed:
            at = next(i for i, node in enumerate(computed) if node != stored[i])
            below = Tile(level - 1, number * TILE_WIDTH + at)
            low, high = first_leaf(below), first_leaf(below._replace(number=below.number + 1))
            # The leaf that is to blame may be known already.
            if not self._breaks.is_known("altered", low, high):
                detail = f"{below.path} does not fold to its hash in {tile.path}"
                self._breaks.add("altered", low, detail)
        await self.rise(level, computed if stored is None else stored)
