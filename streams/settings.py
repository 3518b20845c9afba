"""Settings: environment variables, typed once, all problems reported together.

`load_settings` is pure: it takes the environment as a mapping. Whatever is wrong is listed in one
`SettingsError`, before the first byte is read or written. Secrets are `SecretStr`: they appear in
no repr, no message, no log. docs/reference/settings.md has every name.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from streams.errors import SettingsError

__all__ = ["Settings", "load_settings", "sanitised"]

TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,200}")  # 249 less "dead-letters." and an epoch
KNOWN_ELSEWHERE = {"ATTESTREAM_SAMPLES"}  # read by benches and tests only


def _topic(name: str) -> str:
    if not TOPIC_NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError("expected 1 to 200 of the characters a-z A-Z 0-9 . _ -")
    return name


def _prefix(name: str) -> str:
    return _topic(name) if name else name


def _origin(name: str) -> str:
    if not name or "+" in name or any(c.isspace() for c in name) or "" in name.split("/"):
        raise ValueError("expected a name without white space, without + and without empty parts")
    return name


def _archive(url: str) -> str:
    if "://" in url and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", url):
        raise ValueError("expected s3://bucket/prefix or a directory")
    return url


def _proxy(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected https://host:port")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected https://host:port alone; SIGNING_PROXY_API_KEY has the secret")
    return url


def _registry(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected https://host:port, or several with commas")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "expected https://host:port alone; SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO has the secret"
        )
    return url


def _user_info(info: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[^:\x00-\x1f]+:[^\x00-\x1f]*", info.get_secret_value()):
        raise ValueError("expected user:password")
    return info


def _bearer(key: SecretStr) -> SecretStr:
    if any(c.isspace() or not c.isprintable() for c in key.get_secret_value()):
        raise ValueError("expected one word")
    return key


def _names(text: object) -> object:
    return [name.strip() for name in text.split(",")] if isinstance(text, str) else text


Topic = Annotated[str, AfterValidator(_topic)]
KeyId = Annotated[str, Field(pattern=r"^\S+$")]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
RegistryUrl = Annotated[str, AfterValidator(_registry)]
SignerName = Literal["kms", "proxy", "local"]
# By preference, each with the setting that names its key.
SIGNERS: dict[SignerName, str] = {
    "kms": "AUDIT_SIGNING_KMS_KEY_ID",
    "proxy": "SIGNING_PROXY_URL",
    "local": "AUDIT_SIGNING_PRIVATE_KEY",
}


class Settings(BaseModel):
    """Every setting, under the name of its environment variable (`alias`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka_bootstrap_servers: str | None = Field(None, alias="KAFKA_BOOTSTRAP_SERVERS")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", alias="KAFKA_SECURITY_PROTOCOL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", alias="KAFKA_SASL_MECHANISM"
    )
    kafka_sasl_username: str | None = Field(None, alias="KAFKA_SASL_USERNAME")
    kafka_sasl_password: SecretStr | None = Field(None, alias="KAFKA_SASL_PASSWORD")
    kafka_ssl_cafile: Path | None = Field(None, alias="KAFKA_SSL_CAFILE")
    kafka_ssl_certfile: Path | None = Field(None, alias="KAFKA_SSL_CERTFILE")
    kafka_ssl_keyfile: Path | None = Field(None, alias="KAFKA_SSL_KEYFILE")
    kafka_ssl_password: SecretStr | None = Field(None, alias="KAFKA_SSL_PASSWORD")

    schema_registry_urls: Annotated[tuple[RegistryUrl, ...], BeforeValidator(_names)] = Field(
        (), alias="SCHEMA_REGISTRY_URL"
    )
    schema_registry_user_info: Annotated[SecretStr, AfterValidator(_user_info)] | None = Field(
        None, alias="SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"
    )
    schema_registry_token: Annotated[SecretStr, AfterValidator(_bearer)] | None = Field(
        None, alias="SCHEMA_REGISTRY_BEARER_AUTH_TOKEN"
    )
    schema_registry_ca_file: Path | None = Field(None, alias="SCHEMA_REGISTRY_SSL_CA_FILE")

    s3_endpoint: str | None = Field(None, alias="S3_ENDPOINT", pattern=r"^https?://")
    s3_region: str | None = Field(None, alias="S3_REGION")
    s3_access_key: str | None = Field(None, alias="S3_ACCESS_KEY")
    s3_secret: SecretStr | None = Field(None, alias="S3_SECRET")
    s3_sse_kms_key_id: str | None = Field(None, alias="S3_SSE_KMS_KEY_ID")

    signing_kms_key_ids: Annotated[tuple[KeyId, ...], BeforeValidator(_names)] = Field(
        (), alias="AUDIT_SIGNING_KMS_KEY_ID"
    )
    signing_proxy_urls: Annotated[tuple[ProxyUrl, ...], BeforeValidator(_names)] = Field(
        (), alias="SIGNING_PROXY_URL"
    )
    signing_proxy_api_key: Annotated[SecretStr, AfterValidator(_bearer)] | None = Field(
        None, alias="SIGNING_PROXY_API_KEY"
    )
    signing_proxy_ca_file: Path | None = Field(None, alias="SIGNING_PROXY_CA_FILE")
    signing_proxy_cert_file: Path | None = Field(None, alias="SIGNING_PROXY_CERT_FILE")
    signing_proxy_key_file: Path | None = Field(None, alias="SIGNING_PROXY_KEY_FILE")
    signing_private_key: SecretStr | None = Field(None, alias="AUDIT_SIGNING_PRIVATE_KEY")
    signers: Annotated[tuple[SignerName, ...], BeforeValidator(_names)] = Field(
        ("kms", "proxy", "local"), alias="ATTESTREAM_SIGNERS"
    )
    require_kms: bool = Field(default=False, alias="REQUIRE_KMS")
    operator_key: str | None = Field(None, alias="ATTESTREAM_OPERATOR_KEY")
    operator_private_key: SecretStr | None = Field(None, alias="ATTESTREAM_OPERATOR_PRIVATE_KEY")

    env: str = Field("development", alias="ATTESTREAM_ENV")
    origin: Annotated[str, AfterValidator(_origin)] | None = Field(None, alias="ATTESTREAM_ORIGIN")
    home: Path = Field(Path("attestream-data"), alias="ATTESTREAM_HOME")
    decisions_topic: Topic = Field("authz.decisions", alias="ATTESTREAM_DECISIONS_TOPIC")
    memory_topic: Topic = Field("memory.mutations", alias="ATTESTREAM_MEMORY_TOPIC")
    topic_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "", alias="ATTESTREAM_TOPIC_PREFIX"
    )
    archive: Annotated[str, AfterValidator(_archive)] | None = Field(
        None, alias="ATTESTREAM_ARCHIVE"
    )
    anchors: Annotated[str, AfterValidator(_archive)] | None = Field(
        None, alias="ATTESTREAM_ANCHORS"
    )
    allow_unlocked_archive: bool = Field(default=False, alias="ATTESTREAM_ALLOW_UNLOCKED_ARCHIVE")
    retention_days: int = Field(365, alias="ATTESTREAM_RETENTION_DAYS", ge=1, le=36_500)
    http_host: str = Field("127.0.0.1", alias="ATTESTREAM_HTTP_HOST")
    http_port: int = Field(6066, alias="ATTESTREAM_HTTP_PORT", ge=0, le=65_535)
    advertised_url: str | None = Field(
        None, alias="ATTESTREAM_ADVERTISED_URL", pattern=r"^https?://"
    )
    url: str | None = Field(None, alias="ATTESTREAM_URL", pattern=r"^https?://")
    heads_s: float = Field(60, alias="ATTESTREAM_HEADS_S", ge=0.1, le=86_400)
    seal_linger_ms: int = Field(5, alias="ATTESTREAM_SEAL_LINGER_MS", ge=0, le=10_000)
    seal_records_max: int = Field(4096, alias="ATTESTREAM_SEAL_RECORDS_MAX", ge=1, le=4096)
    risk_threshold: float = Field(0.7, alias="ATTESTREAM_RISK_THRESHOLD", gt=0, lt=1)
    warm_up: int = Field(1000, alias="ATTESTREAM_WARM_UP", ge=0, le=10_000_000)
    alerts_per_hour: int = Field(100, alias="ATTESTREAM_ALERTS_PER_HOUR", ge=1, le=100_000)
    segment_bytes: int = Field(
        32 * 2**20, alias="ATTESTREAM_SEGMENT_BYTES", ge=1024, le=64 * 2**20
    )
    segment_records: int = Field(100_000, alias="ATTESTREAM_SEGMENT_RECORDS", ge=1, le=10**7)
    segment_idle_s: float = Field(30, alias="ATTESTREAM_SEGMENT_IDLE_S", ge=0.1, le=86_400)
    lag_limit: int = Field(100_000, alias="ATTESTREAM_LAG_LIMIT", ge=1)
    session_timeout_ms: int = Field(
        10_000, alias="ATTESTREAM_SESSION_TIMEOUT_MS", ge=1000, le=300_000
    )

    @property
    def own_url(self) -> str:
        """Where other workers reach this one's pages."""
        return (self.advertised_url or f"http://{self.http_host}:{self.http_port}").rstrip("/")

    @property
    def production(self) -> bool:
        """Whether this deployment declared itself production."""
        return self.env.lower() in {"production", "prod"}

    @property
    def signer(self) -> SignerName | None:
        """The first permitted signer that is set, in the order kms, proxy, local."""
        return next((name for name in self.signers_set if name in self.signers), None)

    @property
    def signers_set(self) -> list[SignerName]:
        """The signers that are set, permitted or not, by preference."""
        given = (self.signing_kms_key_ids, self.signing_proxy_urls, self.signing_private_key)
        return [name for name, key in zip(SIGNERS, given, strict=True) if key]

    @property
    def on_kafka(self) -> bool:
        """A broker is named: the Kafka deployment; otherwise the embedded engine."""
        return self.kafka_bootstrap_servers is not None


