"""What SQLite's errors mean to a user, one sentence each, in the project's types."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import AttestreamError, SettingsError, SourceUnreadableError, TransientError

__all__ = ["FAILURES", "explained", "explaining"]

# SQLite quotes damaged text in its messages, which Python then fails to decode.
FAILURES = (sqlite3.Error, UnicodeDecodeError)
PRIMARY = 0xFF  # an extended code carries its primary one in the lowest byte

MEANINGS: dict[int, tuple[type[AttestreamError], str]] = {
    sqlite3.SQLITE_BUSY: (TransientError, "was locked by another process for too long"),
    sqlite3.SQLITE_LOCKED: (TransientError, "was locked by another process for too long"),
    sqlite3.SQLITE_FULL: (TransientError, "has no space left to grow: free some on its disk"),
    sqlite3.SQLITE_IOERR: (TransientError, "is on a disk that fails: {error}"),
    sqlite3.SQLITE_NOMEM: (TransientError, "needs more memory than there is"),
    sqlite3.SQLITE_READONLY: (SettingsError, "may not be written: check its owner and mode"),
    sqlite3.SQLITE_PERM: (SettingsError, "may not be opened: check its owner and mode"),
    sqlite3.SQLITE_CANTOPEN: (
        SettingsError,
        "cannot be opened: check the owner and mode of it and its directory",
    ),
    sqlite3.SQLITE_NOTADB: (SourceUnreadableError, "is not an attestream database"),
}


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as the project's; misuse of its interface stays a defect."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except FAILURES as error:
        raise explained(error, path) from error


def explained(error: Exception, path: Path) -> AttestreamError:
    """The error to raise in place of `error`, met on the database at `path`."""
    # Without a code Python's binding raised it, over what it read.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & PRIMARY
    meaning = MEANINGS.get(code)
    if meaning is None:
        return SourceUnreadableError(f"{path} is damaged: {error}; restore it from a copy")
    kind, sentence = meaning
    sentence = f"{path} {sentence.format(error=error)}"
    return SettingsError([sentence]) if kind is SettingsError else kind(sentence)
