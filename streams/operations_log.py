"""Trust as the sealed operations move it, followed while a process runs (formats §5).

The operations log is a log like any other, and its checkpoints are signed by the keys it speaks
of. So what is new in it is read twice: for its shape and the operator's notes, whose authority is
the operator's signature alone; then, with the keys these come to, as history. What fails changes
nothing: the trust of before stands, and the next reading tries again.

Trust only moves forward in one process. A log that lost what was read of it is found by its own
sealer, which stops; here it merely brings nothing new.

The operations log can be forked like any other, and the order that does so has no other place
than the epoch it opens. So that one counts for its sealer as soon as it is sent (`OwnForks`), and
for everybody else once the next epoch holds it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.checkpoint import parse_log_name
from streams.audit.note import MalformedError, TrustedKeys, Vkey
from streams.audit.operations import EpochForked, Operation, open_operation
from streams.audit.trail import Trail
from streams.audit.trust import SealedOrder, TrustHistory, opened_operations, without_void
from streams.errors import BreakError, TransientError
from streams.history import pages, read_range
from streams.ports import PartitionReader, Signer
from streams.trust import Trust, current_signers

__all__ = ["OperationsSource", "OwnForks", "SealedTrust"]


OpenEpoch = Callable[[int], Awaitable[tuple[PartitionReader, str] | None]]


async def _no_epochs(_number: int) -> None:
    return None


class OperationsSource(NamedTuple):
    """Where orders are read: the audit partition of the operations, and whose notes count.

    Of `operator` those keys count that are named as the operator of `base`. `open_epoch` gives
    reader and origin of a later epoch of the log, None while there is none.
    """

    reader: PartitionReader
    origin: str
    base: str
    operator: TrustedKeys
    open_epoch: OpenEpoch = _no_epochs


class _Read(NamedTuple):
    """How far the log was read: behind `opening`, of `size`; `unsealed` came after it."""

    offset: int | None
    opening: Checkpoint | None
    size: int
    unsealed: list[Record]


class _Epoch:
    """One epoch of the log, as far as it was read."""

    def __init__(self, reader: PartitionReader, origin: str) -> None:
        self.reader = reader
        self.origin = origin
        self.read = _Read(None, None, 0, [])
        self.orders: list[SealedOrder] = []


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

    @property
    def history(self) -> TrustHistory:
        """As of the last reading."""
        return self._history

    def signers(self, origin: str) -> Sequence[Signer]:
        """Every one held whose key was given or added, and not retired. Raises SettingsError."""
        return current_signers(self._history, self._held(), origin)

    async def refresh(self) -> TrustHistory:
        """Read what was appended since.

        Raises:
            TransientError: no answer, or what was appended is no good history.
        """
        async with self._reading:
            failures = {epoch.origin: why async for epoch, why in self._read_all() if why}
        for origin, failure in failures.items():
            if self._history.fork(origin) is None:
                raise failure
        return self._history

    async def _read_all(self) -> AsyncIterator[tuple[_Epoch, TransientError | None]]:
        """Every epoch with why it could not be read: one that was forked does not have to be."""
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

    async def _read_on(self, epoch: _Epoch) -> None:
        reader, read = epoch.reader, epoch.read
        bounds = await reader.bounds()
        low = bounds.start if read.offset is None else read.offset
        if low >= bounds.end:
            return
        rows = [*read.unsealed, *await read_range(reader, low, bounds.end)]
        try:
            self._take(epoch, rows, bounds.end)
        except (BreakError, MalformedError, DecodeError) as error:
            raise TransientError(
                f"{epoch.origin} does not verify, so no new order in it counts: {error}"
            ) from error

    def _take(self, epoch: _Epoch, rows: list[Record], offset: int) -> None:
        origin, before = epoch.origin, epoch.read
        shape = Trail(origin, None, before.opening)
        contents: list[bytes] = []
        sealed, size, opening = 0, before.size, before.opening
        for number, row in enumerate(rows, 1):
            fed = shape.feed(row)
            if isinstance(fed, AuditRecord):
                contents.append(fed.content)
            elif fed is not None:
                sealed, size, opening = number, fed.size, fed.checkpoint
        orders = epoch.orders + [
            SealedOrder(origin, index, operation)
            for index, content in enumerate(contents[: size - before.size], before.size)
            for operation in opened_operations([content], self._source.base, self._source.operator)
        ]
        operations = without_void(
            order for one in self._epochs for order in (orders if one is epoch else one.orders)
        )
        if epoch is not self._epochs[0] and not _opens(operations, origin):
            return  # a topic of that name, and no order of the operator that opened it
        history = TrustHistory.of(operations, self._given)
        Trail(origin, history.keys, before.opening).feed_all(rows[:sealed])
        unsealed = [row for row in rows if _is_behind(row, size)]
        epoch.orders, self._history = orders, history
        epoch.read = _Read(offset, opening, size, unsealed)


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


def _opens(operations: Iterable[Operation], origin: str) -> bool:
    return any(isinstance(one, EpochForked) and one.opens == origin for one in operations)


def _is_behind(row: Record, size: int) -> bool:
    value = decode_audit_value(row.value or b"")
    return isinstance(value, AuditRecord) and value.index >= size
