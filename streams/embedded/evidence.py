"""One database file, opened for reading only: it may be live, a copy, or on read-only media.

With a `-wal` beside it somebody has it open, or was killed: it is read under SQLite's own locks.
Without one nobody has, and it is read as immutable: looking at evidence leaves no trace, not even
a `-shm`. Should a deployment start meanwhile, the file's stamp tells, and the page is read again
under locks. (Not beside a deployment of this same process that starts later: closing an immutable
file drops the locks the process has on it.)
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from streams.embedded.connections import judge, readable
from streams.embedded.failures import FAILURES, explained
from streams.embedded.home import DATABASE
from streams.embedded.layout import records_table
from streams.embedded.record_tables import Row, select_rows
from streams.errors import SourceUnreadableError

__all__ = ["Evidence"]

T = TypeVar("T")
PAGE_RECORDS = 2000
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
        self._connection = self._open(locks=False)

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()

    def audit_partitions(self) -> list[tuple[str, int]]:
        """Topic and partition of every audit log, in order."""
        return self._read(_audit_partitions)

    def partition_id(self, topic: str, partition: int) -> int:
        """What names a partition's table; it is checked to be a plain table of its form."""

        def find(connection: sqlite3.Connection) -> int | None:
            found = connection.execute(
                "SELECT p.id, s.sql FROM partitions p "
                "JOIN sqlite_master s ON s.name = 'records_' || p.id "
                "WHERE p.topic = ? AND p.partition = ?",
                (topic, partition),
            ).fetchone()
            if found is None or found[1] != records_table(found[0]):
                return None
            return int(found[0])

        partition_id = self._read(find)
        if partition_id is None:
            raise SourceUnreadableError(f"{self.path} has no records of {topic}/{partition}")
        return partition_id

    def page(self, partition_id: int, offset: int) -> list[Row]:
        """Rows from `offset` on, a bounded number of them; empty at the end."""
        return self._read(
            lambda connection: select_rows(connection, partition_id, offset, PAGE_RECORDS)
        )

    def end(self, partition_id: int) -> int:
        """The offset behind the last row, 0 where there is none."""
        table = f"records_{partition_id}"
        statement = f"SELECT CAST(MAX(offset) AS INTEGER) FROM {table}"  # noqa: S608  # of an integer
        last = self._read(lambda connection: connection.execute(statement).fetchone()[0])
        return 0 if last is None else int(last) + 1

    def copy_to(self, target: sqlite3.Connection) -> None:
        """A copy of one snapshot, by SQLite's backup interface."""
        self._read(lambda connection: connection.backup(target))

    def _open(self, *, locks: bool) -> sqlite3.Connection:
        log = _log_of(self.path)
        locks = locks or log.exists()
        self._stamp = None if locks else _stamp_of(self.path)
        try:
            return self._connected("" if locks else "&immutable=1")
        except (*FAILURES, SourceUnreadableError) as error:
            if not locks or not _needs_a_place(error):
                raise self._unreadable(error) from error
        # Locks need a `-shm`, and there is no place for one: a medium nobody can write to.
        if log.exists() and log.stat().st_size:
            raise SourceUnreadableError(
                f"{self.path} has records in {log.name} that need a writable directory to be "
                "read: copy both files to one"
            )
        self._stamp = _stamp_of(self.path)
        try:
            return self._connected("&immutable=1")
        except FAILURES as error:
            raise self._unreadable(error) from error

    def _connected(self, how: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro{how}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.text_factory = readable
            for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON"):
                connection.execute(f"PRAGMA {pragma}").close()
            judge(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = job(self._connection)
        except FAILURES as error:
            if not self._woken():
                raise self._unreadable(error) from error
        else:
            if not self._woken():
                return result
        # A deployment woke up while this was read as if nobody could.
        self._connection.close()
        self._connection = self._open(locks=True)
        try:
            return job(self._connection)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def _woken(self) -> bool:
        return self._stamp is not None and self._stamp != _stamp_of(self.path)

    def _unreadable(self, error: Exception) -> Exception:
        if isinstance(error, FAILURES) and not isinstance(error, sqlite3.ProgrammingError):
            return SourceUnreadableError(str(explained(error, self.path)))
        return error


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _stamp_of(path: Path) -> _Stamp:
    found = path.stat()
    with suppress(FileNotFoundError):
        return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns, _log_of(path).stat().st_size)
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns, 0)


def _needs_a_place(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def _audit_partitions(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    with closing(
        connection.execute(
            "SELECT p.topic, CAST(p.partition AS INTEGER) FROM partitions p "
            "JOIN topics t ON t.name = p.topic WHERE t.audit ORDER BY 1, 2"
        )
    ) as found:
        return found.fetchall()
