"""`attestream.db`: the log of an embedded deployment, one SQLite file.

Invariants, each held inside one `BEGIN IMMEDIATE` transaction and across processes:

- A partition's offsets are dense and never given twice: `end_offset` grows with the records.
- A writer appends under `WHERE writer_epoch = mine AND end_offset = expected`. Starting one takes
  the next epoch, and so ends every predecessor, wherever it runs.
- A position is posted under `WHERE owner = mine`.

Writes run in one thread of their own. A commit waits for the disk (0.2 to 3 ms and more, an fsync
each), which must not hold the event loop, and SQLite has one writer at a time anyway. Reads are
called directly: they come from the page cache and are bounded (`FETCH_BYTES`). Measured with a
busy event loop, 500 records took 0.4 ms there and 2.3 ms in a thread, which loses the interpreter
lock at every row.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from streams.embedded.arrivals import Arrivals
from streams.embedded.connections import (
    connect,
    create_database,
    transaction,
)
from streams.embedded.failures import explaining
from streams.embedded.home import DATABASE, prepare_home
from streams.embedded.layout import TOPIC_NAME, records_table
from streams.errors import SettingsError, SourceUnreadableError, TransientError
from streams.ports import TopicFacts

__all__ = ["EmbeddedDatabase", "PartitionState"]

T = TypeVar("T")
READ_BUSY_S = 1.0  # met only while another process opens or closes the file


class PartitionState(NamedTuple):
    """A partition's row: `id` names its table of records."""

    id: int
    start: int
    end: int
    epoch: int


