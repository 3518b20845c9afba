"""Opening `attestream.db`: every connection is configured here, and every file judged first.

A connection sets the write-ahead log and `synchronous=FULL` by itself: neither may depend on how
a distribution built SQLite. A commit returns after its fsync.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streams.embedded.failures import explaining
from streams.embedded.layout import APPLICATION_ID, FORMAT, PAGE_BYTES, TABLES
from streams.errors import SettingsError, SourceUnreadableError

__all__ = ["connect", "create_file", "create_tables", "is_ours", "readable", "transaction"]

BUSY_S = 10.0
PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA fullfsync=ON",  # macOS: an fsync that reaches the platter
    "PRAGMA checkpoint_fullfsync=ON",
    f"PRAGMA wal_autocheckpoint={8 * 2**20 // PAGE_BYTES}",
    f"PRAGMA journal_size_limit={64 * 2**20}",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
)


def connect(path: Path, *, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """A connection to an existing file, for writing; usable from one thread at a time.

    Raises:
        SourceUnreadableError: not an attestream database, or damaged; nothing in it was changed.
        TransientError, SettingsError: locked; not to be opened or written.
    """
    with explaining(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_s,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.text_factory = readable
        try:
            is_ours(connection, path)
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # a new file's only
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            for pragma in PRAGMAS:
                connection.execute(pragma).close()
        except BaseException:
            connection.close()
            raise
    if mode != "wal":
        connection.close()
        raise SettingsError([f"{path} takes no write-ahead log here: it stays {mode!r}"])
    return connection


def readable(text: bytes) -> str:
    """Text of the database as a string, damaged or not."""
    return text.decode("utf-8", "replace")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """`begin`, the body, COMMIT; ROLLBACK when anything raises. SQLite's errors pass through."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
        # Now what was written is on the disk, whole.
    except BaseException:
        # SQLite has rolled back by itself where the disk was full or failed.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def create_file(path: Path) -> None:
    """Make the file if there is none, for its owner only; SQLite gives its companions that mode.

    Raises:
        SettingsError: it cannot be made.
    """
    if path.exists():
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        directory = os.open(path.parent, os.O_RDONLY)
        with suppress(OSError):  # not every file system has it
            os.fsync(directory)
        os.close(directory)
    except OSError as error:
        raise SettingsError([f"{path} cannot be made: {error.strerror}"]) from error


def create_tables(connection: sqlite3.Connection, path: Path, origin: str | None) -> None:
    """Make the tables of an empty file and the identity that stays with it for ever.

    Another process may be doing the same: the one that comes second changes nothing.
    """
    with explaining(path), transaction(connection, "BEGIN IMMEDIATE"):
        if is_ours(connection, path):
            return
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        for statement in TABLES.values():
            connection.execute(statement)
        connection.execute(
            "INSERT INTO identity VALUES (1, ?, ?)",
            (secrets.token_hex(16), origin or f"embedded-{secrets.token_hex(8)}"),
        )


def is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """True for an attestream database of this format, False for an empty file.

    Raises:
        SourceUnreadableError: anything else, in one sentence.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    made = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    if application == version == 0 and not made:
        return False
    if application != APPLICATION_ID:
        raise SourceUnreadableError(f"{path} is not an attestream database")
    if version != FORMAT:
        raise SourceUnreadableError(
            f"{path} has format {version}, this release reads format {FORMAT}: "
            "use the release that wrote it, or a newer one"
        )
    for name, statement in TABLES.items():
        if made.get(name) != statement:
            raise SourceUnreadableError(f"{path} is damaged: its table {name} is not as it was")
    return True
