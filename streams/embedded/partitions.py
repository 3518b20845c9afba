"""The partition ports over `attestream.db`. Each transaction is whole or not there at all.

The rules of each port stand in `streams.ports`; those of the file in `database`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import NoReturn

from schemas.records import Record
from streams.embedded.database import EmbeddedDatabase, PartitionState
from streams.embedded.record_tables import insert_records, records_of, select_rows
from streams.errors import (
    FencedError,
    NotOwnerError,
    OutcomeUnknownError,
    SettingsError,
    SourceChangedError,
    SourceUnreadableError,
    TransientError,
)
from streams.ports import Appended, Bounds, Fetched, NewRecord, Posted, TopicFacts

__all__ = [
    "EmbeddedPartitionReader",
    "EmbeddedPartitionWriter",
    "EmbeddedSourcePartition",
]


class EmbeddedPartitionReader:
    """A `PartitionReader`. Any number may read one partition."""

    def __init__(self, database: EmbeddedDatabase, topic: str, partition: int) -> None:
        self._database = database
        self._topic = topic
        self._partition = partition

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._topic

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self._partition

    async def bounds(self) -> Bounds:
        """First kept offset, and the end; no transaction is ever open for a reader to see."""
        state = self._database.read(self._state)
        return Bounds(state.start, state.end, state.end)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        """Committed records from `offset` on; see the port. Raises SourceUnreadableError too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max_wait_ms / 1000
        await asyncio.sleep(0)  # whoever fetches in a loop lets the others run
        while True:
            records = self._database.read(
                lambda connection: self._records(connection, offset, max_records)
            )
            left = deadline - loop.time()
            if records or left <= 0:
                return Fetched(records, offset + len(records))
            await self._database.arrivals.wait(self._topic, left)

    async def facts(self) -> TopicFacts:
        """Who the topic is now."""
        return self._database.facts(self._topic)

    async def close(self) -> None:
        """Idempotent; the database is closed by whoever opened it."""

    def _state(self, connection: sqlite3.Connection) -> PartitionState:
        return self._database.state(connection, self._topic, self._partition)

    def _records(
        self, connection: sqlite3.Connection, offset: int, max_records: int
    ) -> list[Record]:
        state = self._state(connection)
        if offset == state.end:
            return []
        if not state.start <= offset < state.end:
            self._out_of_range(offset, state)
        rows = select_rows(connection, state.id, offset, max_records, state.end)
        try:
            records = records_of(rows)
        except ValueError as error:
            raise SourceUnreadableError(
                f"{self._name()} in {self._database.path} is damaged: {error}"
            ) from error
        self._check_dense(records, offset, state.end)
        return records

    def _out_of_range(self, offset: int, state: PartitionState) -> NoReturn:
        if offset < state.start:
            raise SourceChangedError(
                f"offset {offset} of {self._name()} is gone: its log starts at {state.start} now"
            )
        raise SourceChangedError(
            f"offset {offset} of {self._name()} is beyond its end {state.end}: the topic was "
            "truncated, or deleted and created again"
        )

    def _check_dense(self, records: list[Record], offset: int, end: int) -> None:
        # An append is one run of offsets, so that a hole was made by somebody else.
        due = offset + len(records)
        if not records or records[0].offset != offset or records[-1].offset != due - 1:
            raise SourceChangedError(
                f"records of {self._name()} between offsets {offset} and {end} are missing from "
                f"{self._database.path}: they were deleted, or the file is damaged"
            )

    def _name(self) -> str:
        return f"{self._topic}/{self._partition}"


