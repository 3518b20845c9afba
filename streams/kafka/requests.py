"""Requests aiokafka does not speak, built on its protocol structs.

Metadata v10 (KIP-516, flexible since v9) is the first to carry topic ids; aiokafka stops at v5.
It is also asked never to create a topic, which aiokafka's own metadata requests do.
IncrementalAlterConfigs v0 (KIP-339) changes one setting; aiokafka has only AlterConfigs, which
resets every setting it is not given. DescribeGroups v2 is asked for by itself, since aiokafka
pairs v3 with the answer of v2. OffsetForLeaderEpoch v3 (KIP-320) tells where a leader epoch ended.
Fields: https://kafka.apache.org/protocol#protocol_messages
"""

import base64
from io import BytesIO
from typing import ClassVar, NamedTuple

from aiokafka.errors import NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    Bytes,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

__all__ = [
    "EpochEnd",
    "EpochEndRequest",
    "MembersRequest",
    "SettingsRequest",
    "TopicDescription",
    "TopicRequest",
]

NO_TOPIC_ID = bytes(16)
CONSUMER = -1  # in the place of a replica's id
SET = 0  # the operation of a change; others delete, append, subtract


class Uuid:
    """16 bytes; the protocol's null is all zeros."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """As they are."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Raises ValueError where fewer than 16 bytes are left."""
        value = data.read(16)
        if len(value) != 16:
            raise ValueError(f"a UUID is 16 bytes, got {len(value)}")
        return value

    @classmethod
    def repr(cls, value: bytes) -> str:
        """For the protocol's own logging."""
        return value.hex()


class TopicDescription(NamedTuple):
    """One topic as a broker knows it. `leaders` is by partition, -1 where there is none."""

    error_code: int
    cluster_id: str
    topic_id: str
    leaders: dict[int, int]
    replication: int


class _TopicResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )

    def described(self) -> TopicDescription:
        """The one topic asked for."""
        ((error_code, _, topic_id, _, partitions, *_),) = self.topics
        return TopicDescription(
            error_code=error_code,
            cluster_id=self.cluster_id or "",
            topic_id=base64.urlsafe_b64encode(topic_id).rstrip(b"=").decode(),
            leaders={number: leader for _, number, leader, *_ in partitions},
            replication=min((len(replicas) for *_, replicas, _, _, _ in partitions), default=0),
        )


class _TopicRequestV10(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TopicResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicRequest(Request[_TopicRequestV10]):  # type: ignore[misc]
    """Describe one topic, and do not create it."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def build(self, request_struct_class: type[_TopicRequestV10]) -> _TopicRequestV10:
        """The request of the version both sides speak."""
        no_tags: dict[int, bytes] = {}
        topics = [(NO_TOPIC_ID, self.topic, no_tags)]
        return request_struct_class(
            topics=topics,
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
            tags=no_tags,
        )


class _SettingsResponse(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )

    def outcome(self) -> tuple[int, str | None]:
        """Error code and message of the one resource asked about."""
        ((error_code, message, _, _),) = self.responses
        return error_code, message


class _SettingsRequestV0(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _SettingsResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class SettingsRequest(Request[_SettingsRequestV0]):  # type: ignore[misc]
    """Set some settings of one resource and leave its others alone."""

    API_KEY: ClassVar[int] = 44

    def __init__(
        self, resource_type: int, resource: str, settings: tuple[tuple[str, str], ...]
    ) -> None:
        self.resource_type = resource_type
        self.resource = resource
        self.settings = settings

    def build(self, request_struct_class: type[_SettingsRequestV0]) -> _SettingsRequestV0:
        """The request of the version both sides speak."""
        changes = [(name, SET, value) for name, value in self.settings]
        return request_struct_class(
            resources=[(self.resource_type, self.resource, changes)], validate_only=False
        )


class _MembersResponse(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 2
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member_id", String("utf-8")),
                        ("client_id", String("utf-8")),
                        ("client_host", String("utf-8")),
                        ("metadata", Bytes),
                        ("assignment", Bytes),
                    ),
                ),
            ),
        ),
    )

    def client_ids(self) -> list[str]:
        """Of every member of the one group asked about. Raises KafkaError."""
        ((error_code, group, _, _, _, members),) = self.groups
        error = for_code(error_code)
        if error is not NoError:
            raise error(group)
        return [client_id for _, client_id, *_ in members]


class _MembersRequestV2(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 2
    RESPONSE_TYPE = _MembersResponse
    SCHEMA = Schema(("groups", Array(String("utf-8"))))


class MembersRequest(Request[_MembersRequestV2]):  # type: ignore[misc]
    """List the members of one group; goes to its coordinator."""

    API_KEY: ClassVar[int] = 15

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id

    def build(self, request_struct_class: type[_MembersRequestV2]) -> _MembersRequestV2:
        """The request of the version both sides speak."""
        return request_struct_class(groups=[self.group_id])


class EpochEnd(NamedTuple):
    """The end offset is the first one behind an epoch, -1 where the leader knows none."""

    error_code: int
    end_offset: int


class _EpochEndResponse(Response):  # type: ignore[misc]
    API_KEY = 23
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader_epoch", Int32),
                        ("end_offset", Int64),
                    ),
                ),
            ),
        ),
    )

    def answer(self) -> EpochEnd:
        """For the one partition asked about."""
        ((_, ((error_code, _, _, end_offset),)),) = self.topics
        return EpochEnd(error_code, end_offset)


class _EpochEndRequestV3(RequestStruct):  # type: ignore[misc]
    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = _EpochEndResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("leader_epoch", Int32),
                    ),
                ),
            ),
        ),
    )


class EpochEndRequest(Request[_EpochEndRequestV3]):  # type: ignore[misc]
    """Ask a partition's leader where an epoch ended; one of an older epoch than `current` refuses.

    -1 as `current` asks any leader.
    """

    API_KEY: ClassVar[int] = 23

    def __init__(self, topic: str, partition: int, epoch: int, *, current: int) -> None:
        self.topic = topic
        self.asked = (partition, current, epoch)

    def build(self, request_struct_class: type[_EpochEndRequestV3]) -> _EpochEndRequestV3:
        """The request of the version both sides speak."""
        return request_struct_class(replica_id=CONSUMER, topics=[(self.topic, [self.asked])])
