"""TLS, mutual TLS and SASL against a broker that demands them, least ACLs included."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import confluent_kafka.admin as rights
import pytest

from schemas.records import Record
from streams.errors import SettingsError, TransientError
from streams.kafka.connection import KafkaConnection
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.producer import KafkaEventSink
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.source import KafkaSourcePartition
from streams.kafka.writer import KafkaPartitionWriter
from streams.ports import NewRecord, Posted
from tests.support.certificates import Authority
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_kafka import LocalKafka
from tests.support.partitions import read_all

pytestmark = [pytest.mark.integration, pytest.mark.slow]
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


def tls(authority: Authority, auth: str) -> dict[str, str]:
    certificate, key = authority.issue("broker")
    chain = authority.folder / "broker-chain.pem"
    chain.write_bytes(key.read_bytes() + certificate.read_bytes())
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(chain),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
        "ssl.client.auth": auth,
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mutual(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    folder = tmp_path_factory.mktemp("mutual")
    with LocalKafka(folder, secure="SSL", properties=tls(authority, "required")) as local:
        yield local


@pytest.fixture(scope="module")
def sasl(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Who comes over the plain listener may do everything, others what they are allowed."""
    settings = {
        **tls(authority, "none"),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": (
            f'{PLAIN} required user_alice="open sesame";'
        ),
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    folder = tmp_path_factory.mktemp("sasl")
    with LocalKafka(folder, secure="SASL_SSL", properties=settings) as local:
        admin = rights.AdminClient({"bootstrap.servers": local.bootstrap})
        user = rights.UserScramCredentialUpsertion(
            "bob", rights.ScramCredentialInfo(rights.ScramMechanism.SCRAM_SHA_512, 4096), b"secret"
        )
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result(10)
        yield local


def ssl_connection(local: LocalKafka, authority: Authority) -> KafkaConnection:
    return KafkaConnection(
        bootstrap=local.secure_bootstrap,
        security_protocol="SSL",
        ssl_cafile=authority.certificate,
        patience_s=10,
    )


def sasl_connection(local: LocalKafka, authority: Authority) -> KafkaConnection:
    return replace(
        ssl_connection(local, authority),
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="bob",
        sasl_password="secret",
    )


async def everything_works(connection: KafkaConnection, source: str, audit: str) -> None:
    """One turn of what a worker does: own, read, write, post."""

    async def nothing(_partitions: Sequence[TopicPartition]) -> None:
        pass

    async with KafkaEventSink(connection, source) as sink:
        await sink.send(NewRecord(1, b"event", b"k"))
    member = GroupMembership(connection, "attestream.sealer", [source], nothing, nothing)
    await member.start()
    await member.wait_assigned()
    owned = KafkaSourcePartition(member, TopicPartition(source, 0))
    writer = KafkaPartitionWriter(connection, audit, 0)
    reader = KafkaPartitionReader(connection, audit, 0)
    try:
        assert (await owned.facts()).cleanup_policy == "delete"
        assert [r.value for r in await read_all(owned)] == [b"event"]
        await writer.start()
        await writer.append([NewRecord(1, b"sealed")])
        await writer.confirm()
        await owned.post(Posted(1, 1, bytes(32)))
        assert await owned.posted() == Posted(1, 1, bytes(32))
        assert [r.value for r in await read_all(reader)] == [b"sealed"]
    finally:
        for one in (owned, writer, reader, member):
            await one.close()


async def test_mutual_tls_carries_everything(mutual: LocalKafka, authority: Authority) -> None:
    broker = KafkaBroker(mutual.bootstrap)
    certificate, key = authority.issue("worker", password="of the key")
    connection = replace(
        ssl_connection(mutual, authority),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_password="of the key",
    )
    assert connection.problems() == []
    await everything_works(connection, await broker.create_topic(), await broker.create_topic())


