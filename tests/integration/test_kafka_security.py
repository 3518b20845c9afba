"""TLS, mutual TLS and SASL against a broker that demands them, and what a refusal says."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from projections.cli.demo_data import decisions
from schemas.records import Record
from streams.app import kafka_connection
from streams.errors import SettingsError
from streams.kafka.connection import KafkaConnection
from streams.kafka.membership import GroupMembership, TopicPartition
from streams.kafka.producer import KafkaEventSink
from streams.kafka.reader import KafkaPartitionReader
from streams.kafka.source import KafkaSourcePartition
from streams.kafka.writer import KafkaPartitionWriter
from streams.ports import NewRecord, Posted
from streams.settings import load_settings
from tests.support.acl_commands import Grant
from tests.support.certificates import Authority
from tests.support.deployment import SEED, Deployment
from tests.support.kafka_broker import KafkaBroker
from tests.support.partitions import read_all
from tests.support.secure_kafka import PLAIN_USER, SecureKafka, password_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.usefixtures("closed_connections"),
]
WRONG = "guess-what-1"


def connection(settings: dict[str, str]) -> KafkaConnection:
    return kafka_connection(load_settings(settings))


async def everything_works(connection: KafkaConnection, source: str, audit: str) -> None:
    """One turn of what a worker does: own, read, write, post."""

    async def nothing(_partitions: Sequence[TopicPartition]) -> None:
        pass

    async with KafkaEventSink(connection, source) as sink:
        await sink.send(NewRecord(1, b"event", b"k"))
    member = GroupMembership(connection, f"group-{source}", [source], nothing, nothing)
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


async def bounds(settings: dict[str, str]) -> None:
    reader = KafkaPartitionReader(connection(settings), "t", 0)
    try:
        async with asyncio.timeout(10):
            await reader.bounds()
    finally:
        await reader.close()


async def test_mutual_tls_carries_everything(secure_kafka: SecureKafka) -> None:
    broker = KafkaBroker(secure_kafka.bootstrap)
    secure_kafka.allow_everything("certified")
    made = connection(secure_kafka.as_certified("certified"))
    await everything_works(made, await broker.create_topic(), await broker.create_topic())


async def test_scram_over_tls_carries_everything(secure_kafka: SecureKafka) -> None:
    broker = KafkaBroker(secure_kafka.bootstrap)
    secure_kafka.add_users("scrammed")
    secure_kafka.allow_everything("scrammed")
    made = connection(secure_kafka.as_sasl("scrammed"))
    await everything_works(made, await broker.create_topic(), await broker.create_topic())


async def test_sasl_plain_is_spoken(secure_kafka: SecureKafka) -> None:
    broker = KafkaBroker(secure_kafka.bootstrap)
    topic = await broker.create_topic()
    secure_kafka.allow([Grant(PLAIN_USER, "TOPIC", topic, "LITERAL", "READ")])
    await broker.feed(topic, 0, [Record(0, 1, b"k", b"v")])
    made = connection(secure_kafka.as_sasl(PLAIN_USER, "PLAIN"))
    reader = KafkaPartitionReader(made, topic, 0)
    assert [r.value for r in await read_all(reader)] == [b"v"]
    await reader.close()


async def test_a_broker_of_another_authority_is_not_believed(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    stranger = {"KAFKA_SSL_CAFILE": str(Authority.create(tmp_path).certificate)}
    with pytest.raises(SettingsError, match="certificate"):
        await bounds(secure_kafka.as_certified("certified") | stranger)


async def test_a_certificate_of_another_authority_is_not_let_in(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    certificate, key = Authority.create(tmp_path).issue("stranger")
    files = {"KAFKA_SSL_CERTFILE": str(certificate), "KAFKA_SSL_KEYFILE": str(key)}
    with pytest.raises(SettingsError, match="KAFKA_SSL_CERTFILE"):
        await bounds(secure_kafka.as_certified("certified") | files)


def test_a_wrong_key_password_is_a_setting_to_correct(secure_kafka: SecureKafka) -> None:
    settings = secure_kafka.as_certified("certified") | {"KAFKA_SSL_PASSWORD": WRONG}
    with pytest.raises(SettingsError, match="KAFKA_SSL"):
        connection(settings).client_arguments()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_at_once(secure_kafka: SecureKafka, mechanism: str) -> None:
    settings = secure_kafka.as_sasl(PLAIN_USER, mechanism) | {"KAFKA_SASL_PASSWORD": WRONG}
    with pytest.raises(SettingsError, match=r"refused .*uthentication"):
        await bounds(settings)


def mistakes(secured: SecureKafka, folder: Path) -> dict[str, tuple[dict[str, str], list[str]]]:
    """By a word of what is said: settings with one mistake, and the commands tried with them."""
    sasl, certified = secured.as_sasl(PLAIN_USER), secured.as_certified("certified")
    stranger = str(Authority.create(folder / "stranger").certificate)
    no_certificate = {k: v for k, v in certified.items() if "FILE" not in k or "CA" in k}
    no_tls = {"KAFKA_BOOTSTRAP_SERVERS": certified["KAFKA_BOOTSTRAP_SERVERS"]}
    everything = ["send", "topics", "audit", "verify", "worker"]
    return {
        "uthentication failed": (sasl | {"KAFKA_SASL_PASSWORD": WRONG}, everything),
        "certificate verify failed": (certified | {"KAFKA_SSL_CAFILE": stranger}, ["worker"]),
        "KAFKA_SSL_CERTFILE": (no_certificate, ["verify", "worker"]),
        "KAFKA_SECURITY_PROTOCOL": (no_tls, ["send"]),
    }


def test_a_refusal_is_one_sentence_and_no_secret(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    deployment = Deployment(secure_kafka.bootstrap, tmp_path)
    events = tmp_path / "events.ndjson"
    events.write_bytes(next(decisions(1)) + b"\n")

    def refused(word: str, settings: dict[str, str], command: str) -> None:
        topic = f"kafka://{settings['KAFKA_BOOTSTRAP_SERVERS']}/audit.authz.decisions"
        arguments = {
            "send": ["--format", "cerbos", str(events)],
            "topics": ["apply"],
            "audit": ["heads"],
            "verify": [topic],
            "worker": [],
        }
        one = replace(deployment, extra=settings)
        done = one.run(command, *arguments[command], check=False)
        said = done.stdout + done.stderr
        assert (done.returncode, done.stdout) == (2, ""), said
        assert len(done.stderr.splitlines()) == 1, said
        assert word in said
        for secret in (WRONG, password_of(PLAIN_USER), password_of("certified"), SEED):
            assert secret not in said

    tried = [
        (word, settings, command)
        for word, (settings, commands) in mistakes(secure_kafka, tmp_path).items()
        for command in commands
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: refused(*one), tried))
