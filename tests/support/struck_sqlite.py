"""Every call into SQLite that `streams.embedded` makes, through connections that may be struck.

A call's name is who makes it and what is asked: `_write COMMIT`, `state fetchone`.
"""

import sqlite3
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from tests.support.struck import LIFE, Calls

__all__ = ["sqlite_error", "strikable"]

FOLDER = "/streams/embedded/"
PLAIN = sqlite3.connect


def strikable(*arguments: Any, **named: Any) -> sqlite3.Connection:
    """In the place of `sqlite3.connect`."""
    calls = LIFE.get()
    if calls is None:
        plain: sqlite3.Connection = PLAIN(*arguments, **named)
        return plain

    def connect() -> sqlite3.Connection:
        connection: StruckConnection = PLAIN(*arguments, **named, factory=StruckConnection)
        connection.calls = calls
        return connection

    opened: sqlite3.Connection = calls.around(f"{caller()} connect", connect)
    return opened


class StruckCursor(sqlite3.Cursor):
    """Asks its connection's calls before and after whatever it does."""

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        self._around(
            " ".join(sql.split()[:3]), lambda: sqlite3.Cursor.execute(self, sql, parameters)
        )
        return self

    def executemany(self, sql: str, parameters: Any) -> Self:
        many = sqlite3.Cursor.executemany
        self._around(" ".join(sql.split()[:2]), lambda: many(self, sql, parameters))
        return self

    def fetchone(self) -> Any:
        return self._around("fetchone", lambda: sqlite3.Cursor.fetchone(self))

    def fetchall(self) -> list[Any]:
        found: list[Any] = self._around("fetchall", lambda: sqlite3.Cursor.fetchall(self))
        return found

    def __next__(self) -> Any:
        ended = object()

        def following() -> Any:
            try:
                return sqlite3.Cursor.__next__(self)
            except StopIteration:
                return ended

        row = self._around("next", following)
        if row is ended:
            raise StopIteration
        return row

    def _around(self, what: str, do: Callable[[], Any]) -> Any:
        connection = self.connection
        assert isinstance(connection, StruckConnection)
        # While it is being opened a connection has nobody to ask yet.
        calls = connection.calls
        return do() if calls is None else calls.around(f"{caller()} {what}", do)


class StruckConnection(sqlite3.Connection):
    """A real connection; `calls` are those of the life it was opened in."""

    calls: Calls | None = None

    def cursor(self, _factory: Any = None) -> StruckCursor:  # type: ignore[override]
        return super().cursor(StruckCursor)

    def execute(self, sql: str, parameters: Any = ()) -> StruckCursor:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> StruckCursor:
        return self.cursor().executemany(sql, parameters)


def caller() -> str:
    """The innermost function of the engine on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and FOLDER not in frame.f_code.co_filename:
        frame = frame.f_back
    assert frame is not None, "somebody else uses the engine's connection"
    return frame.f_code.co_qualname.rpartition("<locals>.")[2]


def sqlite_error(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    """An error as SQLite raises it, with its code."""
    error = kind(f"struck with {code}")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "STRUCK"
    return error
