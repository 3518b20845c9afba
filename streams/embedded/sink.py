"""Where `send` puts events: batches of records, each one transaction, in the order given."""

import asyncio
import sqlite3
from types import TracebackType
from typing import Self

from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitioner import partition_of
from streams.embedded.record_tables import insert_records
from streams.errors import AttestreamError, SettingsError
from streams.ports import NewRecord

__all__ = ["EmbeddedEventSink"]

BATCH_RECORDS = 1000
BATCH_BYTES = 2**20
LINGER_S = 0.02  # what waits for company longer than this is committed without it
RECORD_OVERHEAD = 64


class EmbeddedEventSink:
    """An `EventSink` of one topic, as an async context; everything is durable at its end.

    Records with a key go to the partition Kafka would choose, the others to each in turn. Several
    processes may send to one topic: their batches never mix.
    """

    def __init__(self, database: EmbeddedDatabase, topic: str) -> None:
        self._database = database
        self._topic = topic
        self._partitions = 0
        self._turn = 0
        self._held: dict[int, list[NewRecord]] = {}
        self._records = self._bytes = 0
        self._failure: AttestreamError | None = None
        self._turns = asyncio.Lock()
        self._linger: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises SettingsError: no such topic, or one that only a sealer may write."""
        self._partitions = self._database.partitions(self._topic)
        if not self._partitions:
            raise SettingsError([f"{self._database.path} has no topic {self._topic}"])
        if self._database.is_audit(self._topic):
            raise SettingsError([f"{self._topic} is an audit topic: events go to its source"])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deliver what is left. Raises TransientError when anything was not delivered."""
        if self._linger is not None:
            # It may stand within a commit, which would then happen unseen: let it end.
            await asyncio.wait({self._linger})
        if self._failure is None:
            await self.flush()
        elif error is None:
            raise self._failure

    async def send(self, record: NewRecord) -> None:
        """Hand over one record; waits while a full batch is committed."""
        if self._failure is not None:
            raise self._failure
        if record.timestamp < 0:
            raise ValueError(f"a record's timestamp must not be negative: {record.timestamp}")
        self._held.setdefault(self._choose(record.key), []).append(record)
        self._records += 1
        self._bytes += len(record.value or b"") + RECORD_OVERHEAD
        if self._records >= BATCH_RECORDS or self._bytes >= BATCH_BYTES:
            await self.flush()
        elif self._linger is None or self._linger.done():
            self._linger = asyncio.create_task(self._flush_soon())

    async def flush(self) -> None:
        """Commit everything handed over; durable when this returns. Raises TransientError."""
        async with self._turns:
            held, self._held = self._held, {}
            self._records = self._bytes = 0
            if not held:
                return
            try:
                await self._database.write(lambda connection: self._put(connection, held))
            except AttestreamError as error:
                self._failure = error
                raise
        # Now the records are in the log.
        self._database.arrivals.announce(self._topic)

    async def _flush_soon(self) -> None:
        await asyncio.sleep(LINGER_S)
        try:
            await self.flush()
        except AttestreamError:
            return  # the next `send`, or the end, raises it

    def _choose(self, key: bytes | None) -> int:
        if self._partitions == 1:
            return 0
        if key is not None:
            return partition_of(key, self._partitions)
        self._turn += 1
        return self._turn % self._partitions

    def _put(self, connection: sqlite3.Connection, held: dict[int, list[NewRecord]]) -> None:
        for partition, records in sorted(held.items()):
            state = self._database.state(connection, self._topic, partition)
            insert_records(connection, state.id, state.end, records)
            connection.execute(
                "UPDATE partitions SET end_offset = ? WHERE id = ?",
                (state.end + len(records), state.id),
            )
