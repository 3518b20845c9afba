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

from binascii import b2a_base64
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NamedTuple, NoReturn

from schemas.audit_values import (
    AUDIT_RECORD_HEAD,
    decode_audit_value,
    decode_content,
    is_usual_plain,
)
from schemas.canonical import LONG_MAX, encode_bytes, encode_long
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import (
    CheckpointText,
    LogName,
    check_signatures,
    parse_checkpoint,
    parse_log_name,
)
from streams.audit.leaf import ENTRY_HEADER, LEAF_PREFIX, leaf_hash
from streams.audit.merkle import EMPTY_ROOT, Frontier
from streams.audit.note import MalformedError, Note, SignatureLine, TrustedKeys
from streams.audit.sealing import TAIL_BYTES_MAX, TAIL_RECORDS_MAX
from streams.audit.tail import Tail
from streams.errors import BreakError

__all__ = ["Seal", "Trail"]

HASH_BYTES = 32
USUAL_CONTENT_MIN = 133
USUAL_CONTENT_MAX = 8191  # a length of two bytes
ENTRY_START = LEAF_PREFIX + ENTRY_HEADER
UNKNOWN_SOURCE = b"\x01"  # no record has a topic of length -1


class Seal(NamedTuple):
    """What one good checkpoint newly covers: the leaves [first, size).

    Attributes:
        origin: the log.
        first: the size of the checkpoint before; equal to `size` for a rotation's second one.
        size: the checkpoint's size.
        root: its root hash.
        before: the compact range [0, first); with `leaves` it gives inclusion proofs.
        leaves: the leaf hashes of [first, size).
        checkpoint: the checkpoint as it was read.
    """

    origin: str
    first: int
    size: int
    root: bytes
    before: tuple[bytes, ...]
    leaves: list[bytes]
    checkpoint: Checkpoint


class _Last(NamedTuple):
    """The last good checkpoint."""

    text: CheckpointText
    lines: frozenset[SignatureLine]
    checkpoint: Checkpoint


def _raise(found: BreakError) -> NoReturn:
    raise found


class Trail:
    """The walk through one log, from genesis or from an opening.

    After a BreakError it must not be fed again, unless it came from `on_break`'s own choice not
    to raise.

    Attributes:
        origin: the log; None until the first checkpoint named it.
        records: audit records fed.
        checkpoints: good checkpoints fed.
        anchors_compared: how many anchors could be compared with this history.
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
            anchors: checkpoints kept elsewhere, opened by the caller. Those of other logs, and
                those below the opening, say nothing.
            on_break: told of every break.

        Raises:
            MalformedError: `origin` names no audit partition.
            BreakError: the opening is no good checkpoint of this log.
        """
        self.origin: str | None = None
        self.records = self.checkpoints = self.anchors_compared = 0
        self._keys = keys
        self._anchors = sorted(anchors, key=lambda anchor: anchor.size, reverse=True)
        self._agreed = 0
        self._on_break = on_break
        self._last: _Last | None = None
        self._tail = Tail(Frontier())
        self._name = LogName("", "", -1, 0)
        self._source, self._coordinates = UNKNOWN_SOURCE, b""
        self._began = False
        self._in_file = False
        self._source_offset = self._record_offset = self._checkpoint_offset = -1
        if origin is not None:
            self._call(origin)
        if opening is not None:
            self._open_at(opening)

    @property
    def size(self) -> int:
        """The size of the last good checkpoint, 0 before any."""
        return self._tail.frontier.size

    @property
    def root(self) -> bytes:
        """The root of the last good checkpoint."""
        return EMPTY_ROOT if self._last is None else self._last.text.root

    @property
    def due(self) -> int:
        """The index of the next audit record."""
        return self._tail.due

    @property
    def tail(self) -> int:
        """How many records no checkpoint covers yet."""
        return self._tail.due - self._tail.first

    @property
    def source_offset(self) -> int:
        """The source offset of the last audit record, -1 before any."""
        return self._source_offset

    def feed(self, record: Record) -> AuditRecord | Seal | None:
        """Take the next committed record of the partition.

        Returns:
            The audit record, decoded, or what its checkpoint sealed; None where `on_break` was
            told that the record is neither.

        Raises:
            BreakError: by formats §9, unless `on_break` does otherwise.
        """
        try:
            value = decode_audit_value(record.value or b"")
        except DecodeError as error:
            self._break("altered", self.due, f"unreadable value at {record.offset}: {error}")
            self._tail.restart(self.due)
            return None
        if isinstance(value, Checkpoint):
            return self._take_checkpoint(record.offset, value)
        return self._take_record(record, value)

    def feed_all(self, records: Iterable[Record]) -> None:
        """Feed many, where only the verdict matters: four times as fast."""
        take_usual, feed = self._take_usual, self.feed
        for record in records:
            if not take_usual(record):
                feed(record)

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
            if joined:
                self._break("sequence", self.due, f"the file joined here begins at {first}")
            if opening is not None:
                self._open_at(opening)
        elif self._last is None or opening != self._last.checkpoint:
            self._break("altered", first, "the opening is not the checkpoint before")

    def end_file(self) -> None:
        """End a segment file. Raises BreakError where it does not end sealed."""
        if self.tail:
            detail = f"the file ends with {self.tail} records that no checkpoint in it covers"
            self._break("unsealed_tail", self.size, detail)

    def finish(self) -> None:
        """Say that nothing follows. Raises BreakError as `feed` does."""
        tail = self._tail
        if tail.stored:
            index = min(tail.stored)
            self._break("altered", index, "the record does not hash to its leaf")
        self._compare_anchors(tail.frontier, tail.leaves if tail.accounted else [], tail.due)
        short = [a for a in self._anchors if a.origin == self.origin and a.size > self.due]
        self.anchors_compared += len(short)
        if short:
            detail = f"the log ends here, its anchor has {short[0].size} records"
            self._break("shorter_than_anchor", self.due, detail)
    ...
