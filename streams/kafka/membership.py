"""Which partitions this process owns: membership of a consumer group.

aiokafka's group consumer joins, heartbeats and commits; its partitions stay paused, since each
is read by a `KafkaPartitionReader` of its own. A rebalance takes everything away first (the
eager protocol): `on_revoked` is awaited before the partitions are given up, `on_assigned` gets
the new ones. aiokafka only logs what listeners raise; here it comes out of `run`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from streams.errors import NotOwnerError, SettingsError, TransientError
from streams.kafka.connection import KafkaConnection, bounded, refuse, started
from streams.kafka.link import KafkaLink, Wire
from streams.tasks import cancelled, let_end

__all__ = ["GroupMembership", "Tenure", "TopicPartition"]

REBALANCE_TIMEOUT_MS = 60_000
# How soon partitions added to a topic are noticed.
METADATA_AGE_MS = 10_000
POLL_MS = 1_000
CLOSE_S = 10.0
FOREVER_MS = 2**31 - 1


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Tenure:
    """The time between one assignment and its revocation; partitions of an ended one are dead."""

    def __init__(self, partitions: frozenset[TopicPartition]) -> None:
        self.partitions = partitions
        self.ended = False


class GroupMembership:
    """A member of group `group_id`, subscribed to `topics`.

    `on_assigned` starts the work on its partitions and must not wait for its end; `on_revoked`
    returns when that work is finished or aborted. Both get all partitions at once, one call at a
    time, and may take as long as the group's rebalance time-out of 60 s.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        group_id: str,
        topics: Collection[str],
        on_assigned: Callable[[Sequence[TopicPartition]], Awaitable[None]],
        on_revoked: Callable[[Sequence[TopicPartition]], Awaitable[None]],
    ) -> None:
        self.connection = connection
        self.group_id = group_id
        self._topics = frozenset(topics)
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._consumer: Wire = None
        self._tenure: Tenure | None = None
        self._changing = asyncio.Lock()
        self._in_tenure = asyncio.Event()
        self._assigning: asyncio.Task[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def tenure(self) -> Tenure | None:
        """The present assignment; None before the first and during a rebalance."""
        return self._tenure

    async def start(self) -> None:
        """Join the group; the assignment arrives later. Raises TransientError, SettingsError."""
        assert self._consumer is None, "a membership is started once"
        await self._check_topics()
        self._consumer = AIOKafkaConsumer(
            **self.connection.client_arguments(),
            group_id=self.group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=self.connection.session_timeout_ms,
            heartbeat_interval_ms=self.connection.heartbeat_interval_ms,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=FOREVER_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
        )
        doing = f"joining group {self.group_id}"
        try:
            await started(doing, self._consumer.start(), self.connection.patience_s)
        except BaseException:
            await self.close()
            raise
        self._consumer.subscribe(topics=set(self._topics), listener=_Listener(self))

    async def wait_assigned(self) -> None:
        """Return once a tenure has begun, possibly one of no partition."""
        await self._in_tenure.wait()

    async def run(self) -> None:
        """Stay a member until cancelled or closed.

        Raises what a callback raised, TransientError or SettingsError for the group's own errors.
        """
        poll = asyncio.create_task(self._poll(), name="group poll")
        try:
            done, _ = await asyncio.wait({poll, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            await cancelled(poll)

    async def commit(self, tenure: Tenure, tp: TopicPartition, offset: int, text: str) -> None:
        """Commit a position with its metadata, durable on return.

        Raises NotOwnerError, TransientError (perhaps committed), SettingsError.
        """
        if tenure.ended or self._consumer is None:
            raise NotOwnerError(f"{tp.topic}/{tp.partition} was revoked")
        offsets = {ClientPartition(*tp): OffsetAndMetadata(offset, text)}
        try:
            await bounded(
                f"committing the position of {tp.topic}/{tp.partition}",
                _not_refused(self._consumer.commit(offsets)),
                self.connection.patience_s,
            )
        except _GroupRefusedError as error:
            raise NotOwnerError(
                f"group {self.group_id} refused the position of {tp.topic}/{tp.partition}: "
                "another member owns it"
            ) from error

    async def close(self) -> None:
        """Give the partitions up, leave the group. Idempotent, never raises."""
        await let_end(self._leave())
        if self._failed.done():
            self._failed.exception()

    async def _leave(self) -> None:
        await self.give_up()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await let_end(consumer.stop(), CLOSE_S)

    async def take(self, assigned: frozenset[TopicPartition]) -> None:
        """Begin a tenure (called by the group)."""
        try:
            for tp in assigned:
                # A position keeps the paused consumer from looking for one.
                self._consumer.seek(ClientPartition(*tp), 0)
                self._consumer.pause(ClientPartition(*tp))
        except IllegalStateError as error:
            # Taken away meanwhile: raised here it would only be logged, and nobody would work.
            self._fail(TransientError(f"group {self.group_id} took back what it gave: {error}"))
            return
        async with self._changing:
            self._tenure = Tenure(assigned)
            self._in_tenure.set()
            # Apart, since the group's heartbeat begins only when this call has returned.
            self._assigning = asyncio.create_task(
                self._guarded(self._on_assigned(sorted(assigned)))
            )

    async def give_up(self) -> None:
        """End the tenure once its work is done (called by the group, and on closing)."""
        async with self._changing:
            if self._tenure is None:
                return
            assert self._assigning is not None
            await self._assigning
            await self._guarded(self._on_revoked(sorted(self._tenure.partitions)))
            # Now nobody works on the partitions any more, and the next owner may begin.
            self._tenure.ended = True
            self._tenure = None
            self._in_tenure.clear()

    async def _guarded(self, call: Awaitable[None]) -> None:
        try:
            await call
        except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    async def _poll(self) -> None:
        """Errors of the group reach a consumer only where it is polled."""
        consumer = self._consumer
        while True:
            try:
                await consumer.getmany(timeout_ms=POLL_MS)
            except ConsumerStoppedError:
                return
            except (NoOffsetForPartitionError, OffsetOutOfRangeError):
                # The consumer's own look for a position, begun before it was paused.
                continue
            except (KafkaError, OSError) as error:
                refuse(f"being a member of group {self.group_id}", error)

    async def _check_topics(self) -> None:
        """Before the consumer asks, whose questions create topics where brokers allow it."""
        link = KafkaLink(self.connection)

        async def missing() -> list[str]:
            found = []
            for topic in sorted(self._topics):
                try:
                    await link.describe(topic)
                except UnknownTopicOrPartitionError:
                    found.append(topic)
            return found

        try:
            absent = await link.retrying("asking for the topics to read", missing)
        finally:
            await link.close()
        if absent:
            raise SettingsError(
                [
                    f"topic {topic} does not exist: run `attestream topics apply`"
                    for topic in absent
                ]
            )


class _GroupRefusedError(Exception):
    """The group no longer knows this member, or not for this partition."""


async def _not_refused(commit: Awaitable[None]) -> None:
    try:
        await commit
    except (CommitFailedError, IllegalStateError) as error:
        raise _GroupRefusedError from error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, membership: GroupMembership) -> None:
        self._membership = membership

    async def on_partitions_revoked(self, _revoked: object) -> None:
        await self._membership.give_up()

    async def on_partitions_assigned(self, assigned: Collection[tuple[str, int]]) -> None:
        await self._membership.take(frozenset(TopicPartition(*tp) for tp in assigned))
