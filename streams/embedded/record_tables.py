"""Rows of the tables of records: one statement to write them, one to read them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from schemas.records import Record
from streams.embedded.layout import decode_headers, encode_headers
from streams.ports import NewRecord

__all__ = ["Row", "insert_records", "records_of", "select_rows"]

Row = tuple[int, int, bytes | None, bytes | None, bytes | None]

READ_BYTES = 8 * 2**20  # of values at a time; one record at least
LAST = 2**63 - 1
# Whatever type a damaged row claims, its bytes are what is handed on.
COLUMNS = (
    "offset, CAST(timestamp AS INTEGER), CAST(key AS BLOB), CAST(value AS BLOB), "
    "CAST(headers AS BLOB)"
)


def insert_records(
    connection: sqlite3.Connection, partition_id: int, first: int, records: Sequence[NewRecord]
) -> None:
    """Put `records` at the offsets from `first` on, inside the caller's transaction."""
    rows = [
        (offset, timestamp, key, value, encode_headers(headers) if headers else None)
        for offset, (timestamp, value, key, headers) in enumerate(records, first)
    ]
    connection.executemany(
        f"INSERT INTO records_{partition_id} VALUES (?, ?, ?, ?, ?)",  # noqa: S608  # of an integer
        rows,
    )


def select_rows(
    connection: sqlite3.Connection, partition_id: int, offset: int, most: int, end: int = LAST
) -> list[Row]:
    """Rows of [offset, end) in order, at most `most` and about `READ_BYTES`, one at least."""
    # The statement is closed at once: an open one would hold its snapshot, and with it the log.
    rows: list[Row] = []
    room = READ_BYTES
    table = f"records_{partition_id}"
    with closing(
        connection.execute(
            f"SELECT {COLUMNS} FROM {table} "  # noqa: S608  # of an integer
            "WHERE offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
            (offset, end, most),
        )
    ) as found:
        for row in found:
            rows.append(row)
            room -= len(row[3] or b"")
            if room <= 0:
                break
    return rows


def records_of(rows: Sequence[Row]) -> list[Record]:
    """Rows as records.

    Raises:
        ValueError: headers are damaged.
    """
    # `Record(...)` costs 0.5 µs, this 0.2: a third of what a record costs to read.
    return [
        tuple.__new__(Record, (offset, timestamp, key, value, decode_headers(h) if h else ()))
        for offset, timestamp, key, value, h in rows
    ]
