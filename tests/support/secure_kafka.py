"""A broker that lets in whom it knows, and lets each do only what an ACL says.

Three listeners: PLAINTEXT, whose anonymous clients may do everything (the administrator of tests),
SASL_SSL (SCRAM-SHA-512 and PLAIN), and SSL that demands a client certificate; its common name is
the user. Users and certificates are made when a test asks for them.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka.admin as rights
import pytest

from tests.support.acl_commands import Grant
from tests.support.certificates import Authority
from tests.support.local_kafka import LocalKafka, NoBrokerError

__all__ = ["PLAIN_USER", "SecureKafka", "closed_connections", "password_of", "secure_kafka"]

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
PLAIN_USER = "plain"
ANYWHERE = ANYTHING = "*"


def password_of(user: str) -> str:
    """Found in an output, it can be nothing but the password."""
    return f"open-sesame-of-{user}"


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """The running broker and who vouches for it."""

    local: LocalKafka
    authority: Authority

    @classmethod
    def create(cls, folder: Path) -> "SecureKafka":
        """Not started yet."""
        authority = Authority.create(folder / "certificates")
        certificate, key = authority.issue("broker")
        chain = authority.folder / "broker-chain.pem"
        chain.write_bytes(key.read_bytes() + certificate.read_bytes())
        properties = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(chain),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.ssl.ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f'{PLAIN} required user_{PLAIN_USER}="{password_of(PLAIN_USER)}";'
            ),
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        return cls(
            LocalKafka(folder / "broker", secure="SASL_SSL,SSL", properties=properties), authority
        )

    @property
    def bootstrap(self) -> str:
        """Of the administrator."""
        return self.local.bootstrap

    def add_users(self, *names: str) -> None:
        """SCRAM users; each may do nothing yet."""
        info = rights.ScramCredentialInfo(rights.ScramMechanism.SCRAM_SHA_512, 4096)
        changes = [
            rights.UserScramCredentialUpsertion(name, info, password_of(name).encode())
            for name in names
        ]
        admin = self._admin()
        for done in admin.alter_user_scram_credentials(changes).values():
            done.result(10)

    def allow(self, grants: Iterable[Grant]) -> None:
        """In force when this returns, or a moment later."""
        bindings = [
            rights.AclBinding(
                rights.ResourceType[grant.kind],
                grant.name,
                rights.ResourcePatternType[grant.pattern],
                f"User:{grant.user}",
                ANYWHERE,
                rights.AclOperation[grant.operation],
                rights.AclPermissionType.ALLOW,
            )
            for grant in grants
        ]
        admin = self._admin()
        for done in admin.create_acls(bindings).values():
            done.result(10)

    def allow_everything(self, user: str) -> None:
        """Whatever a client may ask for."""
        kinds = ("TOPIC", "GROUP", "TRANSACTIONAL_ID")
        self.allow(Grant(user, kind, ANYTHING, "LITERAL", "ALL") for kind in kinds)

    def as_sasl(self, user: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Settings of a client that knows the user's password."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.local.secure_bootstraps["SASL_SSL"],
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": password_of(user),
            "KAFKA_SSL_CAFILE": str(self.authority.certificate),
        }

    def as_certified(self, user: str) -> dict[str, str]:
        """Settings of a client with the user's certificate, its key file encrypted."""
        certificate, key = self.authority.issue(user, password=password_of(user))
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.local.secure_bootstraps["SSL"],
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CAFILE": str(self.authority.certificate),
            "KAFKA_SSL_CERTFILE": str(certificate),
            "KAFKA_SSL_KEYFILE": str(key),
            "KAFKA_SSL_PASSWORD": password_of(user),
        }

    def _admin(self) -> rights.AdminClient:
        # To be kept by the caller: its requests end with it.
        return rights.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[SecureKafka]:
    """One for the whole run; always our own, since only here every user is ours."""
    folder = Path(tempfile.mkdtemp(prefix="attestream-secure-kafka-"))
    try:
        secured = SecureKafka.create(folder)
        with secured.local:
            yield secured
    except NoBrokerError as error:
        pytest.exit(str(error), returncode=3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def closed_connections() -> AsyncIterator[None]:
    """Wait for the other half of each TLS goodbye: a loop that ends before leaves its socket."""
    yield
    selector: Any = getattr(asyncio.get_running_loop(), "_selector", None)
    for _ in range(100):
        if selector is None or len(selector.get_map()) <= 1:  # the loop's own wake-up
            return
        await asyncio.sleep(0.02)
