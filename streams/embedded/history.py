"""Reading `attestream.db` as evidence: read-only, by whoever checks it, trusting nothing in it.

What a record holds reaches the verifier as it stands in the file, whatever happened to it, and
holes are passed on: what valid history is, `streams.audit.trail` alone decides. Only what cannot
be read at all is an error here. Records come in pages, so that memory is flat and a running
deployment is not held up; every page is a snapshot of its own, and a log only grows.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from schemas.records import Record
from streams.embedded.evidence import Evidence
from streams.embedded.failures import explaining
from streams.embedded.record_tables import Row, records_of
from streams.errors import SettingsError, SourceUnreadableError

__all__ = [
    "copy_database",
    "has_partition",
    "list_audit_partitions",
    "partition_end",
    "read_partition",
]


def list_audit_partitions(path: Path) -> list[tuple[str, int]]:
    """Topic and partition of every log in a home directory or a lone database file, in order.

    Raises:
        SourceUnreadableError: no database, damaged, or of another format.
    """
    with closing(Evidence(path)) as evidence:
        return evidence.audit_partitions()


def has_partition(path: Path, topic: str, partition: int) -> bool:
    """Whether there is a partition of this name that can be read."""
    with closing(Evidence(path)) as evidence:
        try:
            evidence.partition_id(topic, partition)
        except SourceUnreadableError:
            return False
        return True


def partition_end(path: Path, topic: str, partition: int) -> int:
    """The offset behind the last record, 0 where there is none or it cannot be told."""
    with closing(Evidence(path)) as evidence, suppress(SourceUnreadableError):
        return evidence.end(evidence.partition_id(topic, partition))
    return 0


def read_partition(path: Path, topic: str, partition: int) -> Iterator[Record]:
    """Every record of a partition by rising offset; also while the deployment is running.

    Raises:
        SourceUnreadableError: no database, no such partition, or damaged: the sentence says where.
    """
    with closing(Evidence(path)) as evidence:
        partition_id = evidence.partition_id(topic, partition)
        offset = 0
        while rows := evidence.page(partition_id, offset):
            yield from _records(rows, f"{evidence.path}: {topic}/{partition}")
            if rows[-1][0] < offset:
                # The pages of the file are no tree any more; going on might never end.
                raise SourceUnreadableError(
                    f"{evidence.path} is damaged: records of {topic}/{partition} have no order"
                )
            offset = rows[-1][0] + 1


def copy_database(source: Path, target: Path) -> None:
    """A whole, consistent copy of a database as one file, also while it is written.

    Raises:
        SettingsError: `target` exists or cannot be made.
        SourceUnreadableError: the source cannot be read.
        TransientError: the disk of the copy is full or fails.
    """
    with closing(Evidence(source)) as evidence:
        try:
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise SettingsError([f"{target} cannot be made: {error.strerror}"]) from error
        try:
            with explaining(target), closing(_opened(target)) as copy:
                evidence.copy_to(copy)
                # One file with no log beside it: it can be read where nothing can be written.
                copy.execute("PRAGMA journal_mode=DELETE")
        except BaseException:
            target.unlink()
            raise


def _opened(target: Path) -> sqlite3.Connection:
    copy = sqlite3.connect(target, isolation_level=None)
    copy.execute("PRAGMA synchronous=FULL")
    return copy


def _records(rows: list[Row], where: str) -> Iterator[Record]:
    try:
        yield from records_of(rows)
    except ValueError:
        # Headers are damaged somewhere: the records before that are still evidence.
        for row in rows:
            try:
                yield from records_of([row])
            except ValueError as error:
                sentence = f"{where} is damaged at offset {row[0]}: {error}"
                raise SourceUnreadableError(sentence) from error
