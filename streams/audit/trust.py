"""Trust as it moved: the operator's notes, folded in the order they were sealed (formats §5).

Verifiers and sealers share this fold. Every note may be sealed a second time, since anyone can
send it again; so each stands as it was sealed first, and a key once retired stays retired. Trust
has no clock: a key that counts for a log counts for all of it, a retired one up to its head.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.audit_values import decode_content
from schemas.records import Plain
from streams.audit.checkpoint import CheckpointText, parse_log_name
from streams.audit.note import PublicKey, TrustedKeys, Vkey
from streams.audit.operations import (
    EpochForked,
    GapAccepted,
    KeyAdded,
    KeyRetired,
    Operation,
    SubjectErased,
    open_operation,
)

__all__ = ["SealedOrder", "TrustHistory", "opened_operations", "without_void"]


class TrustHistory:
    """What the operations sealed so far, in their order, come to.

        history = TrustHistory(given)
        for operation in sealed:
            history.apply(operation)
        history.keys.for_checkpoint(origin, size)

    Attributes:
        operations: those that were applied and changed something, in order.
    """

    def __init__(self, given: Iterable[Vkey] = ()) -> None:
        """Begin with the log keys that were given: they count as if added first."""
        self.operations: list[Operation] = []
        self._given = tuple(given)
        self._added: list[Vkey] = []
        self._retired: dict[PublicKey, dict[str, int]] = {}
        self._heads: dict[str, list[CheckpointText]] = {}
        self._gaps: dict[str, list[GapAccepted]] = {}
        self._forks: dict[str, EpochForked] = {}
        self._keys: TrustedKeys | None = None

    @classmethod
    def of(cls, operations: Iterable[Operation], given: Iterable[Vkey] = ()) -> "TrustHistory":
        """The history after all of `operations`, which come in sealed order."""
        history = cls(given)
        for operation in operations:
            history.apply(operation)
        return history

    def also(self, operations: Iterable[Operation]) -> "TrustHistory":
        """Another history: this one, and `operations` behind it."""
        return TrustHistory.of([*self.operations, *operations], self._given)

    def apply(self, operation: Operation) -> bool:
        """Take the next sealed operation; False where it changed nothing: it stood before."""
        changed = self._apply(operation)
        if changed:
            self.operations.append(operation)
            self._keys = None
        return changed

    @property
    def keys(self) -> TrustedKeys:
        """Keys given and added, each retired one up to the heads recorded of it."""
        if self._keys is None:
            self._keys = TrustedKeys((*self._given, *self._added), self._retired)
        return self._keys

    def is_retired(self, vkey: Vkey) -> bool:
        """Whether this public key, under whatever name, was retired."""
        return vkey.public in self._retired

    def is_added(self, vkey: Vkey) -> bool:
        """Whether this public key was ever added: what it signed verifies without being given."""
        return any(vkey.public == one.public for one in self._added)

    def is_current(self, vkey: Vkey, origin: str) -> bool:
        """Whether this public key may sign the next checkpoint of a log."""
        mine = vkey.for_origin(origin)
        vkeys = (*self._given, *self._added)
        known = any(mine == one.for_origin(origin) for one in vkeys if one.trusts(origin))
        return known and not self.is_retired(vkey)

    def heads(self, origin: str) -> tuple[CheckpointText, ...]:
        """What a log is known to have been: heads of retired keys, the place of its fork."""
        return tuple(self._heads.get(origin, ()))

    @property
    def origins(self) -> frozenset[str]:
        """The logs of which a head is recorded: none of them may be missing."""
        return frozenset(self._heads)

    def accepted_gap(self, origin: str, size: int, expected: int) -> GapAccepted | None:
        """The gap accepted for a log that stands at `size` and wants offset `expected`.

        The last one sealed: retention may have gone on after an earlier one.
        """
        for gap in reversed(self._gaps.get(origin, [])):
            if (gap.size, gap.expected) == (size, expected):
                return gap
        return None

    def fork(self, origin: str) -> EpochForked | None:
        """The fork that ended a log: its records from the fork's size on are void."""
        return self._forks.get(origin)

    def forks(self, origin: str) -> tuple[EpochForked, ...]:
        """The forks that follow one another from a log of epoch 0 on, each of the one before.

        Its last one opened the epoch that is sealed now.
        """
        found: list[EpochForked] = []
        at = origin
        while (fork := self._forks.get(at)) is not None:
            found.append(fork)
            at = fork.opens
        return tuple(found)

    def _apply(self, operation: Operation) -> bool:
        match operation:
            case KeyAdded():
                return self._add(operation)
            case KeyRetired():
                return self._retire(operation)
            case GapAccepted():
                gaps = self._gaps.setdefault(operation.origin, [])
                if operation in gaps:
                    return False
                gaps.append(operation)
                return True
            case EpochForked():
                return self._fork(operation)
            case SubjectErased():
                return operation not in self.operations

    def _add(self, added: KeyAdded) -> bool:
        # An old note sent again must not bring a retired key back.
        vkey = added.vkey.for_origin(added.prefix)
        if vkey in self._added or self.is_retired(vkey):
            return False
        self._added.append(vkey)
        return True

    def _retire(self, retired: KeyRetired) -> bool:
        if self.is_retired(retired.vkey):
            return False
        self._retired[retired.vkey.public] = {head.origin: head.size for head in retired.heads}
        for head in retired.heads:
            self._record(head)
        return True

    def _fork(self, fork: EpochForked) -> bool:
        if fork.origin in self._forks:
            return False
        self._forks[fork.origin] = fork
        self._record(CheckpointText(fork.origin, fork.size, fork.root))
        return True

    def _record(self, head: CheckpointText) -> None:
        heads = self._heads.setdefault(head.origin, [])
        if head not in heads:
            heads.append(head)


class SealedOrder(NamedTuple):
    """An order, and the leaf of which log of operations it is sealed as."""

    origin: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    operation: Operation


def without_void(orders: Iterable[SealedOrder]) -> list[Operation]:
    """The orders that count, in their order, of all epochs of one log of operations.

    One epoch after the other, each up to the fork that ended it. The fork that ends a log of
    operations can stand in the next one alone, whose first orders it is among.
    """
    by_epoch = sorted(orders, key=lambda order: (parse_log_name(order.origin).epoch, order.index))
    ends: dict[str, int] = {}
    for _, _, operation in by_epoch:
        if isinstance(operation, EpochForked):
            ends.setdefault(operation.origin, operation.size)
    return [
        operation
        for origin, index, operation in by_epoch
        if origin not in ends or index < ends[origin]
    ]


def opened_operations(
    contents: Iterable[bytes], base: str, operator: TrustedKeys
) -> Iterator[Operation]:
    """What the operator of `base` ordered among the sealed contents of the operations log.

    Contents that are no order of the operator are passed over: anyone can get bytes sealed.

    Raises:
        DecodeError: no content.
        MalformedError: as `open_operation`.
    """
    for content in contents:
        plain = decode_content(content)
        if isinstance(plain, Plain) and plain.value is not None:
            operation = open_operation(plain.value, base, operator)
            if operation is not None:
                yield operation
