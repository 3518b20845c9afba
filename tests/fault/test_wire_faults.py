"""A fetch that goes wrong once: no record is lost, none comes twice, nothing waits for ever."""

import asyncio

from aiokafka.errors import NotLeaderForPartitionError

from schemas.records import Record
from streams.kafka.batches import Batches
from streams.kafka.connection import KafkaConnection
from streams.kafka.reader import KafkaPartitionReader, _Answer
from tests.support.record_batches import BatchKind, record_batch

CONNECTION = KafkaConnection(bootstrap="127.0.0.1:1", patience_s=5)
END = 8
SECOND = 1_700_000_000_000


def batch(base: int, timestamp: int = SECOND) -> bytes:
    records = [Record(base + i, timestamp, b"k", b"v%d" % (base + i)) for i in range(2)]
    return bytes(record_batch(records, BatchKind(base_offset=base)))


class FlippedBit(KafkaPartitionReader):
    """The last batch of the first answer has one bit wrong."""

    answers = 0

    async def _ask(self, offset: int, max_wait_ms: int) -> _Answer:  # noqa: ARG002
        data = bytearray(b"".join(batch(base) for base in range(offset // 2 * 2, END, 2)))
        self.answers += 1
        if self.answers == 1:
            data[-1] ^= 1
        return _Answer(Batches(bytes(data), offset, (), dense=True), END)


class MovedLeader(KafkaPartitionReader):
    """The look-ahead fails once."""

    failed = False

    async def _ask(self, offset: int, max_wait_ms: int) -> _Answer:  # noqa: ARG002
        if offset == 2 and not self.failed:
            self.failed = True
            raise NotLeaderForPartitionError("once")
        return _Answer(Batches(batch(offset), offset, (), dense=True), END)


async def offsets_of(reader: KafkaPartitionReader) -> list[int]:
    found: list[int] = []
    at = 0
    while at < END:
        fetched = await reader.fetch(at, max_records=4, max_wait_ms=0)
        found += [record.offset for record in fetched.records]
        at = fetched.next_offset
        await asyncio.sleep(0.01)
    return found


async def test_bit_flipped_on_the_wire_loses_no_record() -> None:
    reader = FlippedBit(CONNECTION, "t", 0, dense=True)
    assert await offsets_of(reader) == list(range(END))
    assert reader.answers > 1


async def test_failed_look_ahead_is_asked_again() -> None:
    reader = MovedLeader(CONNECTION, "t", 0, dense=True)
    async with asyncio.timeout(2):
        assert await offsets_of(reader) == list(range(END))
    assert reader.failed


def test_timestamp_nobody_can_mean_is_read_as_none() -> None:
    batches = Batches(batch(0, -5), 0, ())
    assert {record.timestamp for record in batches.take(10)} == {-1}