class EmbeddedDatabase:
    """One open database, used from one event loop. Any number of processes may open it."""

    def __init__(self, path: Path, writing: sqlite3.Connection) -> None:
        self.path = path
        self._cluster_id, self._origin = _identity(writing, path)
        self._writing = writing
        self._reading = connect(path, busy_s=READ_BUSY_S)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="attestream-db")
        self._version = -1
        self.arrivals = Arrivals(self._changed)
        self._closed = False

    @classmethod
    def open(cls, home: Path, *, origin: str | None = None, create: bool = True) -> Self:
        """Open `<home>/attestream.db`; made, with `origin` or one of 8 random bytes, if absent.

        Raises:
            SettingsError: no place for a database, none there and `create` is False, or `origin`
                is another one than the file's.
            SourceUnreadableError: the file is damaged, of another program or another format.
            TransientError: locked, or the disk is full or fails.
        """
        path = home / DATABASE
        if not create and not path.is_file():
            raise SettingsError([f"{home} holds no attestream database ({DATABASE})"])
        prepare_home(home)
        create_database(path, origin)
        connection = connect(path)
        try:
            with explaining(path):
                database = cls(path, connection)
        except BaseException:
            connection.close()
            raise
        if origin not in {None, database.origin}:
            database.close()
            raise SettingsError([_renamed(path, database.origin, origin)])
        return database

    @property
    def cluster_id(self) -> str:
        """Who this database is: 16 random bytes in hex, made with it."""
        return self._cluster_id

    @property
    def origin(self) -> str:
        """What every origin of its logs begins with (ATTESTREAM_ORIGIN)."""
        return self._origin

    def close(self) -> None:
        """Wait for the write under way, then close. Idempotent; blocks for at most one commit."""
        if self._closed:
            return
        self._closed = True
        self.arrivals.stop()
        self._writer.shutdown(wait=True, cancel_futures=True)
        self._reading.close()
        self._writing.close()

    async def ensure_topic(self, name: str, partitions: int = 1, *, audit: bool = False) -> None:
        """Make the topic, or give it the partitions it lacks. `audit`: only writers append to it.

        Raises:
            SettingsError: no name of a topic, or it exists for the other use.
            TransientError.
        """
        if not TOPIC_NAME.fullmatch(name) or name in {".", ".."}:
            raise SettingsError([f"{name!r} is no topic name: 1 to 249 of a-z A-Z 0-9 . _ -"])

        def ensure(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO topics VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
                (name, secrets.token_hex(16), audit),
            )
            found = connection.execute("SELECT audit FROM topics WHERE name = ?", (name,))
            if bool(found.fetchone()[0]) is not audit:
                use = "an event topic" if audit else "an audit topic"
                raise SettingsError([f"topic {name} exists already, as {use}"])
            for number in range(_partitions(connection, name), partitions):
                made = connection.execute(
                    "INSERT INTO partitions (topic, partition) VALUES (?, ?)", (name, number)
                )
                connection.execute(records_table(made.lastrowid or 0))

        present = self.read(lambda connection: _partitions(connection, name))
        if present < max(partitions, 1) or self.is_audit(name) is not audit:
            await self.write(ensure)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 where there is no such topic."""
        return self.read(lambda connection: _partitions(connection, topic))

    def is_audit(self, topic: str) -> bool | None:
        """Whether a topic is an audit topic, None where there is no such topic."""

        def ask(connection: sqlite3.Connection) -> bool | None:
            found = connection.execute("SELECT audit FROM topics WHERE name = ?", (topic,))
            row = found.fetchone()
            return None if row is None else bool(row[0])

        return self.read(ask)

    def facts(self, topic: str) -> TopicFacts:
        """Who a topic is. Raises TransientError where there is none: it may yet be made."""

        def ask(connection: sqlite3.Connection) -> TopicFacts:
            found = connection.execute("SELECT topic_id FROM topics WHERE name = ?", (topic,))
            row = found.fetchone()
            if row is None:
                raise TransientError(f"{self.path} has no topic {topic}")
            # Nothing here ever compacts: the policy holds by construction.
            return TopicFacts(self._cluster_id, row[0], "delete", _partitions(connection, topic))

        return self.read(ask)

    def state(self, connection: sqlite3.Connection, topic: str, partition: int) -> PartitionState:
        """A partition's row, inside a transaction. Raises TransientError where there is none."""
        found = connection.execute(
            "SELECT id, start_offset, end_offset, writer_epoch FROM partitions "
            "WHERE topic = ? AND partition = ?",
            (topic, partition),
        )
        row = found.fetchone()
        if row is None:
            raise TransientError(f"{self.path} has no partition {topic}/{partition}")
        if not all(type(column) is int for column in row):
            raise SourceUnreadableError(f"{self.path} is damaged: partition {topic}/{partition}")
        return PartitionState(*row)

    def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` over one snapshot of the database; on the event loop, so keep it short.

        Raises TransientError, SourceUnreadableError, and what `job` raises.
        """
        with explaining(self.path), transaction(self._reading, "BEGIN"):
            return job(self._reading)

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` in the writing thread as one transaction; durable when this returns.

        Cancelled before it began it does not happen; later it may. Raises TransientError where
        it is not known to have happened, SettingsError, SourceUnreadableError, and what `job`
        raises: then it did not.
        """
        return await asyncio.wrap_future(self._writer.submit(self._write, job))

    def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        with explaining(self.path), transaction(self._writing, "BEGIN IMMEDIATE"):
            return job(self._writing)

    def _changed(self) -> bool:
        try:
            with closing(self._reading.execute("PRAGMA data_version")) as found:
                (version,) = found.fetchone()
        except sqlite3.Error:
            return True  # whoever is woken asks again, and gets it explained
        changed, self._version = version != self._version, version
        return bool(changed)


def _identity(connection: sqlite3.Connection, path: Path) -> tuple[str, str]:
    with closing(connection.execute("SELECT cluster_id, origin FROM identity")) as found:
        row = found.fetchone()
    if row is None:
        raise SourceUnreadableError(f"{path} is damaged: its identity is gone")
    return str(row[0]), str(row[1])


def _renamed(path: Path, was: str, now: str | None) -> str:
    return (
        f"{path} holds the logs of {was}, ATTESTREAM_ORIGIN is {now}: a log never changes its "
        "name; unset it, or use another ATTESTREAM_HOME"
    )


def _partitions(connection: sqlite3.Connection, topic: str) -> int:
    found = connection.execute("SELECT count(*) FROM partitions WHERE topic = ?", (topic,))
    return int(found.fetchone()[0])