ALIASES = {
    "AUDIT_SIGNING_KEY": "AUDIT_SIGNING_PRIVATE_KEY",
    "PORT": "ATTESTREAM_HTTP_PORT",
    "NODE_ENV": "ATTESTREAM_ENV",
}
REFUSED = {
    "AUDIT_SIGNING_SECRET": "is refused: nobody else can check a shared secret; "
    "set AUDIT_SIGNING_PRIVATE_KEY to an Ed25519 private key",
}


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read settings from an environment.

    An empty variable counts as not set. An `ATTESTREAM_*` name nobody reads is a problem: it is a
    misspelt setting.

    Raises:
        SettingsError: all problems, one line each, no secret in any.
    """
    known = {f.alias for f in Settings.model_fields.values() if f.alias}
    given = {name: value for name, value in environ.items() if value != ""}
    problems = [f"{name} {why}" for name, why in REFUSED.items() if given.get(name)]
    values = {name: given[name] for name in known & given.keys()}
    for alias, name in ALIASES.items():
        if alias in given:
            values.setdefault(name, given[alias])
    problems += [
        f"{name} is not a setting: see docs/reference/settings.md"
        for name in sorted(given)
        if name.startswith("ATTESTREAM_") and name not in known | KNOWN_ELSEWHERE
    ]
    settings, wrong = _validated(values)
    problems += wrong + _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _validated(values: dict[str, str]) -> tuple[Settings, list[str]]:
    """The settings, and what was wrong with them: such a setting is taken as not set."""
    try:
        return Settings.model_validate(values), []
    except ValidationError as error:
        wrong = {str(e["loc"][0]): _sentence(e["loc"][0], e["msg"]) for e in error.errors()}
        usable = {name: value for name, value in values.items() if name not in wrong}
        return Settings.model_validate(usable), list(wrong.values())


def sanitised(settings: Settings) -> dict[str, str]:
    """Every setting by name as text, secrets as `**********`: what start-up may log."""
    return {
        field.alias or name: str(getattr(settings, name))
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) not in (None, ())
    }


def _sentence(name: str | int, message: str) -> str:
    return f"{name}: {message.removeprefix('Value error, ')}"


def _contradictions(s: Settings) -> list[str]:
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
            (s.s3_access_key is None) != (s.s3_secret is None),
            "S3_ACCESS_KEY and S3_SECRET go together: only one is set",
        ),
        (
            s.production and s.allow_unlocked_archive,
            "ATTESTREAM_ALLOW_UNLOCKED_ARCHIVE is for development: refused in production",
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
    rules += _registry_rules(s)
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
