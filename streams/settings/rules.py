"""What settings must not say together; pure but for looking whether named files are there."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from streams.settings.model import SIGNERS, Settings

__all__ = ["contradictions"]


def contradictions(s: Settings) -> list[str]:
    """Each problem as one line that names the settings."""
    rules = [
        (
            s.kafka_security_protocol.startswith("SASL")
            and not (s.kafka_sasl_username and s.kafka_sasl_password),
            "KAFKA_SECURITY_PROTOCOL needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
        ),
        (
            (s.kafka_ssl_certfile is None) != (s.kafka_ssl_keyfile is None),
            "KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE go together: only one is set",
        ),
        (
            s.snapshots is not None and s.snapshots.rstrip("/") == (s.archive or "").rstrip("/"),
            "ATTESTREAM_SNAPSHOTS is the archive itself: what is archived is never deleted",
        ),
        (
            s.decisions_topic == s.memory_topic,
            "ATTESTREAM_DECISIONS_TOPIC and ATTESTREAM_MEMORY_TOPIC must differ",
        ),
        (
            s.production and s.origin is None,
            "ATTESTREAM_ORIGIN is required in production: the name of this deployment's logs",
        ),
        (
            (s.signing_proxy_cert_file is None) != (s.signing_proxy_key_file is None),
            "SIGNING_PROXY_CERT_FILE and SIGNING_PROXY_KEY_FILE go together: only one is set",
        ),
        (
            s.production
            and s.signing_proxy_api_key is not None
            and _in_the_clear(s.signing_proxy_urls),
            "SIGNING_PROXY_URL must be https:// in production: SIGNING_PROXY_API_KEY is a secret",
        ),
    ]
    files = {
        "KAFKA_SSL_CAFILE": s.kafka_ssl_cafile,
        "KAFKA_SSL_CERTFILE": s.kafka_ssl_certfile,
        "KAFKA_SSL_KEYFILE": s.kafka_ssl_keyfile,
        "SIGNING_PROXY_CA_FILE": s.signing_proxy_ca_file,
        "SIGNING_PROXY_CERT_FILE": s.signing_proxy_cert_file,
        "SIGNING_PROXY_KEY_FILE": s.signing_proxy_key_file,
        "SCHEMA_REGISTRY_SSL_CA_FILE": s.schema_registry_ca_file,
    }
    rules += _archive_rules(s) + _registry_rules(s)
    problems = [text for broken, text in rules if broken] + _signer_problems(s)
    return problems + [
        f"{name}: no such file: {path}"
        for name, path in files.items()
        if path and not path.is_file()
    ]


def _signer_problems(s: Settings) -> list[str]:
    permitted = ",".join(s.signers)
    problems = [
        f"{SIGNERS[name]} is set and ATTESTREAM_SIGNERS={permitted} forbids it: unset it"
        for name in s.signers_set
        if name not in s.signers
    ]
    may_make_one = "local" in s.signers and not (s.production or s.require_kms)
    if s.signer is None and not may_make_one:
        usable = " or ".join(SIGNERS[name] for name in SIGNERS if name in s.signers)
        problems.append(
            f"no signer: set {usable} (a key is made only in development, where neither "
            "REQUIRE_KMS nor ATTESTREAM_SIGNERS speaks against it)"
        )
    return problems


def _archive_rules(s: Settings) -> list[tuple[bool, str]]:
    least = s.retention_floor_days
    return [
        (
            (s.s3_access_key is None) != (s.s3_secret is None),
            "S3_ACCESS_KEY and S3_SECRET go together: only one is set",
        ),
        (
            (s.s3_release_access_key is None) != (s.s3_release_secret is None),
            "S3_RELEASE_ACCESS_KEY and S3_RELEASE_SECRET go together: only one is set",
        ),
        (
            s.s3_release_access_key is not None and s.s3_release_access_key == s.s3_access_key,
            "S3_RELEASE_ACCESS_KEY is S3_ACCESS_KEY: a hold its writer can release holds nothing",
        ),
        (
            s.retention_days < least,
            f"ATTESTREAM_RETENTION_DAYS is below ATTESTREAM_RETENTION_FLOOR_DAYS={least}",
        ),
        (
            s.production and s.allow_unlocked_archive,
            "ATTESTREAM_ALLOW_UNLOCKED_ARCHIVE is for development: refused in production",
        ),
    ]


def _registry_rules(s: Settings) -> list[tuple[bool, str]]:
    given = [secret for secret in (s.schema_registry_user_info, s.schema_registry_token) if secret]
    return [
        (
            len(given) > 1,
            "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO, SCHEMA_REGISTRY_BEARER_AUTH_TOKEN: set one",
        ),
        (
            s.production and bool(given) and _in_the_clear(s.schema_registry_urls),
            "SCHEMA_REGISTRY_URL must be https:// in production: its credentials are secret",
        ),
    ]


def _in_the_clear(urls: Sequence[str]) -> bool:
    near = {"127.0.0.1", "::1", "localhost"}
    parts = map(urlsplit, urls)
    return any(url.scheme == "http" and url.hostname not in near for url in parts)
