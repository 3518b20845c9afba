"""What must hold, checked at the moment of every durable write and again at the end.

- the log is a valid trail, and leaf i is the i-th committed record of the source: 0 lost, 0
  doubled, 0 out of order;
- only what is committed and posted is signed, and no two texts of one origin that were ever signed
  contradict each other, whether their transaction was committed or not;
- the tail keeps its limit; a position is of what is committed, never lowered and never ahead of
  what is sealed;
- a partition stops only where a damage gives the reason, and only by the word of one who may
  still write.

Damage changes what can be asked: `Damage` remembers which one came when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.audit_values import decode_audit_value, encode_content
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import EMPTY_ROOT, Frontier
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import BreakError
from streams.ports import Posted
from tests.fault.simulator.partition_log import PartitionLog

__all__ = ["LogLaws", "Signatures", "Violation"]


class Violation(AssertionError):
    """A law was broken; the text says which."""


Blame = Callable[[str], None]

# A stop is right for one of these reasons, once a damage of that name happened.
RIGHT_REASONS = {
    "trimmed": {"gap", "source_changed"},
    "position lost": {"gap"},
    "cut": {"source_changed", "gap"},
    "recreated": {"identity", "source_changed", "gap"},
    "compacted": {"policy", "source_changed"},
    "forked": {"forked"},
    "audit cut": {"rollback", "broken", "hanging_transaction", "source_changed", "gap"},
}
SOURCE_DAMAGES = {"cut", "recreated", "compacted"}


class Signatures:
    """Every text the signer signed, of one origin, and what was ever committed of it."""

    def __init__(self, blame: Blame) -> None:
        self._blame = blame
        self._before: dict[tuple[int, bytes], bytes] = {(0, EMPTY_ROOT): b""}
        self._signed: dict[int, bytes] = {0: EMPTY_ROOT}
        self.count = 0

    def committed(self, size: int, root: bytes, before: bytes) -> None:
        """A leaf made `root` of `before`."""
        self._before[size, root] = before

    def leads(self, later: tuple[int, bytes], earlier: tuple[int, bytes]) -> bool:
        """Whether the tree of `later` grew from that of `earlier`."""
        while later[0] > earlier[0] and later in self._before:
            later = (later[0] - 1, self._before[later])
        return later == earlier

    def signed(self, message: bytes) -> CheckpointText:
        """Take note of a text; it signs every prefix of it as well."""
        text = CheckpointText.parse(message.decode())
        self.count += 1
        size, root = text.size, text.root
        new: dict[int, bytes] = {}
        while size not in self._signed:
            new[size] = root
            before = self._before.get((size, root))
            if before is None:
                self._blame(f"signed what nobody committed: size {size}")
                return text
            size, root = size - 1, before
        if self._signed[size] != root:
            self._blame(f"two signed histories: size {text.size} has another leaf at {size - 1}")
        self._signed.update(new)
        return text


class _Leaf(NamedTuple):
    source_offset: int
    timestamp: int
    content: bytes


def leaf_of(record: Record) -> _Leaf:
    """What a leaf keeps of a source record."""
    return _Leaf(record.offset, record.timestamp, encode_content(record))


def _leaf_in(record: AuditRecord) -> _Leaf:
    return _Leaf(record.source.offset, record.source.timestamp, record.content)


@dataclass(slots=True)
class LogLaws:
    """The laws of one audit partition and its source."""

    origin: str
    source: PartitionLog
    keys: TrustedKeys
    signatures: Signatures
    tail_max: int
    blame: Blame
    claimed: Callable[[], int | None]  # the first offset, where this log has the claim
    archived: Callable[[], int] = lambda: 0  # leaves the archive has
    has_twin: bool = False  # another deployment uses the same origin
    damages: set[str] = field(default_factory=set)
    truth: list[_Leaf] = field(default_factory=list)  # what the source committed, in order
    ever: set[_Leaf] = field(default_factory=set)  # also what a damage took away since
    leaves: list[_Leaf] = field(default_factory=list)
    roots: list[bytes] = field(default_factory=lambda: [EMPTY_ROOT])
    signed_size: int = 0
    covered: set[tuple[int, bytes]] = field(default_factory=set)  # by what was posted
    lost: dict[int, _Leaf] = field(default_factory=dict)  # committed once, and cut away
    broken: str = ""
    has_begun: bool = False
    damaged_at: float = 0.0  # when the source was changed last
    cut_at: int | None = None  # the lowest offset it was cut at
    _first: int | None = None
    _trail: Trail = field(init=False)
    _frontier: Frontier = field(default_factory=Frontier)

    def __post_init__(self) -> None:
        self._trail = Trail(self.origin, None)

    # The source

    @property
    def first(self) -> int | None:
        """The source offset the claim begins at, None without one."""
        if self._first is None:
            self._first = self.claimed()
        return self._first

    def produced(self, record: Record) -> None:
        """A source record became readable."""
        leaf = leaf_of(record)
        self.truth.append(leaf)
        self.ever.add(leaf)

    def source_lost(self, low: int, records: Sequence[Record]) -> None:
        """A damage changed what the source holds from `low` on; what came before stays true."""
        kept = [leaf_of(record) for record in records]
        self.truth = [leaf for leaf in self.truth if leaf.source_offset < low] + kept
        self.ever.update(kept)

    @property
    def due(self) -> list[_Leaf]:
        """The records the log must hold in the end."""
        first = self.first or 0
        return [leaf for leaf in self.truth if leaf.source_offset >= first]

    @property
    def next_offset(self) -> int:
        """The first source offset behind the last leaf."""
        return self.leaves[-1].source_offset + 1 if self.leaves else self.first or 0

    def first_unsealed(self, size: int) -> int:
        """The first offset of a source record that is none of the first `size` leaves."""
        sealed = {leaf.source_offset: leaf for leaf in self.leaves[:size]}
        first = max(self.first or 0, self.source.start)
        for record in self.source.readable(first):
            if sealed.get(record.offset) != leaf_of(record):
                return record.offset
        return max(first, self.source.end)

    # The log

    def decided(self, rows: Sequence[Record]) -> None:
        """A transaction is committed: from now on this is history."""
        for row in rows:
            try:
                fed = self._trail.feed(row)
            except BreakError as found:
                self._break(str(found))
                return
            if isinstance(fed, AuditRecord):
                self._committed(fed)
        self.has_begun = True
        self.signed_size = self._trail.size
        if self._trail.tail > self.tail_max and "audit cut" not in self.damages:
            self.blame(f"a tail of {self._trail.tail} records, at most {self.tail_max}")

    def check(self, rows: Sequence[Record], keys: TrustedKeys | None = None) -> None:
        """Walk all that is readable once more, and compare it with what was committed."""
        if self.broken:
            return
        trail = Trail(self.origin, keys)
        try:
            fed = [trail.feed(row) for row in rows]
        except BreakError as found:
            self._break(str(found))
            return
        leaves = [_leaf_in(value) for value in fed if isinstance(value, AuditRecord)]
        if leaves != self.leaves[: len(leaves)]:
            self.blame("the log that is read is not the one that was committed")

    def rebuilt(self, rows: Sequence[Record]) -> None:
        """The log lost its end: walk what is left of it."""
        self.lost |= dict(enumerate(self.leaves))
        self._trail, self._frontier = Trail(self.origin, None), Frontier()
        self.leaves, self.roots, self.signed_size, self.broken = [], [EMPTY_ROOT], 0, ""
        self.has_begun = False
        self.decided(rows)
        self.has_begun = bool(rows)

    def sent(self, rows: Sequence[Record]) -> None:
        """Records of an open transaction are about to be lost, and may still be committed."""
        frontier, root = self._frontier.copy(), self.roots[-1]
        for row in rows:
            value = decode_audit_value(row.value or b"")
            if isinstance(value, AuditRecord) and value.index == frontier.size:
                frontier.append(value.leaf)
                self.signatures.committed(frontier.size, frontier.root(), root)
                root = frontier.root()

    def _committed(self, record: AuditRecord) -> None:
        at, leaf = record.source, _leaf_in(record)
        index = len(self.leaves)
        self.leaves.append(leaf)
        self._frontier.append(record.leaf)
        self.roots.append(self._frontier.root())
        self.signatures.committed(index + 1, self.roots[-1], self.roots[-2])
        if self.damages & SOURCE_DAMAGES:
            if leaf not in self.ever:
                self.blame(f"leaf {index} is of no record the source ever held")
            return
        first = self.first or 0
        skipped = len(self.truth) - len(self.due) if first else 0
        if index + skipped >= len(self.truth) or self.truth[index + skipped] != leaf:
            self.blame(f"leaf {index} is not the source's next record: offset {at.offset}")

    def _break(self, what: str) -> None:
        if "audit cut" not in self.damages:
            self.blame(f"the log is broken: {what}")
        self.broken = what

    # Signing, posting, stopping

    def signing(self, text: CheckpointText) -> None:
        if text.origin != self.origin:
            self.blame(f"signed for {text.origin}")
        asked = (text.size, text.root)
        if text.size and not any(self.signatures.leads(one, asked) for one in self.covered):
            self.blame(f"signed size {text.size} before it was posted")

    def accepted(self, new: Posted, old: Posted | None, *, is_late: bool) -> None:
        """A position was posted, perhaps by a request that was under way for long."""
        self.covered.add((new.size, new.root))
        if self.damages:
            return
        if new.size >= len(self.roots) or self.roots[new.size] != new.root:
            self.blame(f"posted size {new.size}, {len(self.leaves)} are committed")
            return
        left = [leaf for leaf in self.due[new.size :] if leaf.source_offset < new.offset]
        if left:
            self.blame(f"posted offset {new.offset} with size {new.size} passes unsealed records")
        if old is not None and new.size < old.size and not is_late:
            self.blame(f"the posted size was lowered from {old.size} to {new.size}")

    def stopped(self, reason: str, why: str, *, by_writer: bool) -> None:
        """A process pages."""
        if not by_writer:
            self.blame(f"a fenced zombie pages: {reason}: {why}")
        if self.has_twin and self.first is None and reason == "identity":
            return
        right = set().union(*(RIGHT_REASONS[damage] for damage in self.damages))
        if reason not in right or (reason == "rollback" and self._can_be_healed()):
            self.blame(f"false stop: {reason}: {why}")

    def _can_be_healed(self) -> bool:
        """Whether source and archive hold all that was cut away."""
        if self.damages != {"audit cut"}:
            return False
        have = max(self.archived(), len(self.leaves))
        left = [leaf for index, leaf in self.lost.items() if index >= have]
        return all(leaf.source_offset >= self.source.start for leaf in left)

    def accepted_gap(self, expected: int, left: int) -> None:
        """The operator gave up what the source does not have any more."""
        self.truth = [one for one in self.truth if not expected <= one.source_offset < left]
        self.damages.discard("trimmed")

    def resumed(self, since: float) -> None:
        """The one who may write goes on, having looked at the source after `since`."""
        if not self.damages & SOURCE_DAMAGES or since <= self.damaged_at:
            return
        for leaf in self.leaves[max(self.signed_size - 1, 0) :]:
            if leaf.source_offset >= self.source.start and not self._is_held(leaf):
                self.blame("sealing was resumed behind a leaf that its source does not hold")

    def _is_held(self, leaf: _Leaf) -> bool:
        held = self.source.readable(leaf.source_offset)
        return bool(held) and leaf_of(held[0]) == leaf

    # The end

    @property
    def is_sealed(self) -> bool:
        """All the source holds is under a checkpoint."""
        size = len(self.leaves)
        return self.has_begun and self.signed_size == size and self.leaves == self.due

    def check_end(self, rows: Sequence[Record], *, is_stopped: bool) -> None:
        """Walk the whole log again, with signatures, and compare it with the source."""
        self.check(rows, self.keys)
        if is_stopped:
            return
        if self.broken:
            self.blame(f"a broken log was not stopped: {self.broken}")
        elif not self.has_begun:
            self.blame("stuck: the log never began")
        elif self.leaves != self.due[: len(self.leaves)]:
            self.blame(f"silently wrong: {self._what_is_wrong()}")
        elif not self.is_sealed:
            left = len(self.due) - len(self.leaves)
            self.blame(f"stuck: {left} records are not sealed, {self.signed_size} are signed")

    def _what_is_wrong(self) -> str:
        last = self.leaves[-1]
        if last.source_offset >= self.source.start and not self._is_held(last):
            return "the last leaf is not what its source holds"
        return "a leaf before the last one is not what its source holds"
