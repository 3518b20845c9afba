"""Every setting: its name, its type, its bounds, its default (docs/reference/settings.md)."""

import re
from datetime import datetime
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
)

from streams.settings.index_key import index_key

__all__ = ["SIGNERS", "Settings", "SignerName"]

INDEX_WIDTHS = (32, 48, 64, 96, 128, 192, 384)  # columns that divide the 384 of a vector
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,200}")  # 249 less "dead-letters." and an epoch


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


def _index_key(text: object) -> object:
    # Kept as hex: whatever form it was given in, one key has one spelling.
    return index_key(text).hex() if isinstance(text, str) else text


def _moment(text: object) -> object:
    # Kept as milliseconds since the epoch.
    if not isinstance(text, str):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.timestamp() < 0:
        raise ValueError("expected an RFC 3339 time, e.g. 2026-11-21T22:00:00Z")
    return int(moment.timestamp() * 1000)


def _bearer(key: SecretStr) -> SecretStr:
    if any(c.isspace() or not c.isprintable() for c in key.get_secret_value()):
        raise ValueError("expected one word")
    return key


def _divisor(width: int) -> int:
    if width not in INDEX_WIDTHS:
        raise ValueError(f"expected one of {', '.join(map(str, INDEX_WIDTHS))}")
    return width


def _names(text: object) -> object:
    return [name.strip() for name in text.split(",")] if isinstance(text, str) else text


Topic = Annotated[str, AfterValidator(_topic)]
KeyId = Annotated[str, Field(pattern=r"^\S+$")]
IndexKey = Annotated[SecretStr, BeforeValidator(_index_key)]
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
    s3_path_style: bool | None = Field(None, alias="S3_PATH_STYLE")
    s3_release_access_key: str | None = Field(None, alias="S3_RELEASE_ACCESS_KEY")
    s3_release_secret: SecretStr | None = Field(None, alias="S3_RELEASE_SECRET")
    s3_release_profile: str | None = Field(None, alias="S3_RELEASE_PROFILE")

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
    retention_floor_days: int = Field(
        365, alias="ATTESTREAM_RETENTION_FLOOR_DAYS", ge=1, le=36_500
    )
    legal_hold: bool = Field(default=False, alias="ATTESTREAM_LEGAL_HOLD")
    http_host: str = Field("127.0.0.1", alias="ATTESTREAM_HTTP_HOST")
    http_port: int = Field(6066, alias="ATTESTREAM_HTTP_PORT", ge=0, le=65_535)
    advertised_url: str | None = Field(
        None, alias="ATTESTREAM_ADVERTISED_URL", pattern=r"^https?://"
    )
    url: str | None = Field(None, alias="ATTESTREAM_URL", pattern=r"^https?://")
    heads_s: float = Field(60, alias="ATTESTREAM_HEADS_S", ge=0.1, le=86_400)
    seal_linger_ms: int = Field(5, alias="ATTESTREAM_SEAL_LINGER_MS", ge=0, le=10_000)
    sign_interval_ms: int = Field(0, alias="ATTESTREAM_SIGN_INTERVAL_MS", ge=0, le=600_000)
    seal_records_max: int = Field(4096, alias="ATTESTREAM_SEAL_RECORDS_MAX", ge=1, le=4096)
    risk_threshold: float = Field(0.7, alias="ATTESTREAM_RISK_THRESHOLD", gt=0, lt=1)
    warm_up: int = Field(1000, alias="ATTESTREAM_WARM_UP", ge=0, le=10_000_000)
    alerts_per_hour: int = Field(100, alias="ATTESTREAM_ALERTS_PER_HOUR", ge=1, le=100_000)
    dedup_window_s: int = Field(3600, alias="ATTESTREAM_DEDUP_WINDOW_S", ge=1, le=30 * 86_400)
    alerts_from_ms: Annotated[int, BeforeValidator(_moment)] = Field(
        0, alias="ATTESTREAM_ALERTS_FROM"
    )
    alert_budget: int = Field(0, alias="ATTESTREAM_ALERT_BUDGET", ge=0, le=10_000)
    alert_neighbours: int = Field(5, alias="ATTESTREAM_ALERT_NEIGHBOURS", ge=1, le=20)
    index_width: Annotated[int, AfterValidator(_divisor)] = Field(
        64, alias="ATTESTREAM_INDEX_WIDTH"
    )
    index_m: int = Field(16, alias="ATTESTREAM_INDEX_M", ge=2, le=128)
    index_ef_construction: int = Field(
        200, alias="ATTESTREAM_INDEX_EF_CONSTRUCTION", ge=2, le=4000
    )
    index_ef: int = Field(50, alias="ATTESTREAM_INDEX_EF", ge=1, le=4000)
    index_k: int = Field(150, alias="ATTESTREAM_INDEX_K", ge=1, le=4000)
    index_graph_from: int = Field(32_768, alias="ATTESTREAM_INDEX_GRAPH_FROM", ge=0, le=10**9)
    pipeline_mode: Literal["off", "shadow", "on"] = Field("on", alias="ATTESTREAM_PIPELINE_MODE")
    pipeline_percent: int = Field(100, alias="ATTESTREAM_PIPELINE_PERCENT", ge=0, le=100)
    segment_bytes: int = Field(
        32 * 2**20, alias="ATTESTREAM_SEGMENT_BYTES", ge=1024, le=60 * 2**20
    )
    segment_records: int = Field(100_000, alias="ATTESTREAM_SEGMENT_RECORDS", ge=1, le=10**7)
    segment_span_s: float = Field(86_400, alias="ATTESTREAM_SEGMENT_SPAN_S", ge=1, le=31_622_400)
    segment_daily: bool = Field(default=True, alias="ATTESTREAM_SEGMENT_DAILY")
    segment_age_s: float = Field(300, alias="ATTESTREAM_SEGMENT_AGE_S", ge=1, le=86_400)
    segment_idle_s: float = Field(30, alias="ATTESTREAM_SEGMENT_IDLE_S", ge=0.1, le=86_400)
    index_key: IndexKey | None = Field(None, alias="VECTOR_INDEX_KEY")
    index_key_previous: IndexKey | None = Field(None, alias="VECTOR_INDEX_KEY_PREVIOUS")
    index_kms_key_ids: Annotated[tuple[KeyId, ...], BeforeValidator(_names)] = Field(
        (), alias="VECTOR_INDEX_KMS_KEY_ID"
    )
    snapshots: Annotated[str, AfterValidator(_archive)] | None = Field(
        None, alias="ATTESTREAM_SNAPSHOTS"
    )
    snapshot_s: float = Field(3600, alias="ATTESTREAM_SNAPSHOT_S", ge=1, le=2_678_400)
    snapshot_leaves: int = Field(1_000_000, alias="ATTESTREAM_SNAPSHOT_LEAVES", ge=1)
    drill_days: int = Field(92, alias="ATTESTREAM_DRILL_DAYS", ge=1, le=3650)
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
