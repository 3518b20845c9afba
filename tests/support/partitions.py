"""Reading a whole partition, once what was committed to it can be seen."""

import asyncio

from schemas.records import Record
from streams.ports import Bounds, PartitionReader

__all__ = ["read_all", "settled"]


async def settled(reader: PartitionReader) -> Bounds:
    """Bounds with no transaction open.

    Kafka acknowledges a commit when it is decided; its marker follows within milliseconds.
    """
    bounds = await reader.bounds()
    for _ in range(500):
        if bounds.end == bounds.high_watermark:
            return bounds
        await asyncio.sleep(0.02)
        bounds = await reader.bounds()
    raise AssertionError(f"a transaction stays open: {bounds}")


async def read_all(reader: PartitionReader, page: int = 1000) -> list[Record]:
    """Every committed record, in pages; each page moves on and keeps to its limit."""
    offset, end, _ = await settled(reader)
    records: list[Record] = []
    while offset < end:
        fetched = await reader.fetch(offset, max_records=page, max_wait_ms=100)
        assert fetched.next_offset > offset
        assert len(fetched.records) <= page
        offset = fetched.next_offset
        records += fetched.records
    assert offset == end
    return records
