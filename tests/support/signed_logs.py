"""Small signed logs, honest ones, and the means to forge them."""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.audit_values import (
    decode_audit_value,
    encode_audit_record,
    encode_checkpoint,
)
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import CheckpointText, make_note, parse_log_name
from streams.audit.merkle import Frontier
from streams.audit.note import ED25519, TrustedKeys, Vkey
from streams.audit.sealing import plan_batch

BASE = "audit.example.com/test"
TOPIC = "authz.decisions"
PARTITION = 2
ORIGIN = f"{BASE}/{TOPIC}/{PARTITION}"
FIRST_TIMESTAMP = 1_760_000_000_000


class Key:
    """An Ed25519 key of tests, by a word."""

    def __init__(self, word: str = "test") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(sha256(word.encode()).digest())
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def vkey(self, name: str = BASE) -> Vkey:
        return Vkey(name, ED25519, self.public)

    def trusted(self, name: str = BASE) -> TrustedKeys:
        return TrustedKeys([self.vkey(name)])

    def note(self, size: int, root: bytes, origin: str = ORIGIN) -> str:
        text = CheckpointText(origin, size, root)
        return make_note(text, ED25519, self.public, self.sign(text.render().encode()))


KEY = Key()


class SignedLog:
    """An audit partition in the making; `rows` is what a reader of it gets."""

    def __init__(self, key: Key = KEY, origin: str = ORIGIN) -> None:
        self.key = key
        self.origin = origin
        self.rows: list[Record] = []
        self.frontier = Frontier()
        self.leaves: list[bytes] = []
        self.next_source_offset = 100
        self._offset = 0
        self.checkpoint()

    def append(self, sources: Iterable[Record]) -> "SignedLog":
        """Seal source records, in a transaction of their own."""
        name = parse_log_name(self.origin)
        plan = plan_batch(self.frontier, name.topic, name.partition, list(sources))
        for new in plan.records:
            self.rows.append(Record(self._offset, new.timestamp, new.key, new.value))
            self._offset += 1
        self.frontier = plan.frontier
        self.leaves += plan.leaves
        self._offset += 1  # the transaction's marker
        return self

    def extend(self, count: int, size: int = 200) -> "SignedLog":
        """Seal `count` made-up records."""
        first = self.next_source_offset
        self.next_source_offset += count
        return self.append(
            Record(n, FIRST_TIMESTAMP + n, b"key-%d" % (n % 3), bytes([n % 256]) * size)
            for n in range(first, first + count)
        )

    def checkpoint(self, size: int | None = None, key: Key | None = None) -> "SignedLog":
        """Sign what is committed, or a lesser size of it."""
        frontier = Frontier()
        frontier.extend(self.leaves[: self.frontier.size if size is None else size])
        self.rows.append(self.checkpoint_row(frontier, key=key))
        self._offset += 2
        return self

    def checkpoint_row(self, frontier: Frontier, *, key: Key | None = None) -> Record:
        note = (key or self.key).note(frontier.size, frontier.root(), self.origin)
        return self.row(Checkpoint(note, frontier.nodes))

    def row(self, value: AuditRecord | Checkpoint, timestamp: int = 0) -> Record:
        """A record of the partition, at its end."""
        if isinstance(value, Checkpoint):
            return Record(self._offset, timestamp, None, encode_checkpoint(value))
        return Record(self._offset, timestamp, None, encode_audit_record(value))


def usual_log(key: Key = KEY) -> SignedLog:
    """Twelve sealed records under checkpoints of 0, 4, 8 and 12, and a tail of two."""
    log = SignedLog(key)
    for _ in range(3):
        log.extend(4).checkpoint()
    return log.extend(2)


def positions(rows: Sequence[Record]) -> dict[int, int]:
    """Where in `rows` the audit record of each leaf index stands."""
    values = [decode_audit_value(row.value or b"") for row in rows]
    return {v.index: at for at, v in enumerate(values) if isinstance(v, AuditRecord)}


def audit_record(row: Record) -> AuditRecord:
    value = decode_audit_value(row.value or b"")
    assert isinstance(value, AuditRecord)
    return value


def checkpoint_of(row: Record) -> Checkpoint:
    value = decode_audit_value(row.value or b"")
    assert isinstance(value, Checkpoint)
    return value


def rewritten(row: Record, change: Callable[[AuditRecord], AuditRecord]) -> Record:
    """The row with its audit record changed; the stored leaf hash is not fitted to it."""
    return row._replace(value=encode_audit_record(change(audit_record(row))))


def renumbered(rows: Iterable[Record]) -> list[Record]:
    """The rows with dense audit offsets, as a rewritten partition has them."""
    return [row._replace(offset=offset) for offset, row in enumerate(rows)]
