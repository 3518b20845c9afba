"""One partition, read committed, by a fetch loop of its own over aiokafka's protocol.

aiokafka's consumer hides what sealing needs: the offset past control batches, the log start, the
high watermark beside the read-committed end, holes, and records with a header name that is not
UTF-8. Nothing here ever resets a position: what is gone is an error.
"""

import asyncio
from typing import NamedTuple

from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoError,
    OffsetOutOfRangeError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from schemas.records import Record
from streams.errors import SourceChangedError
from streams.kafka.batches import Batches
from streams.kafka.connection import KafkaConnection
from streams.kafka.facts import topic_facts
from streams.kafka.link import KafkaLink, Wire
from streams.kafka.requests import EpochEnd, EpochEndRequest
from streams.ports import Bounds, Fetched, TopicFacts
from streams.tasks import heard

__all__ = ["KafkaPartitionReader"]

# A value reaches 8 MiB (formats §2). A larger first batch is sent whole all the same (KIP-74).
FETCH_BYTES = 9 * 1024 * 1024
EARLIEST, LATEST = -2, -1
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
FENCED_LEADER_EPOCH = 74  # aiokafka has no name for it


class _Answer(NamedTuple):
    batches: Batches
    stable_end: int


class KafkaPartitionReader:
    """A `PartitionReader` of one Kafka partition, in no consumer group.

    `dense` is for sources: offsets missing inside the log are an error too. Fetches wait for one
    another; the other methods may run beside them.
    """

    def __init__(
        self, connection: KafkaConnection, topic: str, partition: int, *, dense: bool = False
    ) -> None:
        self._link = KafkaLink(connection)
        self._topic = topic
        self._partition = partition
        self._dense = dense
        self._fetching = asyncio.Lock()
        self._batches: Batches | None = None
        self._ahead: tuple[int, asyncio.Task[_Answer]] | None = None

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._topic

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self._partition

    @property
    def link(self) -> KafkaLink:
        """The client, for whoever has more to ask about the partition."""
        return self._link

    async def bounds(self) -> Bounds:
        """Ask the leader: log start, read-committed end, high watermark."""

        async def ask() -> Bounds:
            # In this order, so that a transaction committed in between never shows as open.
            high_watermark = await self._offset(LATEST, READ_UNCOMMITTED)
            end = await self._offset(LATEST, READ_COMMITTED)
            start = await self._offset(EARLIEST, READ_COMMITTED)
            return Bounds(start, end, max(end, high_watermark))

        return await self._link.retrying(f"asking the bounds of {self._name()}", ask)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        """Committed records from `offset` on; see the port."""
        async with self._fetching:
            return await self._fetch(offset, max_records, max_wait_ms)

    async def epoch_end(self, epoch: int, *, seen: int) -> int:
        """Where a leader epoch ended, as its leader has it; see `SourcePartition`."""

        async def ask() -> int:
            request = EpochEndRequest(self._topic, self._partition, epoch, current=seen)
            response = await self._link.ask_leader(self._topic, self._partition, request)
            answer: EpochEnd = response.answer()
            if answer.error_code == FENCED_LEADER_EPOCH:
                # It leads in a later epoch than the one seen: so it knows that one too.
                request = EpochEndRequest(self._topic, self._partition, epoch, current=-1)
                response = await self._link.ask_leader(self._topic, self._partition, request)
                answer = response.answer()
            error = for_code(answer.error_code)
            if error is not NoError:
                raise error(self._name())
            if answer.end_offset < 0:
                raise KafkaError(f"its leader does not know epoch {epoch} of {self._name()}")
            return answer.end_offset

        return await self._link.retrying(f"asking where an epoch of {self._name()} ended", ask)

    async def facts(self) -> TopicFacts:
        """Ask the cluster who the topic is now."""
        return await topic_facts(self._link, self._topic)

    async def close(self) -> None:
        """Idempotent."""
        self._batches = None
        self._forget_ahead()
        await self._link.close()

    async def _fetch(self, offset: int, max_records: int, max_wait_ms: int) -> Fetched:
        batches = self._batches
        if batches is None or batches.next_offset != offset:
            self._batches = None
        else:
            try:
                if records := batches.take(max_records):
                    return Fetched(records, batches.next_offset, batches.epoch)
                offset = batches.next_offset
            except CorruptRecordException:
                # All of it is fetched once more, from where the caller is: what was taken before
                # the bad batch is not handed out twice, and not lost.
                self._batches = None

        async def attempt() -> list[Record]:
            answer = await self._answer(offset, max_wait_ms)
            self._batches = answer.batches
            self._look_ahead(answer)
            return answer.batches.take(max_records)

        records = await self._link.retrying(f"fetching from {self._name()}", attempt)
        assert self._batches is not None
        return Fetched(records, self._batches.next_offset, self._batches.epoch)

    def _name(self) -> str:
        return f"{self._topic}/{self._partition}"

    def _look_ahead(self, answer: _Answer) -> None:
        # More is known to be there, so that the broker answers this at once.
        offset = answer.batches.end
        if offset < answer.stable_end and self._ahead is None:
            self._ahead = (offset, asyncio.create_task(self._ask(offset, 0)))

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            task = self._ahead[1]
            self._ahead = None
            task.cancel()
            task.add_done_callback(heard)

    async def _answer(self, offset: int, max_wait_ms: int) -> _Answer:
        if self._ahead is not None:
            expected, task = self._ahead
            if expected == offset:
                try:
                    return await asyncio.shield(task)
                finally:
                    # One that failed is asked anew; one still under way serves the next call.
                    if task.done():
                        self._ahead = None
            self._forget_ahead()
        return await self._ask(offset, max_wait_ms)

    async def _ask(self, offset: int, max_wait_ms: int) -> _Answer:
        wanted = [(self._topic, [(self._partition, offset, FETCH_BYTES)])]
        request = FetchRequest(max_wait_ms, 1, FETCH_BYTES, READ_COMMITTED, wanted)
        response = await self._link.ask_leader(
            self._topic, self._partition, request, long_poll=True
        )
        ((_, ((_, error_code, _, stable_end, *_, aborted, data),)),) = _four_last(response)
        error = for_code(error_code)
        if error is OffsetOutOfRangeError:
            await self._explain(offset)
        if error is not NoError:
            raise error(self._name())
        batches = Batches(data or b"", offset, aborted or (), dense=self._dense)
        if data and batches.end == offset:
            raise KafkaError(f"no whole batch in an answer of {len(data)} bytes")
        return _Answer(batches, stable_end)

    async def _explain(self, offset: int) -> None:
        """Raise SourceChangedError, unless the answer was a new leader's passing ignorance."""
        start = await self._offset(EARLIEST, READ_COMMITTED)
        end = await self._offset(LATEST, READ_UNCOMMITTED)
        if offset < start:
            raise SourceChangedError(
                f"offset {offset} of {self._name()} is gone: its log starts at {start} now; "
                "retention or a deletion passed the reader"
            )
        if offset > end:
            raise SourceChangedError(
                f"offset {offset} of {self._name()} is beyond its end {end}: the topic was "
                "truncated, or deleted and created again"
            )

    async def _offset(self, which: int, isolation: int) -> int:
        wanted = [(self._topic, [(self._partition, which)])]
        request = OffsetRequest(-1, isolation, wanted)
        response = await self._link.ask_leader(self._topic, self._partition, request)
        ((_, ((_, error_code, _, offset),)),) = response.topics
        error = for_code(error_code)
        if error is not NoError:
            raise error(self._name())
        return int(offset)


def _four_last(response: Wire) -> Wire:
    # From v11 on `preferred_read_replica` stands between the aborted transactions and the data.
    if response.API_VERSION < 11:
        return response.topics
    return [
        (topic, [(*answer[:-2], answer[-1]) for answer in partitions])
        for topic, partitions in response.topics
    ]
