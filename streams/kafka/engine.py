"""The Kafka deployment as an `Engine`: readers, writers, sinks and groups of one cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from aiokafka.errors import UnknownTopicOrPartitionError

from streams.engine import EventSink, Ownership, PartitionName
from streams.errors import NotOwnerError, SettingsError, TransientError
from streams.kafka.connection import KafkaConnection
from streams.kafka.link import KafkaLink
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.producer import KafkaEventSink
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.requests import MembersRequest, TopicRequest
from streams.kafka.source import KafkaSourcePartition
from streams.kafka.topic_admin import apply_plan, plan_topics
from streams.kafka.topics import TopicOptions, declared_topics
from streams.kafka.writer import KafkaPartitionWriter
from streams.telemetry.logs import get_log
from streams.topology import Topology

__all__ = ["KafkaEngine", "KafkaOwnership", "cluster_id"]

REJOIN_S = 2.0
OWNERSHIP_OFFSET = 0
CLIENT_ID = "attestream@"
log = get_log("group")

OnChange = Callable[[Sequence[PartitionName]], Awaitable[None]]


class KafkaOwnership:
    """One role's membership of its consumer group; joins again after what may pass."""

    def __init__(self, connection: KafkaConnection, group_id: str, topics: Sequence[str]) -> None:
        self._connection = connection
        self._group_id = group_id
        self._topics = tuple(topics)
        self._callbacks: tuple[OnChange, OnChange] | None = None
        self._membership: GroupMembership | None = None

    def bind(self, on_assigned: OnChange, on_revoked: OnChange) -> None:
        """Who is told of changes; before `run`."""
        self._callbacks = (on_assigned, on_revoked)

    def source(self, topic: str, partition: int) -> KafkaSourcePartition:
        """The partition, as long as the present assignment lasts."""
        assert self._membership is not None
        return KafkaSourcePartition(self._membership, TopicPartition(topic, partition))

    async def still_owns(self, topic: str, partition: int) -> bool:
        """Whether the group takes a commit for the partition from this member."""
        membership = self._membership
        tenure = membership.tenure if membership else None
        if membership is None or tenure is None:
            return False
        try:
            await membership.commit(
                tenure, TopicPartition(topic, partition), OWNERSHIP_OFFSET, "ownership"
            )
        except NotOwnerError:
            return False
        return True

    async def run(self) -> None:
        """Be a member until cancelled; raises what a callback raised, and SettingsError."""
        assert self._callbacks is not None
        assigned, revoked = map(_plain, self._callbacks)
        while True:
            membership = GroupMembership(
                self._connection, self._group_id, self._topics, assigned, revoked
            )
            self._membership = membership
            try:
                await membership.start()
                await membership.run()
            except TransientError as error:
                log.warning("joining the group again", group=self._group_id, why=str(error))
            finally:
                await membership.close()
            await asyncio.sleep(REJOIN_S)


class KafkaEngine:
    """Partitions of a cluster."""

    def __init__(
        self, connection: KafkaConnection, topology: Topology, *, own_url: str = ""
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._own_url = own_url
        self._link = KafkaLink(connection)

    @property
    def topology(self) -> Topology:
        """Names of topics and origins."""
        return self._topology

    def join(
        self, role: str, topics: Sequence[str], on_assigned: OnChange, on_revoked: OnChange
    ) -> Ownership:
        """A group a role: `<prefix>attestream.<role>`."""
        # A group's members are listed with their client ids: so workers find each other's pages.
        connection = replace(self._connection, client_id=f"{CLIENT_ID}{self._own_url}")
        ownership = KafkaOwnership(connection, self._group_id(role), topics)
        ownership.bind(on_assigned, on_revoked)
        return ownership

    def reader(self, topic: str, partition: int) -> KafkaPartitionReader:
        """A reader of its own; close it."""
        return KafkaPartitionReader(self._connection, topic, partition)

    def writer(self, topic: str, partition: int) -> KafkaPartitionWriter:
        """A writer that was not started yet; close it."""
        return KafkaPartitionWriter(self._connection, topic, partition)

    def sink(self, topic: str) -> AbstractAsyncContextManager[EventSink]:
        """An idempotent producer, partitioning by key as Kafka's own does."""
        return KafkaEventSink(self._connection, topic)

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 where there is no such topic."""

        async def count() -> int:
            try:
                return len((await self._link.describe(topic)).leaders)
            except UnknownTopicOrPartitionError:
                return 0

        return await self._link.retrying(f"asking for the partitions of {topic}", count)

    async def open_epoch(self, source: str, epoch: int) -> None:
        """The topic as declared, with as many partitions as its source has now."""
        partitions = await self.partitions(source)
        if not partitions:
            raise SettingsError([f"topic {source} does not exist: make it again first"])
        name, options = self._topology.audit(source, epoch), TopicOptions(partitions)
        declared = [
            topic._replace(follows=None, partitions=partitions, grow_to=partitions)
            for topic in declared_topics(self._topology, options, {source: epoch})
            if topic.name == name
        ]
        planned = await plan_topics(self._connection, declared)
        refused = [*planned, *await apply_plan(self._connection, planned)]
        if problems := [
            f"{one.topic}: {one.sentence}" for one in refused if one.kind == "refused"
        ]:
            raise SettingsError(problems)

    async def peers(self, role: str) -> list[str]:
        """The URLs of all members of the role's group."""
        group_id = self._group_id(role)

        async def ask() -> list[str]:
            response = await self._link.ask_coordinator(group_id, MembersRequest(group_id))
            return [str(client_id) for client_id in response.client_ids()]

        clients = await self._link.retrying(f"asking for the members of {group_id}", ask)
        return sorted({c.removeprefix(CLIENT_ID) for c in clients if c.startswith(CLIENT_ID)})

    async def close(self) -> None:
        """Idempotent."""
        await self._link.close()

    def _group_id(self, role: str) -> str:
        return f"{self._topology.prefix}attestream.{role}"


def _plain(
    callback: OnChange,
) -> Callable[[frozenset[TopicPartition] | Collection[TopicPartition]], Awaitable[None]]:
    async def told(partitions: Collection[TopicPartition]) -> None:
        await callback([(tp.topic, tp.partition) for tp in sorted(partitions)])

    return told


async def cluster_id(connection: KafkaConnection) -> str:
    """The id a cluster was formatted with. Raises TransientError, SettingsError."""
    link = KafkaLink(connection)

    async def ask() -> str:
        # Any topic will do, an unknown one too: the answer names the cluster all the same.
        return str((await link.ask_any(TopicRequest("attestream"))).described().cluster_id)

    try:
        return await link.retrying("asking for the cluster's id", ask)
    finally:
        await link.close()
