"""Trust as the sealed operations move it, followed while a process runs (formats §5).

The operations log is a log like any other, and its checkpoints are signed by the keys it speaks
of. So what is new in it is read twice: for its shape and the operator's notes, whose authority is
the operator's signature alone; then, with the keys these come to, as history. What is sealed
before the first place that fails counts; what comes behind it changes nothing, and the next
reading tries again.

Trust only moves forward in one process. A log that lost what was read of it is found by its own
sealer, which stops; here it merely brings nothing new.

The operations log can be forked like any other, and the order that does so has no other place
than the epoch it opens. So that one counts for its sealer as soon as it is sent (`OwnForks`), and
for everybody else once the next epoch holds it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import parse_log_name
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import MalformedError, TrustedKeys, Vkey
from streams.audit.operations import EpochForked, Operation, open_operation
from streams.audit.trail import Trail
from streams.audit.trust import SealedOrder, TrustHistory, opened_operations, without_void
from streams.errors import BreakError, SettingsError, TransientError
from streams.history import pages, read_range
from streams.ports import PartitionReader, Signer
from streams.trust import Trust, current_signers

__all__ = ["UNCLAIMED", "OperationsSource", "OwnForks", "SealedTrust", "UnverifiedOrdersError"]


UNCLAIMED = -1
OpenEpoch = Callable[[int], Awaitable[tuple[PartitionReader, str] | None]]


async def _no_epochs(_number: int) -> None:
    return None


async def _nothing_kept(_origin: str) -> int:
    return UNCLAIMED


class OperationsSource(NamedTuple):
    """Where orders are read: the audit partition of the operations, and whose notes count.

    Of `operator` those keys count that are named as the operator of `base`. `open_epoch` gives
    reader and origin of a later epoch of the log, None while there is none. `kept` tells the
    largest size that is anchored of an origin, 0 where it is only claimed, and `UNCLAIMED`.
    """

    reader: PartitionReader
    origin: str
    base: str
    operator: TrustedKeys
    open_epoch: OpenEpoch = _no_epochs
    kept: Callable[[str], Awaitable[int]] = _nothing_kept


class UnverifiedOrdersError(TransientError):
    """A log of orders fails from some place on: what is sealed before it counts, and no more."""


class _Read(NamedTuple):
    """How far the log was read: behind `opening`, of `size`; `unsealed` came after it."""

    offset: int | None
    opening: Checkpoint | None
    size: int
    unsealed: list[Record]


class _Epoch:
    """One epoch of the log, as far as it was read; `roots` at its checkpoints, by size."""

    def __init__(self, reader: PartitionReader, origin: str) -> None:
        self.reader = reader
        self.origin = origin
        self.read = _Read(None, None, 0, [])
        self.orders: list[SealedOrder] = []
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}


class _Taken(NamedTuple):
    """What some rows of an epoch come to, and the row from which on they fail."""

    orders: list[SealedOrder]
    history: TrustHistory
    roots: dict[int, bytes]
    opening: Checkpoint | None
    size: int
    failed: tuple[int, Exception] | None


class SealedTrust:
    """`streams.trust.Trust` of a process that follows an operator. Closes no reader."""

    def __init__(
        self,
        source: OperationsSource,
        given: Sequence[Vkey],
        held: Callable[[], Sequence[Signer]] = tuple,
    ) -> None:
        """`given`: log keys that count without an order; `held`: the signers of this process."""
        self._source = source
        self._given = given
        self._held = held
        self._history = TrustHistory(given)
        self._epochs = [_Epoch(source.reader, source.origin)]
        self._reading = asyncio.Lock()
        self._kept: dict[str, int] = {}

    @property
    def history(self) -> TrustHistory:
        """As of the last reading."""
        return self._history

    @property
    def lacking(self) -> str:
        """What is known to lack of the orders, in a sentence; empty where nothing is."""
        for epoch in self._epochs:
            size, kept = epoch.read.size, self._kept.get(epoch.origin, UNCLAIMED)
            is_gone = kept != UNCLAIMED and epoch.read.opening is None
            if (size < kept or is_gone) and self._history.fork(epoch.origin) is None:
                return (
                    f"{epoch.origin} was claimed, is anchored up to size {kept}, and holds {size} "
                    "orders: some that add and retire keys may be missing; restore its audit topic"
                )
        return ""

    def signers(self, origin: str) -> Sequence[Signer]:
        """Every one held whose key was given or added, and not retired.

        Raises:
            SettingsError: none; or orders are missing, and what is signed is not the log of the
                orders itself, which a sealer may yet restore.
        """
        own = parse_log_name(self._source.origin)[:3]
        if (why := self.lacking) and parse_log_name(origin)[:3] != own:
            raise SettingsError([why])
        return current_signers(self._history, self._held(), origin)

    async def refresh(self) -> TrustHistory:
        """Read what was appended since.

        Raises:
            TransientError: no answer.
            UnverifiedOrdersError: what was appended is no good history; what is sealed before the
                place where it fails counts.
        """
        async with self._reading:
            failures = [(epoch, why) async for epoch, why in self._read_all() if why]
            await self._ask_anchors()
        for epoch, failure in failures:
            # A log that was forked fails behind its fork, where nobody needs it.
            if not self._is_read_to_its_fork(epoch):
                raise failure
        return self._history

    async def _read_all(self) -> AsyncIterator[tuple[_Epoch, TransientError | None]]:
        """Every epoch, with why not all of it could be read."""
        for number in count():
            if number == len(self._epochs):
                opened = await self._source.open_epoch(number)
                if opened is None:
                    return
                self._epochs.append(_Epoch(*opened))
            epoch = self._epochs[number]
            try:
                await self._read_on(epoch)
            except TransientError as error:
                yield epoch, error
            else:
                yield epoch, None

    async def _ask_anchors(self) -> None:
        """Once an epoch: nothing that is anchored later can be missing from what was read."""
        for epoch in self._epochs:
            if epoch.origin not in self._kept:
                # While the anchors are away nothing is sealed, and they are asked for again.
                with suppress(TransientError):
                    self._kept[epoch.origin] = await self._source.kept(epoch.origin)

    async def _read_on(self, epoch: _Epoch) -> None:
        reader, read = epoch.reader, epoch.read
        bounds = await reader.bounds()
        low = bounds.start if read.offset is None else read.offset
        if low >= bounds.end:
            return
        rows = [*read.unsealed, *await read_range(reader, low, bounds.end)]
        taken = self._taken(epoch, rows)
        if epoch is not self._epochs[0] and not self._is_opened(epoch, taken):
            return
        at, failure = taken.failed or (len(rows), None)
        offset = bounds.end if at == len(rows) else rows[at].offset
        unsealed = [row for row in rows[:at] if _is_behind(row, taken.size)]
        if taken.size > epoch.read.size:
            epoch.orders, epoch.roots, self._history = taken.orders, taken.roots, taken.history
        epoch.read = _Read(offset, taken.opening, taken.size, unsealed)
        if failure is not None:
            raise UnverifiedOrdersError(
                f"{epoch.origin} does not verify, so no new order in it counts: {failure}"
            ) from failure

    def _taken(self, epoch: _Epoch, rows: Sequence[Record]) -> _Taken:
        """The orders that the rows seal, up to the first that fails by the keys they come to."""
        failed: tuple[int, Exception] | None = None
        while True:
            end = len(rows) if failed is None else failed[0]
            taken = self._shaped(epoch, rows[:end])
            if taken.failed is None:
                trail = Trail(epoch.origin, taken.history.keys, epoch.read.opening)
                again = _first_failure(trail, rows[:end])
            else:
                again = taken.failed
            if again is None:
                return taken._replace(failed=failed)
            failed = again

    def _shaped(self, epoch: _Epoch, rows: Sequence[Record]) -> _Taken:
        """The orders that the rows seal, their shape alone checked."""
        before, roots = epoch.read, dict(epoch.roots)
        shape = Trail(epoch.origin, None, before.opening)
        contents: list[tuple[int, bytes]] = []
        size, opening = before.size, before.opening
        failed: tuple[int, Exception] | None = None
        for at, row in enumerate(rows):
            try:
                fed = shape.feed(row)
            except BreakError as error:
                failed = at, error
                break
            if isinstance(fed, AuditRecord):
                contents.append((at, fed.content))
            elif fed is not None:
                size, opening = fed.size, fed.checkpoint
                roots[size] = fed.root
        orders = list(epoch.orders)
        for index, (at, content) in enumerate(contents[: size - before.size], before.size):
            try:
                orders += self._opened(epoch, index, content)
            except (MalformedError, DecodeError) as error:
                failed = at, error
                break
        operations = without_void(
            order for one in self._epochs for order in (orders if one is epoch else one.orders)
        )
        history = TrustHistory.of(operations, self._given)
        return _Taken(orders, history, roots, opening, size, failed)

    def _opened(self, epoch: _Epoch, index: int, content: bytes) -> list[SealedOrder]:
        found = opened_operations([content], self._source.base, self._source.operator)
        return [SealedOrder(epoch.origin, index, operation) for operation in found]

    def _is_opened(self, epoch: _Epoch, taken: _Taken) -> bool:
        """Whether the operator ended the epoch before, at what was read of it, with this one."""
        before = self._epochs[self._epochs.index(epoch) - 1]
        fork = taken.history.fork(before.origin)
        if fork is None or fork.opens != epoch.origin:
            return False  # a topic of that name, and no order of the operator that opened it
        if before.roots.get(fork.size) != fork.root:
            # The orders before it may retire keys: without them nothing here is to be believed.
            raise TransientError(
                f"{before.origin} was forked at size {fork.size}, and its audit topic does not "
                "lead to the root that was accepted: restore it from the archive"
            )
        return True

    def _is_read_to_its_fork(self, epoch: _Epoch) -> bool:
        fork = self._history.fork(epoch.origin)
        return fork is not None and epoch.roots.get(fork.size) == fork.root


class OwnForks:
    """Trust as the sealer of the operations has it: forks of its own log count when sent.

    Authority is the operator's signature alone. A log that stopped cannot seal the order that
    ends it; its next epoch seals it among its first. Closes no reader.
    """

    def __init__(self, trust: Trust, source: OperationsSource) -> None:
        """`source`: its reader is one of the source of the operations log `source.origin`."""
        self._trust = trust
        self._source = source
        self._offset = 0
        self._forks: list[Operation] = []

    @property
    def history(self) -> TrustHistory:
        """As of the last reading."""
        history = self._trust.history
        new = [fork for fork in self._forks if fork not in history.operations]
        return history.also(new) if new else history

    def signers(self, origin: str) -> Sequence[Signer]:
        """As everybody has them. Raises SettingsError."""
        return self._trust.signers(origin)

    async def refresh(self) -> TrustHistory:
        """Read what was sealed, and what was sent, since. Raises TransientError."""
        await self._read_source()
        await self._trust.refresh()
        return self.history

    async def _read_source(self) -> None:
        bounds = await self._source.reader.bounds()
        # Below the start nothing is left, and a source that was made again begins anew.
        low = self._offset if bounds.start <= self._offset <= bounds.end else bounds.start
        async for page in pages(self._source.reader, low, bounds.end):
            self._forks += [fork for row in page if (fork := self._own_fork(row.value or b""))]
        self._offset = bounds.end

    def _own_fork(self, note: bytes) -> EpochForked | None:
        try:
            operation = open_operation(note, self._source.base, self._source.operator)
        except MalformedError:
            return None
        if not isinstance(operation, EpochForked) or operation in self._forks:
            return None
        own = parse_log_name(self._source.origin)[:3]
        return operation if parse_log_name(operation.origin)[:3] == own else None


def _first_failure(trail: Trail, rows: Sequence[Record]) -> tuple[int, Exception] | None:
    for at, row in enumerate(rows):
        try:
            trail.feed(row)
        except BreakError as error:
            return at, error
    return None


def _is_behind(row: Record, size: int) -> bool:
    value = decode_audit_value(row.value or b"")
    return isinstance(value, AuditRecord) and value.index >= size
