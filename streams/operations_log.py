"""Trust as the sealed operations move it, followed while a process runs (formats §5).

The operations log is a log like any other, and its checkpoints are signed by the keys it speaks
of. So what is new in it is read twice: for its shape and the operator's notes, whose authority is
the operator's signature alone; then, with the keys these come to, as history. What fails changes
nothing: the trust of before stands, and the next reading tries again.

Trust only moves forward in one process. A log that lost what was read of it is found by its own
sealer, which stops; here it merely brings nothing new.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.note import MalformedError, TrustedKeys, Vkey
from streams.audit.operations import Operation
from streams.audit.trail import Trail
from streams.audit.trust import TrustHistory, opened_operations
from streams.errors import BreakError, TransientError
from streams.history import read_range
from streams.ports import PartitionReader, Signer
from streams.trust import current_signers

__all__ = ["OperationsSource", "SealedTrust"]


class OperationsSource(NamedTuple):
    """Where orders are read: the audit partition of the operations, and whose notes count.

    Of `operator` those keys count that are named as the operator of `base`.
    """

    reader: PartitionReader
    origin: str
    base: str
    operator: TrustedKeys


class _Read(NamedTuple):
    """How far the log was read: behind `opening`, of `size`; `unsealed` came after it."""

    offset: int | None
    opening: Checkpoint | None
    size: int
    unsealed: list[Record]


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
        self._operations: list[Operation] = []
        self._read = _Read(None, None, 0, [])
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
            await self._read_on()
        return self._history

    async def _read_on(self) -> None:
        reader, read = self._source.reader, self._read
        bounds = await reader.bounds()
        low = bounds.start if read.offset is None else read.offset
        if low >= bounds.end:
            return
        rows = [*read.unsealed, *await read_range(reader, low, bounds.end)]
        try:
            self._take(rows, bounds.end)
        except (BreakError, MalformedError, DecodeError) as error:
            raise TransientError(
                f"{self._source.origin} does not verify, so no new order in it counts: {error}"
            ) from error

    def _take(self, rows: list[Record], offset: int) -> None:
        origin, before = self._source.origin, self._read
        shape = Trail(origin, None, before.opening)
        contents: list[bytes] = []
        sealed, size, opening = 0, before.size, before.opening
        for number, row in enumerate(rows, 1):
            fed = shape.feed(row)
            if isinstance(fed, AuditRecord):
                contents.append(fed.content)
            elif fed is not None:
                sealed, size, opening = number, fed.size, fed.checkpoint
        covered = contents[: size - before.size]
        found = opened_operations(covered, self._source.base, self._source.operator)
        operations = [*self._operations, *found]
        history = TrustHistory.of(operations, self._given)
        Trail(origin, history.keys, before.opening).feed_all(rows[:sealed])
        unsealed = [row for row in rows if _is_behind(row, size)]
        self._operations, self._history = operations, history
        self._read = _Read(offset, opening, size, unsealed)


def _is_behind(row: Record, size: int) -> bool:
    value = decode_audit_value(row.value or b"")
    return isinstance(value, AuditRecord) and value.index >= size
