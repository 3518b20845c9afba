"""What SQLite's errors mean to a user, one sentence each, in the project's types."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import AttestreamError, SettingsError, SourceUnreadableError, TransientError

__all__ = ["explained", "explaining"]

PRIMARY = 0xFF  # an extended code carries its primary one in the lowest byte


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as the project's; misuse of its interface stays a defect."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        raise explained(error, path) from error


def explained(error: sqlite3.Error, path: Path) -> AttestreamError:
    """The error to raise in place of `error`, met on the database at `path`."""
    # Without a code it was raised by Python's binding over what it read: a text that is none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & PRIMARY
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return TransientError(f"{path} was locked by another process for too long")
        case sqlite3.SQLITE_FULL:
            return TransientError(f"no space is left for {path}: free some; nothing was lost")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM:
            name = getattr(error, "sqlite_errorname", "")
            return TransientError(f"the disk under {path} fails: {error} ({name})")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return SettingsError([f"{path} may not be written: check its owner and mode"])
        case sqlite3.SQLITE_CANTOPEN:
            return SettingsError([f"{path} cannot be opened: check its directory, owner and mode"])
        case sqlite3.SQLITE_NOTADB:
            return SourceUnreadableError(f"{path} is not an attestream database")
        case _:
            return SourceUnreadableError(f"{path} is damaged: {error}; restore it from a copy")
