"""What topics a cluster has, and carrying out a plan of `streams.kafka.topics`."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.errors import TransientError
from streams.kafka.connection import REFUSALS, KafkaConnection, bounded
from streams.kafka.facts import topic_settings
from streams.kafka.link import KafkaLink, Wire
from streams.kafka.requests import SettingsRequest
from streams.kafka.topics import (
    REQUIRED,
    ActualTopic,
    DeclaredTopic,
    Difference,
    Kind,
    plan,
)

__all__ = ["apply_plan", "plan_topics"]


class _Cluster(NamedTuple):
    topics: dict[str, ActualTopic]
    brokers: int


async def plan_topics(
    connection: KafkaConnection, declared: Sequence[DeclaredTopic]
) -> list[Difference]:
    """Ask the cluster and compare. Raises TransientError, SettingsError."""
    link = KafkaLink(connection)

    async def ask() -> _Cluster:
        topics, brokers = {}, 0
        for topic in declared:
            try:
                described = await link.describe(topic.name)
            except UnknownTopicOrPartitionError:
                continue
            topics[topic.name] = ActualTopic(
                partitions=len(described.leaders),
                replication=described.replication,
                settings=await topic_settings(link, topic.name),
            )
        brokers = await link.brokers()
        return _Cluster(topics, brokers)

    try:
        cluster = await link.retrying("asking which topics there are", ask)
    finally:
        await link.close()
    return plan(declared, cluster.topics, cluster.brokers)


async def apply_plan(
    connection: KafkaConnection, differences: Sequence[Difference]
) -> list[Difference]:
    """Do what a plan says: create topics, add partitions, set settings; never delete.

    Returns what the cluster refused: `refused` where sealing cannot do without it, else `note`.
    Raises TransientError, SettingsError.
    """
    admin = AIOKafkaAdminClient(**connection.client_arguments())
    link = KafkaLink(connection)
    refused: list[Difference] = []
    try:
        await bounded("connecting as administrator", admin.start(), connection.patience_s)
        for difference in differences:
            match difference.kind:
                case "missing":
                    refused += await _create(admin, link, difference)
                case "partitions":
                    refused += await _add_partitions(admin, difference)
                case "setting":
                    refused += await _set(link, difference.topic, difference.settings)
                case "refused" | "note":
                    pass
    finally:
        await admin.close()
        await link.close()
    return refused


async def _create(admin: Wire, link: KafkaLink, wanted: Difference) -> list[Difference]:
    # The settings it cannot do without at once, so that no record ever meets another policy; the
    # others one by one, since a managed cluster may not let all of them be set.
    first = {name: value for name, value in wanted.settings if name in REQUIRED}
    rest = [(name, value) for name, value in wanted.settings if name not in REQUIRED]
    topic = NewTopic(wanted.topic, wanted.partitions, wanted.replication, topic_configs=first)
    doing = f"creating topic {wanted.topic}"
    answer = await bounded(doing, admin.create_topics([topic]), link.connection.patience_s)
    code, message = answer.topic_errors[0][1:3]
    error = for_code(code)
    if error is TopicAlreadyExistsError:
        raise TransientError(f"topic {wanted.topic} was created by someone else meanwhile")
    if error is not NoError:
        return [_refusal(wanted.topic, doing, error(message or ""))]
    await _await_leaders(link, wanted.topic, wanted.partitions)
    return await _set(link, wanted.topic, rest)


async def _add_partitions(admin: Wire, wanted: Difference) -> list[Difference]:
    doing = f"adding partitions to topic {wanted.topic}"
    asked = admin.create_partitions({wanted.topic: NewPartitions(wanted.partitions)})
    answer = await bounded(doing, asked, 30)
    _, code, message = answer.topic_errors[0]
    error = for_code(code)
    return [] if error is NoError else [_refusal(wanted.topic, doing, error(message or ""))]


async def _set(
    link: KafkaLink, topic: str, settings: Sequence[tuple[str, str]]
) -> list[Difference]:
    refused = []
    for name, value in settings:
        try:
            await _set_one(link, topic, name, value)
        except KafkaError as error:
            kind: Kind = "refused" if name in REQUIRED else "note"
            sentence = f"the cluster does not take {name}={value}: {error}"
            refused.append(Difference(topic, kind, sentence, settings=((name, value),)))
    return refused


async def _set_one(link: KafkaLink, topic: str, name: str, value: str) -> None:
    """Incremental: the topic's other settings stay (the older request would reset them)."""

    async def ask() -> Exception | None:
        request = SettingsRequest(ConfigResourceType.TOPIC, topic, ((name, value),))
        code, message = (await link.ask_any(request)).outcome()
        error = for_code(code)
        if error is NoError:
            return None
        failure: Exception = error(message or "")
        if error.retriable:
            raise failure
        return failure

    failure = await link.retrying(f"setting {name} of topic {topic}", ask)
    if failure is not None:
        raise failure


async def _await_leaders(link: KafkaLink, topic: str, partitions: int) -> None:
    async def ready() -> None:
        leaders = (await link.describe(topic)).leaders
        if len(leaders) < partitions or min(leaders.values()) < 0:
            raise TimeoutError(f"{topic} has no leaders yet")

    await link.retrying(f"waiting for topic {topic}", ready)


def _refusal(topic: str, doing: str, error: Exception) -> Difference:
    why = "not permitted" if isinstance(error, REFUSALS) else "refused"
    return Difference(topic, "refused", f"{doing} was {why}: {error}")
