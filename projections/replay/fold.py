"""What a replay reads, and which of the rows it reads are new to the staging log. Pure.

The rows of a log have one order here, wherever they are read: the opening the copy begins with,
if it does not begin with genesis; then each checkpoint right behind the last record it covers. In
an audit partition records may lie before a checkpoint that does not cover them, and an archive's
segments may divide them; so both are put into this order before anything is written. Then the end
of a staging log says exactly how far it is.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.audit_values import CHECKPOINT_HEAD, decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, AuditValue, Record
from streams.audit.checkpoint import parse_checkpoint
from streams.errors import BreakError

__all__ = [
    "Continuation",
    "LogPlan",
    "Piece",
    "Staged",
    "StagedEnd",
    "StoredSegment",
    "beginning",
    "in_order",
    "plan_archived",
    "staged_end",
    "upto",
]

RECORDS_A_SECOND = 40_000  # what a restore is held to; a slower network takes longer
WITHOUT_SEGMENT = "{} to {}: no segment holds these records"


class StoredSegment(NamedTuple):
    """A segment as it is listed: its first index, the size it closes at, its length in bytes.

    `size` is 0 where no manifest says it yet.
    """

    first: int
    size: int
    segment_bytes: int


class LogPlan(NamedTuple):
    """What a replay of one log reads.

    Attributes:
        origin: the log.
        begin: the index that was asked for.
        first: the index the copy begins at: that of a checkpoint at or below `begin`.
        size: the size it ends at, by what the source says now.
        segments: archived segments to read; 0 where the log itself is read.
        segment_bytes: their bytes.
        missing: what is not there, one sentence each.
    """

    origin: str
    begin: int
    first: int
    size: int
    segments: int = 0
    segment_bytes: int = 0
    missing: tuple[str, ...] = ()

    def ended(self, size: int | None) -> "LogPlan":
        """The same where the operator ended the log at `size`: what is behind that is void."""
        return self if size is None else self._replace(size=min(self.size, size))

    @property
    def records(self) -> int:
        """Audit records to read."""
        return max(self.size - self.first, 0)

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.records / RECORDS_A_SECOND


def plan_archived(origin: str, stored: Iterable[StoredSegment], begin: int) -> LogPlan:
    """The plan of a log that is archived as `stored`, from the segment that holds `begin` on."""
    segments = sorted(stored)
    held = [segment for segment in segments if segment.first <= begin]
    needed = segments[len(held) - 1 :] if held else segments
    due = begin if not held else needed[0].first
    missing = []
    for segment in needed:
        if segment.first > due:
            missing.append(WITHOUT_SEGMENT.format(due, segment.first - 1))
        # A segment whose manifest was not written yet says its end when it is read.
        due = max(due, segment.size, segment.first)
    if needed and not needed[-1].size:
        missing.append(f"from {needed[-1].first} on: a segment without manifest, read as it is")
    if not needed or (begin > due and needed[-1].size):
        missing.append(f"{origin} is archived up to {due}, and {begin} was asked for")
        needed, due = [], begin
    return LogPlan(
        origin=origin,
        begin=begin,
        first=needed[0].first if needed else begin,
        size=due,
        segments=len(needed),
        segment_bytes=sum(segment.segment_bytes for segment in needed),
        missing=tuple(missing),
    )


class Piece(NamedTuple):
    """Rows of a log, in order, all of them verified, and the size of the last checkpoint."""

    rows: list[Record]
    size: int


class Staged(NamedTuple):
    """The end of a staging log.

    Attributes:
        size: of its last checkpoint.
        note: that checkpoint's.
        tail: the values behind it.
    """

    size: int
    note: str
    tail: tuple[bytes, ...]

    @property
    def begin(self) -> int:
        """The index from which the source has to be read again to find this end in it."""
        return max(self.size - 1, 0)


class StagedEnd(NamedTuple):
    """What stands in a staging log: the index it begins at, and how it ends."""

    first: int
    last: Staged


def staged_end(rows: Sequence[Record]) -> Staged | None:
    """The end of a staging log, from its last rows; None where no checkpoint is among them.

    Raises:
        BreakError: a row that is none of a log.
    """
    for at in range(len(rows) - 1, -1, -1):
        if (rows[at].value or b"").startswith(CHECKPOINT_HEAD):
            note = _note_of(rows[at])
            tail = tuple(row.value or b"" for row in rows[at + 1 :])
            return Staged(_size_of(note), note, tail)
    return None


def beginning(row: Record) -> int:
    """The index a staging log begins at, by its first row, which is a checkpoint.

    Raises:
        BreakError: it is none.
    """
    if not (row.value or b"").startswith(CHECKPOINT_HEAD):
        raise BreakError("sequence", 0, "what stands there does not begin as a copy of a log does")
    return _size_of(_note_of(row))


def in_order(rows: Sequence[Record], first: int) -> list[Record]:
    """Rows of which the first audit record has the index `first`, as a staging log has them.

    They are verified: records are dense, and checkpoints rise.
    """
    records = [row for row in rows if not (row.value or b"").startswith(CHECKPOINT_HEAD)]
    if len(records) == len(rows):
        return records
    ordered: list[Record] = []
    taken = 0
    for row in rows:
        if (row.value or b"").startswith(CHECKPOINT_HEAD):
            upto = max(_size_of(_note_of(row)) - first, taken)
            ordered += records[taken:upto]
            ordered.append(row)
            taken = upto
    return ordered + records[taken:]


def upto(rows: list[Record], size: int | None) -> list[Record]:
    """Rows, in order, as far as the last checkpoint of at most `size` covers them; None: all."""
    if size is None:
        return rows
    for at in range(len(rows) - 1, -1, -1):
        is_checkpoint = (rows[at].value or b"").startswith(CHECKPOINT_HEAD)
        if is_checkpoint and _size_of(_note_of(rows[at])) <= size:
            return rows[: at + 1]
    return []


class Continuation:
    """Tells which rows lie behind the end of a staging log.

    The log is read again from a checkpoint before that end. Its last checkpoint must come by, word
    for word, and behind it the same rows that the staging log has there: else it is a copy of
    another history.
    """

    def __init__(self, staged: Staged | None) -> None:
        self._staged = staged
        self._tail = deque(staged.tail if staged else ())
        self._alike: list[Record] | None = None if staged is None else []

    def behind(self, rows: Iterable[Record]) -> list[Record]:
        """Those of the next rows, in order, that are new.

        Raises:
            BreakError: `fork`: the staging log holds what the source does not.
        """
        if self._alike is None and not self._tail:
            return list(rows)
        new: list[Record] = []
        for row in rows:
            if self._alike is None:
                new += self._next(row)
            else:
                new += self._sought(row, self._alike)
        return new

    def finish(self) -> list[Record]:
        """What is new when nothing follows. Raises as `behind`."""
        new = [] if self._alike is None else self._found(self._alike)
        if self._tail:
            raise self._fork("more records than its source")
        return new

    def _sought(self, row: Record, alike: list[Record]) -> list[Record]:
        assert self._staged is not None
        value = _decoded(row)
        if isinstance(value, AuditRecord):
            reached = value.index + 1
        else:
            reached = _size_of(value.note)
            if reached == self._staged.size:
                alike.append(row)
                return []
        if reached <= self._staged.size:
            return []
        return [*self._found(alike), *self._next(row)]

    def _found(self, alike: list[Record]) -> list[Record]:
        """What stands behind the last staged checkpoint among those of its size."""
        assert self._staged is not None
        notes = [_note_of(row) for row in alike]
        if self._staged.note not in notes:
            raise self._fork(f"another checkpoint of size {self._staged.size}")
        self._alike = None
        later = alike[notes.index(self._staged.note) + 1 :]
        return [new for row in later for new in self._next(row)]

    def _next(self, row: Record) -> list[Record]:
        if not self._tail:
            return [row]
        if row.value != self._tail.popleft():
            raise self._fork("another record")
        return []

    def _fork(self, what: str) -> BreakError:
        size = self._staged.size if self._staged else 0
        detail = f"the staging log holds {what}: it is no copy of this log; use another place"
        return BreakError("fork", size, detail)


def _decoded(row: Record) -> AuditValue:
    try:
        return decode_audit_value(row.value or b"")
    except DecodeError as error:
        raise BreakError("altered", 0, f"unreadable value at {row.offset}: {error}") from error


def _note_of(row: Record) -> str:
    value = _decoded(row)
    assert not isinstance(value, AuditRecord)
    return value.note


def _size_of(note: str) -> int:
    return parse_checkpoint(note)[0].size
