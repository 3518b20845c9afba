"""One client of a cluster: requests to a leader, a coordinator or any broker, retried in bounds.

Used by readers, facts and commits. Fetches go over a connection of their own: a broker answers
the requests of one connection in order, so a long poll would delay everything behind it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NoBrokersAvailable,
    NoError,
    for_code,
)

from streams.errors import SettingsError
from streams.kafka.connection import FAILURES, REFUSALS, KafkaConnection, refuse
from streams.kafka.handshake import why_closed
from streams.kafka.requests import TopicDescription, TopicRequest
from streams.tasks import let_end

__all__ = ["KafkaLink", "Wire"]

T = TypeVar("T")
# aiokafka's requests, responses and client: their fields are known at run time only.
Wire = Any
Hosts = Sequence[tuple[str, int, object]]

FIRST_BACKOFF_S = 0.02
LAST_BACKOFF_S = 1.0
# The client's own round through all topics; leaders are asked for here, when they are needed.
METADATA_AGE_MS = 3_600_000


class KafkaLink:
    """A lazily opened client. Safe to use from several tasks; `close` is idempotent."""

    # Who was asked for a TLS alert already: once a process is enough.
    _heard: ClassVar[set[KafkaConnection]] = set()

    def __init__(self, connection: KafkaConnection) -> None:
        self.connection = connection
        self._opening: asyncio.Task[Wire] | None = None
        self._closed = False
        self._leaders: dict[tuple[str, int], int] = {}

    async def retrying(self, doing: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until it succeeds, forgetting known leaders after each failure.

        Raises SettingsError at once for a refusal, TransientError after the connection's
        patience. `attempt` lets other errors pass.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.connection.patience_s
        backoff = FIRST_BACKOFF_S
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await attempt()
            except NotImplementedError as error:
                raise SettingsError(
                    [f"{doing} needs a broker of Apache Kafka 2.8 or newer: {error}"]
                ) from error
            except FAILURES as error:  # TimeoutError is an OSError
                if isinstance(error, REFUSALS) or loop.time() + backoff >= deadline:
                    refuse(doing, error)
            self._leaders.clear()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LAST_BACKOFF_S)

    async def describe(self, topic: str) -> TopicDescription:
        """Ask any broker. Raises KafkaError: the topic is unknown, or something passing."""
        description: TopicDescription = (await self.ask_any(TopicRequest(topic))).described()
        error = for_code(description.error_code)
        if error is not NoError:
            raise error(topic)
        return description

    async def brokers(self) -> int:
        """How many brokers the cluster has. Raises KafkaError."""
        return len((await self._opened()).cluster.brokers())

    async def ask_leader(
        self, topic: str, partition: int, request: Wire, *, long_poll: bool = False
    ) -> Wire:
        """Send to the partition's leader. Raises KafkaError."""
        leader = self._leaders.get((topic, partition))
        if leader is None:
            leaders = (await self.describe(topic)).leaders
            self._leaders.update(((topic, number), node) for number, node in leaders.items())
            leader = leaders.get(partition, -1)
        if leader < 0:
            raise LeaderNotAvailableError(f"{topic}/{partition}")
        return await self._send(leader, request, long_poll=long_poll)

    async def ask_any(self, request: Wire) -> Wire:
        """Send to any broker. Raises KafkaError."""
        client = await self._opened()
        nodes = [broker.nodeId for broker in client.cluster.brokers()]
        if not nodes:
            await client.force_metadata_update()
            raise NoBrokersAvailable
        return await self._send(random.choice(nodes), request)  # noqa: S311

    async def ask_coordinator(self, group_id: str, request: Wire) -> Wire:
        """Send to the group's coordinator. Raises KafkaError."""
        client = await self._opened()
        return await self._send(
            await client.coordinator_lookup(CoordinationType.GROUP, group_id), request
        )

    async def close(self) -> None:
        """Idempotent."""
        opening, self._opening = self._opening, None
        self._closed = True
        if opening is not None:
            await let_end(_closed(opening))

    async def _send(self, node: int, request: Wire, *, long_poll: bool = False) -> Wire:
        client = await self._opened()
        group = ConnectionGroup.DEFAULT if long_poll else ConnectionGroup.COORDINATION
        return await client.send(node, request, group=group)

    async def _opened(self) -> Wire:
        if self._closed:
            raise RuntimeError("this link is closed")
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        opening = self._opening
        try:
            # Shielded: aiokafka leaves a socket open behind a start that is cancelled.
            return await asyncio.shield(opening)
        except FAILURES:
            if self._opening is opening and opening.done():
                self._opening = None
            raise

    async def _open(self) -> Wire:
        client = AIOKafkaClient(
            **self.connection.client_arguments(), metadata_max_age_ms=METADATA_AGE_MS
        )
        if self.connection.security_protocol == "SSL" and self.connection not in self._heard:
            alerts = await self._alerts(client.hosts)
            if len(alerts) == len(client.hosts):
                raise SettingsError(alerts)
            self._heard.add(self.connection)
        try:
            await client.bootstrap()
        except BaseException as error:
            await client.close()
            if isinstance(error, KafkaConnectionError):
                await self._raise_refusal(client.hosts)
                if alerts := await self._alerts(client.hosts):
                    raise SettingsError(alerts) from None
            raise
        return client

    async def _raise_refusal(self, hosts: Hosts) -> None:
        """Raise what a bootstrap only logs: a password or a certificate that is refused."""
        arguments = self.connection.client_arguments()
        del arguments["bootstrap_servers"]
        for host, port, _ in hosts:
            try:
                connected = await create_conn(host, port, **arguments)
            except REFUSALS:
                raise
            except (KafkaError, OSError):
                continue
            connected.close()

    async def _alerts(self, hosts: Hosts) -> list[str]:
        """What aiokafka does not hear: TLS alerts behind or instead of a handshake."""
        context = self.connection.client_arguments().get("ssl_context")
        asked = (why_closed(host, port, context) for host, port, _ in hosts)
        return [why for why in await asyncio.gather(*asked) if why is not None]


async def _closed(opening: asyncio.Task[Wire]) -> None:
    await (await opening).close()