async def test_without_its_certificate_a_client_is_not_let_in(
    mutual: LocalKafka, authority: Authority
) -> None:
    connection = replace(ssl_connection(mutual, authority), patience_s=0.5)
    reader = KafkaPartitionReader(connection, "t", 0)
    with pytest.raises(TransientError):
        await reader.bounds()
    await reader.close()


async def test_a_broker_of_another_authority_is_not_believed(
    mutual: LocalKafka, tmp_path: Path
) -> None:
    connection = ssl_connection(mutual, Authority.create(tmp_path))
    reader = KafkaPartitionReader(connection, "t", 0)
    with pytest.raises(SettingsError, match="certificate"):
        await reader.bounds()
    await reader.close()


async def test_a_wrong_key_password_is_a_setting_to_correct(
    mutual: LocalKafka, authority: Authority
) -> None:
    certificate, key = authority.issue("other", password="right")
    connection = replace(
        ssl_connection(mutual, authority), ssl_certfile=certificate, ssl_keyfile=key
    )
    with pytest.raises(SettingsError, match="KAFKA_SSL"):
        connection.client_arguments()


def allow(local: LocalKafka, user: str, granted: Sequence[tuple[str, str, str, str]]) -> None:
    """`granted`: kind of resource, name, pattern, operation."""
    admin = rights.AdminClient({"bootstrap.servers": local.bootstrap})
    bindings = [
        rights.AclBinding(
            rights.ResourceType[kind],
            name,
            rights.ResourcePatternType[pattern],
            f"User:{user}",
            "*",
            rights.AclOperation[operation],
            rights.AclPermissionType.ALLOW,
        )
        for kind, name, pattern, operation in granted
    ]
    for done in admin.create_acls(bindings).values():
        done.result(10)


async def test_the_least_rights_of_a_sealer_suffice(
    sasl: LocalKafka, authority: Authority
) -> None:
    broker = KafkaBroker(sasl.bootstrap)
    source, audit = await broker.create_topic(), await broker.create_topic()
    connection = sasl_connection(sasl, authority)
    with pytest.raises(SettingsError, match="TopicAuthorizationFailed"):
        await everything_works(connection, source, audit)
    allow(
        sasl,
        "bob",
        [
            *[("TOPIC", source, "LITERAL", op) for op in ("READ", "DESCRIBE_CONFIGS")],
            ("TOPIC", source, "LITERAL", "WRITE"),  # of whoever sends events
            *[("TOPIC", audit, "LITERAL", op) for op in ("READ", "WRITE", "DESCRIBE_CONFIGS")],
            ("GROUP", "attestream.sealer", "LITERAL", "READ"),
            ("GROUP", "attestream/", "PREFIXED", "READ"),
            ("TRANSACTIONAL_ID", "attestream/", "PREFIXED", "WRITE"),
        ],
    )
    await everything_works(connection, source, audit)


async def test_sasl_plain_is_spoken(sasl: LocalKafka, authority: Authority) -> None:
    connection = replace(
        sasl_connection(sasl, authority),
        sasl_mechanism="PLAIN",
        sasl_username="alice",
        sasl_password="open sesame",
    )
    topic = await KafkaBroker(sasl.bootstrap).create_topic()
    allow(sasl, "alice", [("TOPIC", topic, "LITERAL", "READ")])
    await KafkaBroker(sasl.bootstrap).feed(topic, 0, [Record(0, 1, b"k", b"v")])
    reader = KafkaPartitionReader(connection, topic, 0)
    assert [r.value for r in await read_all(reader)] == [b"v"]
    await reader.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_at_once(
    sasl: LocalKafka, authority: Authority, mechanism: str
) -> None:
    connection = replace(
        sasl_connection(sasl, authority), sasl_mechanism=mechanism, sasl_password="wrong"
    )
    reader = KafkaPartitionReader(connection, "t", 0)
    async with asyncio.timeout(5):
        with pytest.raises(SettingsError, match=r"refused .*uthentication"):
            await reader.bounds()
    await reader.close()
