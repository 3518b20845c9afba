"""Reading a partition that changes while it is read: an end that is gone is not waited for."""

from typing import cast

import pytest

from schemas.records import Record
from streams.cli.root_logs import live_roots
from streams.errors import SourceChangedError, TransientError
from streams.history import pages, read_range
from streams.ports import Bounds, Fetched, PartitionReader
from streams.proving import LoggedProofs
from tests.support.sealed_log import ORIGIN, SealedLog

ROWS = [Record(at, 0, None, b"%d" % at) for at in range(6)]


class Shrinking:
    """Loses its end, or its beginning, after the first answer."""

    topic, partition = "audit.topic", 0

    def __init__(self, after: Bounds, rows: list[Record] = ROWS) -> None:
        self.now, self.after, self.rows = Bounds(0, 6, 6), after, rows
        self.is_closed = False

    async def bounds(self) -> Bounds:
        return self.now

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        del max_records, max_wait_ms
        if not self.now.start <= offset <= self.now.high_watermark:
            raise SourceChangedError(f"offset {offset} is out of range")
        held = [row for row in self.rows[offset : offset + 2] if row.offset < self.now.end]
        self.now = self.after
        return Fetched(held, offset + len(held))

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("after", [Bounds(0, 2, 2), Bounds(0, 2, 6), Bounds(0, 1, 1)])
async def test_a_log_that_loses_its_end_while_it_is_read_is_read_anew(after: Bounds) -> None:
    with pytest.raises(TransientError):
        await read_range(cast(PartitionReader, Shrinking(after)), 0, 6)


async def test_a_log_that_loses_its_beginning_while_it_is_read_is_read_anew() -> None:
    with pytest.raises(TransientError, match="read while it changed"):
        await read_range(cast(PartitionReader, Shrinking(Bounds(5, 6, 6))), 0, 6)


async def test_a_log_that_grows_is_read_to_where_it_was_asked_for() -> None:
    rows = await read_range(cast(PartitionReader, Shrinking(Bounds(0, 6, 9))), 0, 6)
    assert rows == ROWS


async def test_pages_hold_what_was_there_when_the_end_was_asked_for() -> None:
    reader = cast(PartitionReader, Shrinking(Bounds(0, 6, 9)))
    # What comes in one answer with the last of them is behind the end.
    assert [page async for page in pages(reader, 1, 4)] == [ROWS[1:3], ROWS[3:4]]


async def test_a_proof_from_a_log_that_loses_its_end_is_not_waited_for() -> None:
    log = SealedLog()
    log.append(5)
    log.checkpoint()
    reader = Shrinking(Bounds(0, 2, 2), log.rows)
    with pytest.raises(TransientError, match="ends before it now"):
        await LoggedProofs(cast(PartitionReader, reader), ORIGIN).consistency(1, 5)


async def test_heads_that_lose_their_end_are_not_waited_for() -> None:
    reader = Shrinking(Bounds(0, 2, 2))
    roots = live_roots(
        lambda _: cast(PartitionReader, reader), "audit.decisions", ["audit.attestream.heads"]
    )
    (rows,) = roots.rows("heads")
    with pytest.raises(TransientError, match="ends before it now"):
        async for _ in rows:
            pass
    assert reader.is_closed
