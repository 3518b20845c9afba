"""Reading a partition that changes while it is read: an end that is gone is not waited for."""

from typing import cast

import pytest

from schemas.records import Record
from streams.errors import SourceChangedError, TransientError
from streams.history import read_range
from streams.ports import Bounds, Fetched, PartitionReader

ROWS = [Record(at, 0, None, b"%d" % at) for at in range(6)]


class Shrinking:
    """Loses its end, or its beginning, after the first answer."""

    topic, partition = "audit.topic", 0

    def __init__(self, after: Bounds) -> None:
        self.now, self.after = Bounds(0, 6, 6), after

    async def bounds(self) -> Bounds:
        return self.now

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        del max_records, max_wait_ms
        if not self.now.start <= offset <= self.now.high_watermark:
            raise SourceChangedError(f"offset {offset} is out of range")
        held = [row for row in ROWS[offset : offset + 2] if row.offset < self.now.end]
        self.now = self.after
        return Fetched(held, offset + len(held))


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
