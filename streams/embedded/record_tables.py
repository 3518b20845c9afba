"""Rows of the tables of records, for the engine. The verifier reads them by `history`."""

import sqlite3
from collections.abc import Sequence

from schemas.records import Record
from streams.embedded.layout import decode_headers, encode_headers
from streams.ports import NewRecord

__all__ = ["insert_records", "select_records"]

FETCH_BYTES = 8 * 2**20  # of values; one record at least


def insert_records(
    connection: sqlite3.Connection, partition_id: int, first: int, records: Sequence[NewRecord]
) -> None:
    """Put `records` at the offsets from `first` on, inside the caller's transaction.

    Raises:
        ValueError: a timestamp before 1970, which no topic takes.
    """
    rows = [
        (offset, timestamp, key, value, encode_headers(headers) if headers else None)
        for offset, (timestamp, value, key, headers) in enumerate(records, first)
    ]
    lowest = min(row[1] for row in rows)
    if lowest < 0:
        raise ValueError(f"a record's timestamp must not be negative: {lowest}")
    connection.executemany(
        f"INSERT INTO records_{partition_id} VALUES (?, ?, ?, ?, ?)",  # noqa: S608  # an integer
        rows,
    )


def select_records(
    connection: sqlite3.Connection, partition_id: int, offset: int, end: int, most: int
) -> list[Record]:
    """Records of [offset, end), at most `most` and about `FETCH_BYTES`.

    Raises:
        ValueError: a row does not hold what was written.
    """
    rows = connection.execute(
        "SELECT offset, timestamp, key, value, headers "  # noqa: S608  # an integer
        f"FROM records_{partition_id} WHERE offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
        (offset, end, most),
    )
    records: list[Record] = []
    room = FETCH_BYTES
    for at, timestamp, key, value, headers in rows:
        records.append(
            Record(at, timestamp, key, value, decode_headers(headers) if headers else ())
        )
        room -= len(value) if value else 0
        if room <= 0:
            break
    # An open statement would hold its snapshot, and the write-ahead log could not be reused.
    rows.close()
    return records
