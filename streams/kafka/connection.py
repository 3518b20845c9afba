"""How a Kafka cluster is reached: one value, and the keyword arguments every client takes.

Secrets are never part of its repr. Built by `streams.settings` from the environment
(KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_*, KAFKA_SSL_*).
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from streams.errors import SettingsError, TransientError
from streams.tasks import unhurried

__all__ = ["FAILURES", "REFUSALS", "KafkaConnection", "bounded", "refuse", "started"]

T = TypeVar("T")

# What it says to nobody's handler would go to stderr, before the one sentence an error becomes.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

# AssertionError: aiokafka's word for a cluster that tells of no broker, as a starting one does.
FAILURES = (KafkaError, OSError, AssertionError)
START_GRACE_S = 1.0
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
REFUSALS = (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
    ssl.SSLCertVerificationError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """Address, security and waits of a cluster.

    Attributes:
        bootstrap: `host:port`, several separated by commas.
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        ssl_cafile: PEM file of the authorities trusted; None: the system's.
        ssl_certfile: PEM file of the client's certificate (mutual TLS).
        ssl_keyfile: PEM file of its key; None: in `ssl_certfile`.
        ssl_password: of the key file.
        client_id: what brokers log and quotas are set by.
        request_timeout_ms: one request; longer than any long poll.
        patience_s: how long an operation is retried before TransientError.
        session_timeout_ms: a group member silent for as long is taken for dead.
        heartbeat_interval_ms: a third of it, or less.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password: str | None = field(default=None, repr=False)
    client_id: str = "attestream"
    request_timeout_ms: int = 15_000
    patience_s: float = 30.0
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000

    def problems(self) -> list[str]:
        """One sentence for everything an operator must correct; empty when usable."""
        found = []
        if not all(_is_address(one) for one in self.bootstrap.split(",")):
            found.append(
                "KAFKA_BOOTSTRAP_SERVERS must be host:port, several separated by commas; "
                f"got {self.bootstrap!r}"
            )
        if self.security_protocol not in PROTOCOLS:
            found.append(
                f"KAFKA_SECURITY_PROTOCOL must be one of {', '.join(PROTOCOLS)}; "
                f"got {self.security_protocol!r}"
            )
        if self.security_protocol.startswith("SASL"):
            found += self._sasl_problems()
        named = {
            "KAFKA_SSL_CAFILE": self.ssl_cafile,
            "KAFKA_SSL_CERTFILE": self.ssl_certfile,
            "KAFKA_SSL_KEYFILE": self.ssl_keyfile,
        }
        found += [
            f"{name} names no file: {path}"
            for name, path in named.items()
            if path is not None and not path.is_file()
        ]
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            found.append("KAFKA_SSL_KEYFILE is set, but KAFKA_SSL_CERTFILE is not")
        return found

    def client_arguments(self) -> dict[str, Any]:
        """Keyword arguments common to every aiokafka client. Reads the SSL files.

        Raises SettingsError.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "request_timeout_ms": self.request_timeout_ms,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            arguments["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        return arguments

    def _sasl_problems(self) -> list[str]:
        found = []
        if self.sasl_mechanism not in MECHANISMS:
            found.append(
                f"KAFKA_SASL_MECHANISM must be one of {', '.join(MECHANISMS)}; "
                f"got {self.sasl_mechanism!r}"
            )
        if not self.sasl_username or not self.sasl_password:
            found.append(
                f"KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are required with "
                f"{self.security_protocol}"
            )
        return found

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                # An empty password keeps OpenSSL from asking at the terminal.
                context.load_cert_chain(
                    self.ssl_certfile, self.ssl_keyfile, self.ssl_password or ""
                )
        except (OSError, ValueError) as error:
            raise SettingsError([f"KAFKA_SSL_*: the files cannot be used: {error}"]) from error
        return context


def refuse(doing: str, error: BaseException) -> NoReturn:
    """Raise SettingsError for what only an operator can change, else TransientError."""
    if isinstance(error, REFUSALS):
        raise SettingsError([f"Kafka refused {doing}: {_named(error)}"]) from error
    raise TransientError(f"{doing} failed: {_named(error)}") from error


async def started(doing: str, start: Coroutine[Any, Any, T], seconds: float) -> T:
    """As `bounded`; a start that is cut short may end first: it would leave a socket open."""
    return await bounded(doing, unhurried(start, START_GRACE_S), seconds)


async def bounded(doing: str, work: Awaitable[T], seconds: float) -> T:
    """Await `work` for at most `seconds`; errors become SettingsError or TransientError."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise TransientError(f"{doing} did not finish in {seconds:g} s") from error
    except FAILURES as error:
        refuse(doing, error)


def _named(error: BaseException) -> str:
    # A KafkaError names itself.
    return str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"


def _is_address(text: str) -> bool:
    host, colon, port = text.strip().rpartition(":")
    return bool(host and colon and port.isdigit() and 0 < int(port) < 65536)
