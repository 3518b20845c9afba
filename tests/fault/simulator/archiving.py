"""A keeper of segments and anchors, as the archive is one: what is sealed stands outside Kafka.

Several of them meet at the same names; whoever finds a segment there goes on behind it.
"""

from collections.abc import Iterator, Sequence

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.anchors import AnchorStore
from streams.audit.checkpoint import open_note
from streams.ports import ObjectStore
from streams.segments import encode_segment, read_segment, segment_name
from tests.fault.simulator.adapters import immediate

__all__ = ["Archiver", "archived_size"]


class Archiver:
    """Keeps what it is shown of one log."""

    def __init__(self, anchors: AnchorStore, origin: str) -> None:
        self._anchors, self._origin = anchors, origin
        self._closing: Checkpoint | None = None

    async def archive(self, rows: Sequence[Record]) -> None:
        """Keep the log up to its last checkpoint. Raises what the store raises."""
        values = list(_readable(rows))
        notes = [value for _, value in values if isinstance(value, Checkpoint)]
        if not notes:
            return
        newest = notes[-1]
        first, end = _size(self._origin, self._closing), _size(self._origin, newest)
        if end <= first:
            return
        kept = [row for row, value in values if self._is_within(value, first, end)]
        name = segment_name(self._origin, first)
        data = await self._anchors.objects.get(name)
        if data is None:
            data = encode_segment(self._origin, first, self._closing, kept)
            await self._anchors.objects.create(name, data, retain_days=1)
        self._closing = _closing(data, first)
        await self._anchors.put(
            self._origin, _size(self._origin, self._closing), self._closing.note
        )

    def _is_within(self, value: AuditRecord | Checkpoint, first: int, end: int) -> bool:
        if isinstance(value, AuditRecord):
            return first <= value.index < end
        size = _size(self._origin, value)
        return first < size <= end or (size == first == 0)


def _readable(rows: Sequence[Record]) -> Iterator[tuple[Record, AuditRecord | Checkpoint]]:
    for row in rows:
        try:
            yield row, decode_audit_value(row.value or b"")
        except DecodeError:
            return  # nothing behind it is archived


def archived_size(store: ObjectStore, origin: str) -> int:
    """How many leaves segments hold."""
    size = 0
    while (data := immediate(store.get(segment_name(origin, size)))) is not None:
        size = _size(origin, _closing(data, size))
    return size


def _closing(data: bytes, first: int) -> Checkpoint:
    value = decode_audit_value(read_segment(data, first=first).rows[-1].value or b"")
    assert isinstance(value, Checkpoint)
    return value


def _size(origin: str, checkpoint: Checkpoint | None) -> int:
    return 0 if checkpoint is None else open_note(checkpoint.note, origin, None).size
