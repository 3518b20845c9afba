"""How a cluster is reached: problems are all listed, secrets are never shown."""

import asyncio
from pathlib import Path

import pytest

from streams.errors import SettingsError, TransientError
from streams.kafka.connection import KafkaConnection, bounded
from streams.kafka.handshake import why_closed


def test_a_plain_connection_has_no_problem_and_no_security_arguments() -> None:
    connection = KafkaConnection(bootstrap="a:1,b:2")
    assert connection.problems() == []
    assert connection.client_arguments() == {
        "bootstrap_servers": "a:1,b:2",
        "client_id": "attestream",
        "request_timeout_ms": 15_000,
        "security_protocol": "PLAINTEXT",
    }


def test_secrets_are_in_no_repr() -> None:
    connection = KafkaConnection(
        bootstrap="a:1", sasl_username="u", sasl_password="hunter2", ssl_password="hunter3"
    )
    assert "hunter" not in repr(connection)
    assert "hunter" not in str(connection)


@pytest.mark.parametrize("bootstrap", ["", "host", "host:", ":9092", "host:0", "h:99999", "a:1,"])
def test_an_address_that_is_none_is_named(bootstrap: str) -> None:
    (problem,) = KafkaConnection(bootstrap=bootstrap).problems()
    assert problem.startswith("KAFKA_BOOTSTRAP_SERVERS")


def test_all_problems_are_listed_at_once() -> None:
    connection = KafkaConnection(
        bootstrap="nowhere",
        security_protocol="SASL_SSL",
        sasl_mechanism="GSSAPI",
        ssl_cafile=Path("no-such.pem"),
        ssl_keyfile=Path("no-such.key"),
    )
    assert [problem.split()[0] for problem in connection.problems()] == [
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SSL_CAFILE",
        "KAFKA_SSL_KEYFILE",
        "KAFKA_SSL_KEYFILE",
    ]
    (protocol,) = KafkaConnection(bootstrap="a:1", security_protocol="TLS").problems()
    assert "KAFKA_SECURITY_PROTOCOL" in protocol


def test_sasl_arguments_go_to_the_client() -> None:
    connection = KafkaConnection(
        bootstrap="a:1",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="u",
        sasl_password="p",
    )
    assert connection.problems() == []
    arguments = connection.client_arguments()
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("u", "p")


def test_a_file_that_is_no_certificate_is_a_setting_to_correct(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    connection = KafkaConnection(bootstrap="a:1", security_protocol="SSL", ssl_cafile=wrong)
    assert connection.problems() == []
    with pytest.raises(SettingsError, match="KAFKA_SSL"):
        connection.client_arguments()


async def test_a_cluster_that_tells_of_no_broker_is_waited_for() -> None:
    async def looked_up() -> None:
        raise AssertionError("Did we not perform bootstrap?")  # aiokafka's own

    with pytest.raises(TransientError, match="looking for a coordinator failed"):
        await bounded("looking for a coordinator", looked_up(), 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"\x15\x03\x03\x00\x02\x02P", "KAFKA_SECURITY_PROTOCOL"), (b"\x00\x00\x01\xcc", None)],
)
async def test_a_tls_listener_is_told_by_its_alert(answer: bytes, says: str | None) -> None:
    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with server:
        why = await why_closed("127.0.0.1", server.sockets[0].getsockname()[1], None)
    assert (says in why) if says and why else why is says


async def test_a_broker_that_is_down_says_nothing() -> None:
    assert await why_closed("127.0.0.1", 9, None) is None
