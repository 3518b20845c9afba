"""One database file, opened for reading only: it may be live, a copy, or on read-only media.

A file nobody has open is read as immutable, so that looking at evidence changes nothing, not even
a `-shm` beside it. Should a deployment start meanwhile, the file's stamp tells: the page is read
again under SQLite's own locks.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from streams.embedded.connections import is_ours
from streams.embedded.failures import explained
from streams.embedded.home import DATABASE
from streams.embedded.layout import records_table
from streams.errors import SourceUnreadableError

__all__ = ["Evidence", "Row"]

T = TypeVar("T")
Row = tuple[int, int, bytes | None, bytes | None, bytes | None]

PAGE_RECORDS = 2000
PAGE_BYTES = 4 * 2**20
BUSY_S = 10.0


class _Stamp(NamedTuple):
    """What is another when the file, or the log beside it, was written."""

    inode: int
    size: int
    written_ns: int
    log_size: int


class Evidence:
    """An open database, in a home directory or as a file of its own.

    Every method raises SourceUnreadableError for what cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / DATABASE if path.is_dir() else path
        if not self.path.is_file():
            raise SourceUnreadableError(f"{path} holds no attestream database ({DATABASE})")
        self._stamp: _Stamp | None = None
        self._connection = self._open()

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()

    def audit_partitions(self) -> list[tuple[str, int]]:
        """Topic and partition of every audit log, in order."""
        return self._read(_audit_partitions)

    def records_of(self, topic: str, partition: int) -> str:
        """The table that holds a partition's records, checked to be a plain table of that form."""

        def find(connection: sqlite3.Connection) -> str | None:
            found = connection.execute(
                "SELECT p.id, s.sql FROM partitions p "
                "JOIN sqlite_master s ON s.name = 'records_' || p.id "
                "WHERE p.topic = ? AND p.partition = ?",
                (topic, partition),
            ).fetchone()
            if found is None or found[1] != records_table(found[0]):
                return None
            return f"records_{found[0]}"

        table = self._read(find)
        if table is None:
            raise SourceUnreadableError(f"{self.path} has no records of {topic}/{partition}")
        return table

    def page(self, table: str, offset: int) -> list[Row]:
        """Rows from `offset` on, a bounded number of them; empty at the end."""
        return self._read(lambda connection: _page(connection, table, offset))

    def copy_to(self, target: sqlite3.Connection) -> None:
        """A copy of one snapshot, by SQLite's backup interface."""
        self._read(lambda connection: connection.backup(target))

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        result = self._attempt(job)
        if self._stamp is not None and self._stamp != _stamp_of(self.path):
            # A deployment woke up while this was read as if nobody could.
            self._connection.close()
            self._connection = self._open()
            result = self._attempt(job)
        return result

    def _attempt(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return job(self._connection)
        except sqlite3.Error as error:
            raise SourceUnreadableError(str(explained(error, self.path))) from error
