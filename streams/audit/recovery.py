"""The end of a log, as a sealer needs it: the last checkpoint and everything behind it.

Pure. A sealer reads an audit partition backwards in growing windows until `log_tail` has the last
checkpoint and every record of index >= its size - 1 in hand. Records a checkpoint does not cover
may lie before it (formats §2), so the last checkpoint alone is not enough.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import open_note, parse_checkpoint, parse_log_name
from streams.audit.leaf import leaf_hash
from streams.audit.merkle import Frontier
from streams.audit.note import MalformedError, TrustedKeys
from streams.errors import BreakError

__all__ = ["LogTail", "log_tail"]


class LogTail(NamedTuple):
    """The end of a log.

    Attributes:
        signed: the compact range under the last checkpoint.
        records: the last signed record, if there is one, then the tail; dense, in order.
        committed: the compact range over everything committed.
        timestamp: the Kafka timestamp of the last committed record, 0 without one.
        note: the last checkpoint's.
    """

    signed: Frontier
    records: list[AuditRecord]
    committed: Frontier
    timestamp: int
    note: str

    def root_at(self, size: int) -> bytes | None:
        """The root over the first `size` leaves; None below the checkpoint or past the end."""
        if not self.signed.size <= size <= self.committed.size:
            return None
        frontier = self.signed.copy()
        frontier.extend(r.leaf for r in self.records if self.signed.size <= r.index < size)
        return frontier.root()


def log_tail(
    rows: Sequence[Record], origin: str, keys: TrustedKeys | None, *, whole: bool
) -> LogTail | None:
    """The tail, from the last rows of an audit partition.

    Args:
        rows: committed records up to the end of the partition, in order.
        origin: the log's origin.
        keys: whose signature the checkpoint must bear; None checks no signature.
        whole: `rows` begin at the start of the partition.

    Returns:
        None where `rows` do not reach back far enough, or, if `whole`, hold no record at all.

    Raises:
        BreakError: the end of the log breaks a rule of formats §2.
    """
    values = [_decoded(row) for row in rows]
    notes = [value for value in values if isinstance(value, Checkpoint)]
    records = [value for value in values if isinstance(value, AuditRecord)]
    if not notes:
        if whole and rows:
            raise BreakError("sequence", 0, "the log does not begin with a checkpoint of size 0")
        return None
    _check_rising(notes)
    signed = _signed(notes[-1], origin, keys)
    needed = [r for r in records if r.index >= signed.size - 1]
    if signed.size and not (needed and needed[0].index == signed.size - 1):
        if whole:
            raise BreakError("sequence", signed.size - 1, "the last signed record is missing")
        return None
    timestamp = max(needed[-1].source.timestamp, 0) if needed else 0
    committed = _committed(origin, signed, needed)
    return LogTail(signed, needed, committed, timestamp, notes[-1].note)


def _check_rising(notes: Sequence[Checkpoint]) -> None:
    """No checkpoint is smaller than one before it (formats §2)."""
    largest = 0
    for checkpoint in notes:
        try:
            text, _ = parse_checkpoint(checkpoint.note)
        except MalformedError as error:
            raise BreakError("altered", largest, f"a checkpoint: {error}") from error
        if text.size < largest:
            detail = f"a checkpoint of size {text.size} stands behind one of size {largest}"
            raise BreakError("sequence", largest, detail)
        largest = text.size


def _committed(origin: str, signed: Frontier, records: Sequence[AuditRecord]) -> Frontier:
    name, committed, offset = parse_log_name(origin), signed.copy(), -1
    for position, record in enumerate(records, max(signed.size - 1, 0)):
        source = record.source
        if (source.topic, source.partition) != (name.topic, name.partition):
            found = f"{source.topic}/{source.partition}"
            raise BreakError("altered", position, f"a record of {found} in the log of {origin}")
        if source.offset <= offset:
            detail = f"source offset {source.offset} behind {offset}"
            raise BreakError("sequence", position, detail)
        offset = source.offset
        if record.index != position:
            raise BreakError("sequence", position, f"found a record of index {record.index}")
        if leaf_hash(record.index, record.source, record.content) != record.leaf:
            raise BreakError("altered", position, "the record does not hash to its leaf")
        if position >= signed.size:
            committed.append(record.leaf)
    return committed


def _decoded(row: Record) -> AuditRecord | Checkpoint:
    try:
        return decode_audit_value(row.value or b"")
    except DecodeError as error:
        raise BreakError(
            "altered", 0, f"unreadable value at offset {row.offset}: {error}"
        ) from error


def _signed(checkpoint: Checkpoint, origin: str, keys: TrustedKeys | None) -> Frontier:
    text = open_note(checkpoint.note, origin, keys)
    try:
        frontier = Frontier.of(text.size, checkpoint.frontier)
    except ValueError as error:
        raise BreakError(
            "altered", text.size, f"the last checkpoint's frontier: {error}"
        ) from error
    if frontier.root() != text.root:
        raise BreakError("altered", text.size, "the last checkpoint's frontier gives another root")
    return frontier
