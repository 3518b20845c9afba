"""The audit partition of the operations as a reader of it gets it, growing in a test's hands."""

import asyncio

from schemas.records import Checkpoint, Record
from streams.audit.checkpoint import joined_notes
from streams.audit.note import TrustedKeys
from streams.audit.operations import operator_name
from streams.audit.sealing import plan_batch
from streams.operations_log import OperationsSource
from streams.ports import Bounds, Fetched
from tests.support.operator_notes import OPERATOR
from tests.support.signed_logs import BASE, KEY, Key, SignedLog

TOPIC = "attestream.operations"
ORIGIN = f"{BASE}/{TOPIC}/0"


class OperationsPartition(SignedLog):
    """A sealed operations log, and the reader of it."""

    topic = f"audit.{TOPIC}"
    partition = 0

    def __init__(self, key: Key = KEY, origin: str = ORIGIN) -> None:
        super().__init__(key, origin)

    def send(self, *values: bytes) -> "OperationsPartition":
        """Append records, uncovered as yet."""
        first = self.frontier.size
        records = [Record(first + n, 1, None, value) for n, value in enumerate(values)]
        plan = plan_batch(self.frontier, TOPIC, 0, records)
        for new in plan.records:
            self.rows.append(Record(self._offset, new.timestamp, new.key, new.value))
            self._offset += 1
        self.frontier = plan.frontier
        self.leaves += plan.leaves
        return self

    def seal(self, *keys: Key) -> "OperationsPartition":
        """A checkpoint over everything, with a line of each key."""
        notes = [key.note(self.frontier.size, self.frontier.root(), self.origin) for key in keys]
        checkpoint = Checkpoint(joined_notes(notes), self.frontier.nodes)
        self.rows.append(self.row(checkpoint))
        self._offset += 1
        return self

    def source(self, operator: TrustedKeys | None = None) -> OperationsSource:
        """Where orders are read from."""
        trusted = operator or OPERATOR.trusted(operator_name(BASE))
        return OperationsSource(self, ORIGIN, BASE, trusted)  # type: ignore[arg-type]

    async def bounds(self) -> Bounds:
        await asyncio.sleep(0)  # others run while a server is asked
        return Bounds(0, self._offset, self._offset)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        assert max_wait_ms >= 0
        await asyncio.sleep(0)
        found = [row for row in self.rows if row.offset >= offset][:max_records]
        return Fetched(found, found[-1].offset + 1 if found else self._offset)
