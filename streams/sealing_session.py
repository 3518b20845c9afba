"""What a sealer knows since one `start()` of its writer; dropped whole on any failure."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, NoReturn

from schemas.records import Record
from streams.audit.merkle import Frontier
from streams.audit.sealing import TRANSACTION_BYTES_MAX
from streams.ports import Fetched, NewRecord, PartitionWriter
from streams.recovery import Recovered

__all__ = ["RECORD_OVERHEAD", "Note", "Session", "ended", "fitting", "side_by_side"]

RECORD_OVERHEAD = 600  # bytes an audit record adds to its source record, generously
HEADER_OVERHEAD = 11  # bytes a header's lengths add


class Note(NamedTuple):
    """A signed checkpoint in hand, over `frontier`."""

    text: str
    frontier: Frontier
    timestamp: int
    ready_at: float


@dataclass(slots=True)
class Session:
    """The state both halves of a sealer share."""

    writer: PartitionWriter
    found: Recovered
    # What is committed: the log, and the source position it was read up to.
    committed: Frontier
    committed_offset: int
    timestamp: int
    signed_size: int
    audit_end: int
    # What is fetched and planned runs ahead of it by at most one transaction.
    planned: Frontier
    planned_offset: int
    fetch_offset: int
    held: deque[Record] = field(default_factory=deque)
    fetch: asyncio.Task[Fetched] | None = None
    # The tail as (log size behind a batch, its bytes), and since when there is one.
    tail: deque[tuple[int, int]] = field(default_factory=deque)
    tail_since: float = 0.0
    note: Note | None = None
    signer_failure: str = ""
    last_row: NewRecord | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)  # wakes the append half
    committed_more: asyncio.Event = field(default_factory=asyncio.Event)  # the notarise half


def fitting(records: deque[Record], most: int) -> int:
    """How many records make one transaction: `most`, TRANSACTION_BYTES_MAX, and at least one."""
    total = 0
    for count, record in enumerate(islice(records, most)):
        total += RECORD_OVERHEAD + len(record.value or b"") + len(record.key or b"")
        for name, value in record.headers:
            total += HEADER_OVERHEAD + len(name) + len(value or b"")
        if total > TRANSACTION_BYTES_MAX:
            return max(count, 1)
    return min(most, len(records))


async def side_by_side(*halves: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Run endless coroutines; when one raises, end them all and raise it."""
    tasks = [asyncio.create_task(half) for half in halves]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    finally:
        await ended(*tasks)
    raise next(failure for failure in failures if failure is not None)


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """End tasks whose outcomes no longer matter.

    All are told before any is waited for: who is cancelled while waiting leaves none behind.
    """
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.add_done_callback(_heard)
        task.cancel()
    if ending:
        await asyncio.wait(ending)


def _heard(done: asyncio.Task[Any]) -> None:
    if not done.cancelled():
        done.exception()
