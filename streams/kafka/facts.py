"""Who a topic is: cluster id, topic id, effective settings, partitions."""

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest

from streams.kafka.link import KafkaLink
from streams.ports import TopicFacts

__all__ = ["topic_facts", "topic_settings"]


async def topic_facts(link: KafkaLink, topic: str) -> TopicFacts:
    """Ask the cluster. Raises TransientError (also while the topic is unknown), SettingsError."""

    async def ask() -> TopicFacts:
        described = await link.describe(topic)
        settings = await topic_settings(link, topic)
        return TopicFacts(
            cluster_id=described.cluster_id,
            topic_id=described.topic_id,
            cleanup_policy=settings["cleanup.policy"],
            partitions=len(described.leaders),
        )

    return await link.retrying(f"asking who topic {topic} is", ask)


async def topic_settings(link: KafkaLink, topic: str) -> dict[str, str]:
    """The topic's effective settings, inherited ones included. Raises KafkaError."""
    response = await link.ask_any(
        DescribeConfigsRequest(resources=[(ConfigResourceType.TOPIC, topic, None)])
    )
    ((error_code, message, _, _, entries),) = response.resources
    error = for_code(error_code)
    if error is not NoError:
        raise error(f"{topic}: {message}")
    return {name: value or "" for name, value, *_ in entries}
