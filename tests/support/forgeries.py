"""What a trail finds in forged rows, and ways to forge them."""

from collections.abc import Callable, Sequence

from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.leaf import leaf_hash
from streams.audit.merkle import Frontier
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import BreakError
from tests.support.signed_logs import KEY, ORIGIN, SignedLog, positions, rewritten

Break = tuple[str, int]
Change = Callable[[AuditRecord], AuditRecord]

TRUSTED = KEY.trusted()


def breaks_of(
    rows: Sequence[Record],
    keys: TrustedKeys | None = TRUSTED,
    *,
    origin: str | None = ORIGIN,
    anchors: Sequence[CheckpointText] = (),
) -> list[Break]:
    """The first break of each kind, by index.

    Fed one by one, a trail that raises must stop at the first break that one fed as a whole
    tells.
    """
    told: list[Break] = []
    patient = Trail(
        origin, keys, anchors=anchors, on_break=lambda b: told.append((b.kind, b.index))
    )
    patient.feed_all(rows)
    patient.finish()
    strict = Trail(origin, keys, anchors=anchors)
    stopped: list[Break] = []
    try:
        for row in rows:
            strict.feed(row)
        strict.finish()
    except BreakError as error:
        stopped = [(error.kind, error.index)]
    assert stopped == told[:1]
    kinds: dict[str, int] = {}
    for kind, index in told:
        kinds.setdefault(kind, index)
    return sorted(kinds.items(), key=lambda one: one[1])


def anchor(log: SignedLog, size: int, origin: str = ORIGIN) -> CheckpointText:
    """What somebody outside kept of a log."""
    frontier = Frontier()
    frontier.extend(log.leaves[:size])
    return CheckpointText(origin, size, frontier.root())


def changed(rows: Sequence[Record], index: int, change: Change) -> list[Record]:
    """The rows with the record of one leaf index changed."""
    where = positions(rows)[index]
    return [*rows[:where], rewritten(rows[where], change), *rows[where + 1 :]]


def source(name: str, value: object) -> Change:
    """Another topic, partition, offset or timestamp."""
    return lambda r: r._replace(source=r.source._replace(**{name: value}))  # type: ignore[arg-type]


def fitting(change: Change) -> Change:
    """As a forger does who knows the format: the stored leaf hash fits the changed record."""

    def forge(record: AuditRecord) -> AuditRecord:
        new = change(record)
        return new._replace(leaf=leaf_hash(new.index, new.source, new.content))

    return forge


def flipped(record: AuditRecord) -> AuditRecord:
    """One bit of the content changed."""
    content = bytearray(record.content)
    content[20] ^= 1
    return record._replace(content=bytes(content))
