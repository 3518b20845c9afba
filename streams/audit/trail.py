"""What valid history is: THE one definition, for every reader (formats §2, §9).

A `Trail` is fed the committed records of one audit partition in order. It hashes every record
again, folds the tree, opens every checkpoint, and calls what is wrong by kind and leaf index. Of
what went by it keeps the tail's leaf hashes, nothing else.

    trail = Trail(keys=keys)
    for record in records:
        trail.feed(record)      # raises BreakError
    trail.finish()

A verifier that wants the later breaks too gives `on_break`; where that returns, the trail goes on
as far as it safely can: an unusable checkpoint is passed over, and behind records it cannot
account for the trail stands on the next checkpoint that folds to its own root.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record, Source
from streams.audit.anchoring import AnchorWalk
from streams.audit.checkpoint import (
    CheckpointText,
    LogName,
    check_signatures,
    claimed_frontier,
    parse_checkpoint,
    parse_log_name,
)
from streams.audit.leaf import leaf_hash
from streams.audit.merkle import EMPTY_ROOT, Frontier
from streams.audit.note import MalformedError, TrustedKeys
from streams.audit.record_checks import UsualRecords, fault_of
from streams.audit.runs import Part, Run, runs_of
from streams.audit.seal import Opened, Seal
from streams.audit.tail import Tail
from streams.errors import BreakError

__all__ = ["Seal", "Trail"]

NOT_ITS_LEAF = "the record does not hash to the leaf it carries"


def _raise(found: BreakError) -> NoReturn:
    raise found


class Trail:
    """The walk through one log, from genesis or from an opening.

    After a BreakError that `on_break` raised it must not be fed again.

    Attributes:
        origin: the log; None until the first checkpoint named it.
        records: audit records fed, whatever was found of them.
        checkpoints: good checkpoints fed.
    """

    def __init__(
        self,
        origin: str | None = None,
        keys: TrustedKeys | None = None,
        opening: Checkpoint | None = None,
        *,
        anchors: Iterable[CheckpointText] = (),
        on_break: Callable[[BreakError], None] = _raise,
    ) -> None:
        """Begin before genesis, or behind `opening`.

        Args:
            origin: the log that is expected; None takes it from the first checkpoint.
            keys: whose signatures checkpoints must bear; None checks shape and roots alone.
            opening: a checkpoint that this history continues; it is verified as any other.
            anchors: checkpoints kept elsewhere; of other logs, or below the opening, ignored.
            on_break: told of every break.

        Raises:
            MalformedError: `origin` names no audit partition.
            BreakError: the opening is no good checkpoint of this log.
        """
        self.origin: str | None = None
        self.records = self.checkpoints = 0
        self._keys = keys
        self._anchors = AnchorWalk(anchors)
        self._on_break = on_break
        self._last: Opened | None = None
        self._tail = Tail(Frontier())
        self._name: LogName | None = None
        self._usual: UsualRecords | None = None  # until the log is known and has begun
        self._began = False
        self._unreadable_at = -1
        self._is_doubted = False
        self._in_file = False
        self._source_offset = self._record_offset = self._checkpoint_offset = -1
        if origin is not None:
            self._call(origin)
        if opening is not None:
            self._open_at(opening)

    @property
    def size(self) -> int:
        """The size of the last good checkpoint, 0 before any."""
        return 0 if self._last is None else self._last.text.size

    @property
    def root(self) -> bytes:
        """The root of the last good checkpoint."""
        return EMPTY_ROOT if self._last is None else self._last.text.root

    @property
    def newest(self) -> Checkpoint | None:
        """The last good checkpoint."""
        return self._last and self._last.checkpoint

    @property
    def due(self) -> int:
        """The index of the next audit record."""
        return self._tail.due

    @property
    def tail(self) -> int:
        """How many records no checkpoint covers yet."""
        return self._tail.due - self._tail.first

    @property
    def anchors_compared(self) -> Sequence[CheckpointText]:
        """The anchors that could be compared with this history."""
        return self._anchors.compared

    def feed(self, record: Record) -> AuditRecord | Seal | None:
        """Take the next committed record of the partition.

        Returns:
            The audit record, decoded, or what its checkpoint sealed; None where `on_break` was
            told that the record is neither.

        Raises:
            BreakError: by formats §9, unless `on_break` does otherwise.
        """
        content = self._take_usual(record)
        if content is None:
            return self._take(record)
        assert self._name is not None
        source = Source(self._name[1], self._name[2], self._source_offset, record.timestamp)
        return AuditRecord(self._tail.due - 1, source, content, self._tail.leaves[-1])

    def feed_all(self, records: Sequence[Record]) -> None:
        """Feed many, where only the verdict matters."""
        self.feed_parts(runs_of(records), lambda: records)

    def feed_parts(self, parts: Iterable[Part], records: Callable[[], Sequence[Record]]) -> None:
        """Feed what `runs_of` made of `records`; they are asked for where a run does not fit."""
        at = 0
        for part in parts:
            end = at + (len(part.leaves) if isinstance(part, Run) else 1)
            if not isinstance(part, Run):
                self._take(part)
            elif not self._take_run(part):
                for record in records()[at:end]:
                    self._take(record)
            at = end

    def begin_file(self, first: int, opening: Checkpoint | None) -> None:
        """Begin a segment file: audit offsets start anew, records and checkpoints apart.

        Args:
            first: the index the file begins at.
            opening: the checkpoint it says the file before closed with.

        Raises:
            BreakError: the file does not join what was fed, or its opening is not good.
        """
        joined = self._began
        self._in_file = True
        self._record_offset = self._checkpoint_offset = -1
        if not joined and opening is None:
            if first:
                self._break("sequence", 0, f"the file begins at {first} and has no opening")
        elif not joined or first != self.due:
            if joined and self._unreadable_at != self.due:
                self._break("sequence", self.due, f"the file joined here begins at {first}")
            if opening is not None:
                self._open_at(opening)
        elif self._last is None or opening != self._last.checkpoint:
            self._break("altered", first, "the opening is not the checkpoint before")

    def lose_track(self) -> None:
        """Say that something could not be read: the next index may be any that is not too low."""
        self._unreadable_at = self.due

    def end_file(self) -> None:
        """End a segment file. Raises BreakError where it does not end sealed."""
        if self.tail:
            detail = f"the file ends with {self.tail} records that no checkpoint in it covers"
            self._break("unsealed_tail", self.size, detail)

    def finish(self) -> None:
        """Say that nothing follows. Raises BreakError as `feed` does."""
        tail = self._tail
        for index in list(tail.stored)[:1]:
            self._break("altered", index, NOT_ITS_LEAF)
        self._pass_anchors(tail.frontier, tail.leaves if tail.accounted else [], self.due)
        if self.origin is not None:
            for found in self._anchors.end(self.due):
                self._on_break(found)

    def _take_usual(self, record: Record) -> bytes | None:
        """Take a record that is byte for byte what was due; its content, or None."""
        offset, timestamp, key, value, headers = record
        usual, tail = self._usual, self._tail
        if usual is None or key is not None or headers or offset <= self._record_offset:
            return None
        source_offset = self._source_offset + 1
        found = usual.content_and_leaf(value, tail.due, source_offset, timestamp)
        if found is None or value is None or not tail.has_room((len(value),)):
            return None
        content, leaf = found
        tail.append(leaf, leaf, len(value))
        self._source_offset = source_offset
        self._record_offset = offset
        self.records += 1
        return content

    def _take_run(self, run: Run) -> bool:
        """Take a run if every record of it is what was due, else nothing of it."""
        name, tail = self._name, self._tail
        belongs = (
            self._began
            and name is not None
            and name[1:3] == (run.topic, run.partition)
            and run.index == tail.due
            and run.source_offsets[0] > self._source_offset
            and run.offsets[0] > self._record_offset
            and tail.has_room(run.lengths)
        )
        if belongs:
            tail.extend(run.leaves, run.lengths)
            self.records += len(run.leaves)
            self._source_offset, self._record_offset = run.source_offsets[1], run.offsets[1]
        return belongs

    def _take(self, record: Record) -> AuditRecord | Seal | None:
        try:
            value = decode_audit_value(record.value or b"")
        except DecodeError as error:
            self._break("altered", self.due, f"unreadable value at {record.offset}: {error}")
            self.lose_track()
            return None
        if isinstance(value, Checkpoint):
            return self._take_checkpoint(record.offset, value)
        return self._take_record(record, value)

    def _take_record(self, record: Record, value: AuditRecord) -> AuditRecord | None:
        tail = self._tail
        self.records += 1
        if not self._began:
            self._break("sequence", 0, "the log does not begin with a checkpoint of size 0")
            self._began = True
        if value.index != tail.due:
            if self._unreadable_at != tail.due:
                self._break("sequence", tail.due, f"here comes a record of index {value.index}")
            if value.index < tail.due:
                return None
            tail.restart(value.index)
        self._check_order(record, value)
        fault = fault_of(record, value, self._name)
        if fault is not None:
            self._break("altered", value.index, fault)
        leaf = leaf_hash(value.index, value.source, value.content)
        length = len(record.value or b"")
        if not tail.has_room((length,)):
            detail = f"no checkpoint behind {len(tail.leaves)} records of {tail.bytes} bytes"
            self._break("unsealed_tail", self.size, detail)
            tail.shrink()
        tail.append(leaf, value.leaf, length)
        return value

    def _check_order(self, record: Record, value: AuditRecord) -> None:
        offset = value.source.offset
        if 0 <= offset <= self._source_offset:
            detail = f"source offset {offset} comes behind {self._source_offset}"
            self._break("sequence", value.index, detail)
        if record.offset <= self._record_offset:
            detail = f"audit offset {record.offset} comes behind {self._record_offset}"
            self._break("sequence", value.index, detail)
        self._source_offset, self._record_offset = offset, record.offset

    def _take_checkpoint(self, offset: int, checkpoint: Checkpoint) -> Seal | None:
        opened = self._opened(checkpoint, self.size)
        if opened is None:
            self._pass_over_first()
            return None
        behind = self._checkpoint_offset
        if not self._in_file:
            behind = max(behind, self._record_offset)
            self._record_offset = offset
        if offset <= behind:
            detail = f"the audit offset {offset} of a checkpoint comes behind {behind}"
            self._break("sequence", self.size, detail)
        self._checkpoint_offset = offset
        if not self._is_next(opened):
            return None
        claimed = self._claimed(opened, self.size)
        if claimed is None:
            return None
        first, settled = self.size, self._tail.settle(claimed)
        # Where a record of these was found wrong, that its leaf does not fold is no news.
        if settled.altered is not None and (settled.is_folded or not self._is_doubted):
            self._break("altered", *settled.altered)
        self._is_doubted = False
        self._begin(opened)
        self.checkpoints += 1
        origin, size, root = opened.text
        before = Frontier.of(first, settled.before)
        self._pass_anchors(before, settled.leaves, size - 1)
        self._pass_anchors(claimed, [], size)
        return Seal(origin, first, size, root, settled.before, settled.leaves, checkpoint)

    def _open_at(self, opening: Checkpoint) -> None:
        """Stand on a checkpoint that other history leads to."""
        opened = self._opened(opening, None)
        claimed = opened and self._claimed(opened, opened.text.size)
        if opened is None or claimed is None:
            self._pass_over_first()
            return
        self._begin(opened)
        self._tail = Tail(claimed)
        self._pass_anchors(claimed, [], claimed.size)

    def _opened(self, checkpoint: Checkpoint, at: int | None) -> Opened | None:
        """Text, origin, signature; breaks are named `at`, an opening's by its own size."""
        try:
            text, note = parse_checkpoint(checkpoint.note, at=at or 0)
            if self.origin is None:
                self._call(text.origin)
        except (BreakError, MalformedError) as error:
            self._break("altered", at or 0, getattr(error, "detail", str(error)))
            return None
        at = text.size if at is None else at
        if text.origin != self.origin:
            self._break("bad_signature", at, f"a checkpoint of {text.origin!r}")
            return None
        if self._keys is not None:
            try:
                check_signatures(note, text, self._keys, at=at)
            except BreakError as error:
                self._on_break(error)
        return Opened(text, frozenset(note.lines), checkpoint)

    def _is_next(self, opened: Opened) -> bool:
        last, size = self._last, opened.text.size
        if last is not None and size <= last.text.size:
            if size == last.text.size and opened.text.root != last.text.root:
                self._break("fork", self.size, f"two roots of size {size} are signed")
                return False
            if size < last.text.size or opened.lines == last.lines:
                detail = f"a checkpoint of size {size} comes behind one of {last.text.size}"
                self._break("sequence", self.size, detail)
                return False
        elif size > self.due:
            detail = f"a checkpoint of size {size} comes behind {self.due} records"
            self._break("sequence", self.due, detail)
        return True

    def _claimed(self, opened: Opened, at: int) -> Frontier | None:
        try:
            return claimed_frontier(opened.text, opened.checkpoint.frontier, at=at)
        except BreakError as error:
            self._on_break(error)
            return None

    def _begin(self, last: Opened) -> None:
        self._last, self._began = last, True
        if self._usual is None and self._name is not None:
            self._usual = UsualRecords(self._name.topic, self._name.partition)

    def _pass_anchors(self, before: Frontier, leaves: list[bytes], size: int) -> None:
        for found in self._anchors.pass_by(before, leaves, size):
            self._on_break(found)

    def _call(self, origin: str) -> None:
        name = parse_log_name(origin)
        self.origin, self._name = origin, name
        self._anchors.keep(origin)

    def _pass_over_first(self) -> None:
        """Without a checkpoint to stand on, expect any index until the next one."""
        if not self._began:
            self._began = True
            self.lose_track()

    def _break(self, kind: str, index: int, detail: str) -> None:
        blamed = next(iter(self._tail.stored), index)
        if blamed < index:
            # What is wrong here may follow from a record before that is known to be altered.
            self._on_break(BreakError("altered", blamed, NOT_ITS_LEAF))
        self._is_doubted |= kind in {"altered", "sequence"}
        self._on_break(BreakError(kind, index, detail))
