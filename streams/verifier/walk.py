"""One log, from a source of records or from files to its verdict.

`LogWalk` takes a log through `streams.audit.trail` and goes on after a break as far as that is
safe: the first break of every kind is kept, so that one altered record does not hide a fork
behind it. `size` and `root` of the verdict are those of the last good checkpoint before the first
break. Memory is flat in the length of the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from schemas.audit_values import AUDIT_RECORD_HEAD, decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, AuditValue, Checkpoint, Record
from streams.audit.checkpoint import (
    CheckpointText,
    check_signatures,
    parse_checkpoint,
    parse_log_name,
)
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import MalformedError, TrustedKeys
from streams.audit.runs import Part, Run
from streams.audit.trail import Trail
from streams.errors import BreakError, SettingsError, SourceUnreadableError
from streams.segments import SegmentReader
from streams.verifier.digesting import ALONE, Digests
from streams.verifier.progress import SILENT, Progress
from streams.verifier.source import SourceComparison
from streams.verifier.verdicts import LogVerdict, Trust

__all__ = ["UNOPENED", "LogWalk", "claimed_origins", "open_anchor", "verify_files", "verify_rows"]

BATCH_RECORDS = 2000
UNOPENED = "no order of the operator opened this epoch"


class LogWalk:
    """One log, taken from its source to its verdict.

    Attributes:
        opening: the checkpoint that the last file says it begins behind; None without one.
        offsets: audit offsets of the first record and of the last one of the last file.
        schemas: the schema texts in the last file, by fingerprint.
    """

    def __init__(
        self,
        trust: Trust,
        origin: str | None = None,
        *,
        progress: Progress = SILENT,
        digests: Digests = ALONE,
        start: int = 0,
    ) -> None:
        """Begin before the first record.

        Args:
            trust: keys and anchors.
            origin: the log that is expected; None takes it from the first checkpoint.
            progress: told of every batch.
            digests: reads files; by default without other processes.
            start: the first audit offset there is, for `progress`.

        Raises:
            MalformedError: `origin` names no audit partition.
        """
        self._digests = digests
        self._trust = trust
        self._first, self._offset = 0, start
        self._breaks: dict[str, BreakError] = {}
        self._good = (0, EMPTY_ROOT)
        self._is_void = False
        self._progress = progress
        self.opening: Checkpoint | None = None
        self.offsets: tuple[int, int] | None = None
        self.schemas: Mapping[str, str] = {}
        self._trail = Trail(origin, trust.keys, anchors=trust.known, on_break=self.note)

    @property
    def trust(self) -> Trust:
        """Keys and anchors, as given."""
        return self._trust

    @property
    def breaks(self) -> tuple[BreakError, ...]:
        """The first of each kind so far, by index."""
        return tuple(sorted(self._breaks.values(), key=lambda found: found.index))

    def note(self, found: BreakError) -> None:
        """Keep a break, if it is the first of its kind, and not one of void records."""
        if found.kind == "shorter_than_anchor" and self._may_lag(found.index):
            return
        if not (self._breaks or self._is_void):
            self._good = self._trail.size, self._trail.root
        void_from = self._trust.void_from(self._trail.origin)
        if void_from is not None and found.index >= void_from:
            self._is_void = True
        else:
            self._breaks.setdefault(found.kind, found)

    @property
    def records(self) -> int:
        """How many audit records were read."""
        return self._trail.records

    @property
    def head(self) -> tuple[int, bytes]:
        """Size and root of the last good checkpoint."""
        return self._trail.size, self._trail.root

    @property
    def compared(self) -> Sequence[CheckpointText]:
        """What of `Trust.known` could be compared so far."""
        return self._trail.anchors_compared

    def feed(self, rows: Sequence[Record]) -> None:
        """Take committed records of the audit partition, in order."""
        self._trail.feed_all(rows)
        self._advance(rows)

    async def feed_beside(self, rows: Sequence[Record], source: SourceComparison) -> None:
        """Take records as `feed` does, each compared with the source it was sealed from.

        Raises:
            TransientError: the source cannot be read now.
            SourceUnreadableError: the source cannot be read.
        """
        for row in rows:
            fed = self._trail.feed(row)
            if isinstance(fed, AuditRecord) and self._trail.origin is not None:
                for found in await source.take(fed, self._trail.origin):
                    self.note(found)
        self._advance(rows)

    def feed_file(self, file: BinaryIO, *, first: int = 0) -> None:
        """Take a segment file, which continues what was fed before.

        Args:
            file: open for reading; read once, in order.
            first: the index its name says, for a file that cannot say its own.
        """
        at = 0
        try:
            reader = SegmentReader(file, first=first)
            digested = self._digests.of(reader)
            begin = next(digested, None)
            if not self._trail.records:
                self._first = reader.first if reader.opening else 0
            self.opening, self.schemas, self.offsets = reader.opening, reader.schemas, None
            self._trail.begin_file(reader.first, reader.opening)
            for count, some, rows in chain(() if begin is None else (begin,), digested):
                parts = list(some)
                self._trail.feed_parts(parts, rows)
                self.offsets = _offsets(self.offsets, parts)
                at, before = file.tell(), at
                self._progress.advance(count, at - before)
        except BreakError as error:
            self.note(error)
            self._trail.lose_track()
        else:
            self._trail.end_file()
        self._progress.advance(0, file.tell() - at)

    def verdict(self) -> LogVerdict:
        """End the walk: nothing follows."""
        trail = self._trail
        trail.finish()
        self._require_opened(trail.origin)
        ended = bool(self._breaks) or self._is_void
        size, root = self._good if ended else (trail.size, trail.root)
        verdict = LogVerdict(
            origin=trail.origin or "",
            first=self._first,
            size=size,
            root=root.hex(),
            records=trail.records,
            tail=trail.tail,
            checkpoints=trail.checkpoints,
            **self._trust.states(trail.anchors_compared),
            breaks=self.breaks,
            note="" if ended or trail.newest is None else trail.newest.note,
        )
        return verdict.ended_by(self._trust.forks.get(trail.origin or ""))

    def _require_opened(self, origin: str | None) -> None:
        """A later epoch is one by the operator's order alone: whoever signs logs opens none.

        An archive says nothing here: the order may not be archived yet, and its epoch be.
        """
        says_all = self._trust.has_orders and not self._trust.may_lag
        if not (origin and says_all and parse_log_name(origin).epoch):
            return
        if self._trust.may_lag:
            return  # its order may be sealed, and not archived yet
        if self._trail.checkpoints and self._trust.begins_at(origin) is None:
            self.note(BreakError("sequence", 0, UNOPENED))

    def _may_lag(self, size: int) -> bool:
        """Whether no more than sealed heads say that the log is longer, and it may lag them."""
        origin = self._trail.origin
        longer = any(a.origin == origin and a.size > size for a in self._trust.binding)
        return self._trust.may_lag and not longer

    def _advance(self, rows: Sequence[Record]) -> None:
        before = self._offset
        self._offset = rows[-1].offset + 1 if rows else before
        self._progress.advance(len(rows), self._offset - before)


def _offsets(known: tuple[int, int] | None, parts: Iterable[Part]) -> tuple[int, int] | None:
    """`known`, as far as it goes with the audit records in `parts`."""
    for part in parts:
        if isinstance(part, Run):
            first, last = part.offsets
        elif (part.value or b"").startswith(AUDIT_RECORD_HEAD):
            first = last = part.offset
        else:
            continue
        known = (first if known is None else known[0], last)
    return known


def open_anchor(note: bytes, keys: TrustedKeys | None, name: str = "anchor") -> CheckpointText:
    """What an anchor file says, signatures checked where keys are given.

    Raises:
        SettingsError: it is no checkpoint note, or none that the keys vouch for.
    """
    try:
        text, parsed = parse_checkpoint(note.decode())
        parse_log_name(text.origin)
        if keys is not None:
            check_signatures(parsed, text, keys)
    except (UnicodeDecodeError, MalformedError) as error:
        raise SettingsError([f"{name}: not a checkpoint note: {error}"]) from error
    except BreakError as error:
        raise SettingsError([f"{name}: {error.detail}"]) from error
    return text


def verify_rows(rows: Iterable[Record], trust: Trust, origin: str | None = None) -> LogVerdict:
    """Verify one log from the committed records of its audit partition, in order."""
    walk = LogWalk(trust, origin)
    rest = iter(rows)
    while batch := list(islice(rest, BATCH_RECORDS)):
        walk.feed(batch)
    return walk.verdict()


def verify_files(
    paths: Sequence[Path], trust: Trust, *, progress: Progress = SILENT, digests: Digests = ALONE
) -> list[LogVerdict]:
    """Verify exported segment files, in bounded memory; those of one log are joined.

    The verdict is the same whatever `digests` reads them.

    Raises:
        SourceUnreadableError: a file cannot be read at all.
    """
    try:
        logs: dict[str, list[tuple[int, int, Path]]] = {}
        for number, path in enumerate(paths):
            origin, first = _whose(path)
            logs.setdefault(origin or f"\0{number}", []).append((first, number, path))
        progress.begin("files", sum(path.stat().st_size for path in paths))
        walks = []
        for log in logs.values():
            walk = LogWalk(trust, progress=progress, digests=digests)
            for *_, path in sorted(log):
                with path.open("rb") as file:
                    walk.feed_file(file)
            walks.append(walk)
        return [walk.verdict() for walk in walks]
    except OSError as error:
        raise SourceUnreadableError(f"{error.filename}: {error.strerror}") from error


def claimed_origins(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """The files with the origins they claim, which may be lies, those of one log in order.

    Raises:
        SourceUnreadableError: a file cannot be read at all.
    """
    try:
        claimed = [(*_whose(path), path) for path in paths]
    except OSError as error:
        raise SourceUnreadableError(f"{error.filename}: {error.strerror}") from error
    return [(origin, path) for origin, _, path in sorted(claimed)]


def _whose(path: Path) -> tuple[str, int]:
    """The origin and first index a file claims; it may lie, the walk will tell."""
    with path.open("rb") as file, suppress(BreakError, DecodeError):
        reader = SegmentReader(file)
        begins_with: AuditValue | None = reader.opening
        if begins_with is None:
            rows = next(reader.batches(), [])
            begins_with = decode_audit_value(rows[0].value or b"") if rows else None
        if isinstance(begins_with, Checkpoint):
            return begins_with.note.partition("\n")[0], reader.first
    return "", 0
