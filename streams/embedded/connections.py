"""Opening `attestream.db`: every connection is configured here, and every file judged first.

A connection sets the write-ahead log and `synchronous=FULL` by itself: neither may depend on how
a distribution built SQLite. A commit returns after its fsync.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from streams.embedded.failures import explaining
from streams.embedded.layout import APPLICATION_ID, FORMAT, PAGE_BYTES, TABLES
from streams.errors import SettingsError, SourceUnreadableError

__all__ = ["connect", "create_database", "judge", "readable", "transaction"]

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
            judge(connection, path)
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


def create_database(path: Path, origin: str | None) -> None:
    """Make the database, with the identity that stays with it for ever, if there is none.

    It is made whole beside its place and then linked to it: no process ever sees half of it, and
    of several that make one at once, one is first.

    Raises:
        SettingsError: it cannot be made.
        TransientError: the disk is full or fails.
    """
    if path.exists():
        return
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        # SQLite gives the files beside it the same mode.
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with explaining(path), closing(_opened(new)) as connection:
            _create_tables(connection, origin)
        with suppress(FileExistsError):
            os.link(new, path)
        _sync_directory(path.parent)
        # Now this home is who it is.
    except OSError as error:
        raise SettingsError([f"{path} cannot be made: {error.strerror}"]) from error
    finally:
        new.unlink(missing_ok=True)


def judge(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not an attestream database of this format, before anything in it is run.

    Raises:
        SourceUnreadableError: why, in one sentence.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    made = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
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


def _opened(new: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(new, isolation_level=None)
    for pragma in (f"page_size={PAGE_BYTES}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


def _create_tables(connection: sqlite3.Connection, origin: str | None) -> None:
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        for statement in TABLES.values():
            connection.execute(statement)
        connection.execute(
            "INSERT INTO identity VALUES (1, ?, ?)",
            (secrets.token_hex(16), origin or f"embedded-{secrets.token_hex(8)}"),
        )


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
