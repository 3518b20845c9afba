"""A sealed log in memory: what a read_committed reader sees of an audit partition."""

from collections import deque
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from projections.ports import Position, SealedBatch, SealedRecord
from schemas.audit_values import decode_audit_value
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import CheckpointText, make_note
from streams.audit.merkle import Frontier
from streams.audit.note import ED25519, TrustedKeys, Vkey
from streams.audit.sealing import checkpoint_record, plan_batch
from streams.audit.trail import Trail
from streams.ports import NewRecord

__all__ = ["BASE", "KEYS", "ORIGIN", "PUBLIC_KEY", "START_MS", "TOPIC", "SealedLog", "batches_of"]

BASE, TOPIC = "test.example", "authz.decisions"
ORIGIN = f"{BASE}/{TOPIC}/0"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
PUBLIC_KEY = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
KEYS = TrustedKeys([Vkey(BASE, ED25519, PUBLIC_KEY)])
NEW_KEY, NEW_SIGNATURE = b"\x08" * 32, bytes(64)  # of a key nobody trusts yet
START_MS = 1_760_000_000_000


class SealedLog:
    """Grows by records and by checkpoints; offsets have holes, as transactions leave them."""

    def __init__(self, salt: bytes = b"") -> None:
        self.rows: list[Record] = []
        self._salt = salt
        self._frontiers = [Frontier()]
        self._offset = 0
        self.checkpoint()

    @property
    def size(self) -> int:
        return len(self._frontiers) - 1

    def append(self, count: int, *, size: int = 20, start_ms: int = START_MS) -> None:
        """Records of `size` bytes, one a millisecond, in one transaction."""
        first = self.size
        source = [
            Record(3 * i, start_ms + i, b"k", self._salt + b"%d " % i + b"x" * size)
            for i in range(first, first + count)
        ]
        plan = plan_batch(self._frontiers[-1], TOPIC, 0, source)
        for record, leaf in zip(plan.records, plan.leaves, strict=True):
            frontier = self._frontiers[-1].copy()
            frontier.append(leaf)
            self._frontiers.append(frontier)
            self._commit(record)
        self._offset += 1

    def checkpoint(self, size: int | None = None, *, rotated: bool = False) -> Checkpoint:
        """A checkpoint over the first `size` records, all by default; `rotated`: two lines."""
        frontier = self._frontiers[self.size if size is None else size]
        text = CheckpointText(ORIGIN, frontier.size, frontier.root())
        note = make_note(text, ED25519, PUBLIC_KEY, KEY.sign(text.render().encode()))
        if rotated:
            new = make_note(text, ED25519, NEW_KEY, NEW_SIGNATURE)
            note += new.removeprefix(text.render() + "\n")
        last = self.rows[-1].timestamp if self.rows else 0
        self._commit(checkpoint_record(note, frontier, last))
        self._offset += 1
        return Checkpoint(note, frontier.nodes)

    def leaves(self) -> list[bytes]:
        values = (decode_audit_value(row.value or b"") for row in self.rows)
        return [value.leaf for value in values if isinstance(value, AuditRecord)]

    def _commit(self, record: NewRecord) -> None:
        self.rows.append(Record(self._offset, record.timestamp, None, record.value))
        self._offset += 1


def batches_of(
    log: SealedLog,
    position: Position | None = None,
    *,
    origin: str = ORIGIN,
    keys: TrustedKeys | None = KEYS,
) -> Iterator[SealedBatch]:
    """What the read loop hands to a projection that stands at `position`."""
    index, opening, offset = position or Position(0, None, None)
    trail = Trail(origin, keys, opening)
    pending: deque[SealedRecord] = deque()
    for row in log.rows:
        value = decode_audit_value(row.value or b"")
        reached = value.index + 1 if isinstance(value, AuditRecord) else _size(value)
        if row.offset < (offset or 0) or (opening is not None and reached <= index):
            continue
        fed = trail.feed(row)
        if isinstance(fed, AuditRecord):
            pending.append(SealedRecord(fed.index, fed.source, fed.content, fed.leaf, row))
        elif fed is not None:
            records = [pending.popleft() for _ in range(fed.size - fed.first)]
            yield SealedBatch(
                fed.origin,
                fed.first,
                fed.size,
                fed.root,
                fed.before,
                records,
                fed.checkpoint,
                row,
            )


def _size(checkpoint: Checkpoint) -> int:
    return int(checkpoint.note.split("\n")[1])