class EmbeddedSourcePartition(EmbeddedPartitionReader):
    """A `SourcePartition`: `role` (as a consumer group) and `owner` say who posts positions.

    `own` makes one, and thereby ends the ownership of every predecessor.
    """

    def __init__(
        self, database: EmbeddedDatabase, topic: str, partition: int, *, role: str, owner: int
    ) -> None:
        super().__init__(database, topic, partition)
        self._role = role
        self._owner = owner

    @classmethod
    async def own(
        cls, database: EmbeddedDatabase, topic: str, partition: int, *, role: str
    ) -> "EmbeddedSourcePartition":
        """Take the partition for `role`. Raises TransientError."""

        def take(connection: sqlite3.Connection) -> int:
            key = (role, database.state(connection, topic, partition).id)
            connection.execute(
                "INSERT INTO positions (role, partition_id, owner) VALUES (?, ?, 1) "
                "ON CONFLICT (role, partition_id) DO UPDATE SET owner = owner + 1",
                key,
            )
            found = connection.execute(
                "SELECT owner FROM positions WHERE role = ? AND partition_id = ?", key
            )
            return int(found.fetchone()[0])

        owner = await database.write(take)
        # Now no predecessor can post, in this process or in another one.
        return cls(database, topic, partition, role=role, owner=owner)

    async def still_owned(self) -> bool:
        """Whether nobody took the partition since. Raises TransientError."""
        return self._database.read(self._is_owner)

    async def epoch_end(self, epoch: int, *, seen: int) -> int:
        """The file has one leader, itself: an epoch that never ends."""
        del epoch, seen
        return (await self.bounds()).high_watermark

    async def posted(self) -> Posted | None:
        """The position posted last by this role, whoever owned the partition then."""

        def ask(connection: sqlite3.Connection) -> Posted | None:
            found = connection.execute(
                "SELECT next_offset, size, root, epoch FROM positions "
                "WHERE role = ? AND partition_id = ? AND next_offset IS NOT NULL",
                (self._role, self._state(connection).id),
            )
            row = found.fetchone()
            if row is None:
                return None
            posted = Posted(*row)
            if tuple(map(type, posted)) != (int, int, bytes, int):
                raise SourceUnreadableError(
                    f"{self._database.path} is damaged: the posted position of {self._name()}"
                )
            return posted

        return self._database.read(ask)

    async def post(self, posted: Posted) -> None:
        """Post a position; see the port."""

        def put(connection: sqlite3.Connection) -> None:
            self._check_owner(connection)
            connection.execute(
                "UPDATE positions SET next_offset = ?, size = ?, root = ?, epoch = ? "
                "WHERE role = ? AND partition_id = ?",
                (*posted, self._role, self._state(connection).id),
            )

        await self._database.write(put)
        # Now this size and root are known to whoever owns the partition next.

    def _records(
        self, connection: sqlite3.Connection, offset: int, max_records: int
    ) -> list[Record]:
        self._check_owner(connection)
        return super()._records(connection, offset, max_records)

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        if not self._is_owner(connection):
            raise NotOwnerError(f"another member of {self._role} owns {self._name()} now")

    def _is_owner(self, connection: sqlite3.Connection) -> bool:
        found = connection.execute(
            "SELECT owner FROM positions WHERE role = ? AND partition_id = ?",
            (self._role, self._state(connection).id),
        )
        row = found.fetchone()
        return row is not None and row[0] == self._owner


class EmbeddedPartitionWriter:
    """A `PartitionWriter`: its epoch and the end it expects are the fence. One task at a time."""

    def __init__(self, database: EmbeddedDatabase, topic: str, partition: int) -> None:
        self._database = database
        self._topic = topic
        self._partition = partition
        self._mine: PartitionState | None = None
        self._closed = False

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._topic

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self._partition

    @property
    def marker_offsets(self) -> int:
        """A commit leaves no mark in the partition."""
        return 0

    async def start(self) -> None:
        """Take the next epoch. Raises TransientError, SettingsError (no such partition)."""
        assert self._mine is None, "a writer is started once"

        def take(connection: sqlite3.Connection) -> PartitionState:
            connection.execute(
                "UPDATE partitions SET writer_epoch = writer_epoch + 1 "
                "WHERE topic = ? AND partition = ?",
                (self._topic, self._partition),
            )
            return self._database.state(connection, self._topic, self._partition)

        if self._partition >= self._database.partitions(self._topic):
            raise SettingsError([f"{self._name()} does not exist in {self._database.path}"])
        self._mine = await self._database.write(take)
        # Now every predecessor is fenced, in this process or in another one.

    async def append(self, records: Sequence[NewRecord]) -> Appended:
        """Write all of `records` in one transaction, or none; see the port."""
        assert records, "an append has at least one record"
        lowest = min(record.timestamp for record in records)
        if lowest < 0:
            raise ValueError(f"a record's timestamp must not be negative: {lowest}")
        mine = self._taken("appending to")
        end = mine.end + len(records)

        def put(connection: sqlite3.Connection) -> None:
            self._pass_fence(connection, mine, end)
            insert_records(connection, mine.id, mine.end, records)

        await self._commit(put, mine._replace(end=end))
        # Now the records are committed, whether or not this process lives to know it.
        self._database.arrivals.announce(self._topic)
        return Appended(mine.end, end - 1)

    async def confirm(self) -> None:
        """Commit a transaction that passes the fence and writes no record."""
        mine = self._taken("confirming the writer of")
        await self._commit(lambda connection: self._pass_fence(connection, mine, mine.end), mine)

    async def close(self) -> None:
        """Idempotent, never raises; a transaction under way ends before the next one begins."""
        self._closed = True

    def _taken(self, doing: str) -> PartitionState:
        # Whatever stops a transaction ends the writer; only its success gives this back.
        mine, self._mine = self._mine, None
        if mine is None or self._closed:
            raise OutcomeUnknownError(f"{doing} {self._name()}: this writer was dropped or failed")
        return mine

    async def _commit(
        self, job: Callable[[sqlite3.Connection], None], then: PartitionState
    ) -> None:
        try:
            await self._database.write(job)
        except TransientError as error:
            raise OutcomeUnknownError(f"writing to {self._name()}: {error}") from error
        self._mine = then

    def _pass_fence(self, connection: sqlite3.Connection, mine: PartitionState, end: int) -> None:
        passed = connection.execute(
            "UPDATE partitions SET end_offset = ? "
            "WHERE id = ? AND writer_epoch = ? AND end_offset = ?",
            (end, mine.id, mine.epoch, mine.end),
        )
        if passed.rowcount != 1:
            raise FencedError(f"writing to {self._name()}: another writer started, or appended")

    def _name(self) -> str:
        return f"{self._topic}/{self._partition}"
