"""Events into a topic: a plain idempotent producer, for `send`.

Keyed records go where every Kafka client puts them (murmur2 of the key, as aiokafka's default
partitioner has it); records without a key are spread.
"""

import asyncio
from types import TracebackType
from typing import NoReturn, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError

from streams.errors import TransientError
from streams.kafka.connection import KafkaConnection, bounded, refuse, started
from streams.kafka.link import KafkaLink, Wire
from streams.ports import NewRecord
from streams.tasks import let_end

__all__ = ["KafkaEventSink"]

IN_FLIGHT_MAX = 10_000
LINGER_MS = 5
BATCH_BYTES = 256 * 1024
REQUEST_BYTES = 8 * 1024 * 1024 + 64 * 1024


class KafkaEventSink:
    """Delivers every record it was given, or raises; open it with `async with`.

    Within a partition the order of `send` is kept, and nothing is written twice while the sink
    lives. At the end everything is delivered; an exception that ends it takes precedence.
    """

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: Wire = None
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Raises TransientError (also where there is no such topic), SettingsError."""
        doing = f"opening topic {self._topic} to write"
        link = KafkaLink(self._connection)
        try:
            # Asked here first: the producer's own question may create the topic.
            await link.retrying(doing, lambda: link.describe(self._topic))
        finally:
            await link.close()
        producer = AIOKafkaProducer(
            **self._connection.client_arguments(),
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
        )
        try:
            await started(doing, producer.start(), self._connection.patience_s)
        except BaseException:
            await let_end(producer.stop(), self._connection.patience_s)
            raise
        self._producer = producer
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for every delivery. Raises TransientError for the first that failed."""
        patience = self._connection.patience_s
        try:
            if error is None and self._failure is None:
                await bounded(f"writing to {self._topic}", self._producer.flush(), patience)
        finally:
            # Nothing is waited for again: what is not delivered now was reported above.
            await let_end(self._producer.stop(), patience)
        if error is None and self._failure is not None:
            self._refuse(self._failure)

    async def send(self, record: NewRecord) -> None:
        """Hand over one record, waiting while too many are on their way.

        Raises TransientError where this one or an earlier one failed, SettingsError where the
        cluster refuses the writer.
        """
        if self._failure is not None:
            self._refuse(self._failure)
        if record.timestamp < 0:
            raise ValueError(f"a record's timestamp must not be negative: {record.timestamp}")
        headers = [(name.decode(), value) for name, value in record.headers]
        await self._room.acquire()
        try:
            sent = await self._producer.send(
                self._topic,
                record.value,
                key=record.key,
                timestamp_ms=record.timestamp,
                headers=headers,
            )
        except (KafkaError, OSError) as error:
            self._room.release()
            self._failure = error
            self._refuse(error)
        sent.add_done_callback(self._delivered)

    def _delivered(self, sent: asyncio.Future[object]) -> None:
        self._room.release()
        if not sent.cancelled() and (error := sent.exception()) and self._failure is None:
            self._failure = error

    def _refuse(self, error: BaseException) -> NoReturn:
        if isinstance(error, (MessageSizeTooLargeError, InvalidTimestampError)):
            raise TransientError(
                f"{self._topic} does not take a record ({error}); what was sent before it and "
                "what stood behind it may or may not have been delivered"
            ) from error
        refuse(f"writing to {self._topic}", error)
