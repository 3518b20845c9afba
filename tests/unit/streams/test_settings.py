"""Settings: every problem in one message, no secret in any, nothing silently ignored."""

import pytest

from streams.errors import SettingsError
from streams.settings import Settings, load_settings, sanitised

SECRETS = {"S3_ACCESS_KEY": "id", "S3_SECRET": "hush", "KAFKA_SASL_PASSWORD": "whisper"}


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return caught.value.problems


def test_nothing_set_is_the_embedded_engine() -> None:
    settings = load_settings({})
    assert not settings.on_kafka
    assert settings.retention_days == 365


def test_all_problems_come_at_once() -> None:
    found = problems(
        ATTESTREAM_RETENTION_DAYS="never",
        ATTESTREAM_RISK_TRESHOLD="0.5",
        S3_SECRET="hush",
        AUDIT_SIGNING_SECRET="hush",
    )
    assert len(found) == 4
    assert "hush" not in "".join(found)


def test_secrets_are_in_no_text() -> None:
    settings = load_settings(SECRETS | {"AUDIT_SIGNING_PRIVATE_KEY": "11" * 32})
    shown = repr(settings) + str(settings) + str(sanitised(settings))
    for secret in ("hush", "whisper", "1111"):
        assert secret not in shown


def test_aliases_stand_for_their_setting_and_do_not_override_it() -> None:
    assert load_settings({"PORT": "80"}).http_port == 80
    assert load_settings({"PORT": "80", "ATTESTREAM_HTTP_PORT": "81"}).http_port == 81
    assert load_settings({"NODE_ENV": "test"}).env == "test"


def test_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"KAFKA_BOOTSTRAP_SERVERS": ""}).kafka_bootstrap_servers is None


@pytest.mark.parametrize("name", ["ATTESTREAM_ENV", "NODE_ENV"])
def test_production_without_signer_or_origin_is_refused(name: str) -> None:
    found = problems(**{name: "production"})
    assert any("no signer" in problem for problem in found)
    assert any("ATTESTREAM_ORIGIN" in problem for problem in found)


@pytest.mark.parametrize("name", ["AUDIT_SIGNING_KMS_KEY_ID", "SIGNING_PROXY_URL", "REQUIRE_KMS"])
def test_signer_that_cannot_be_had_is_refused_and_not_replaced(name: str) -> None:
    assert problems(**{name: "1"})


@pytest.mark.parametrize("origin", ["a b", "a+b", "a//b", "/a", "a/", ""])
def test_origin_that_is_no_key_name_is_refused(origin: str) -> None:
    if origin:
        assert problems(ATTESTREAM_ORIGIN=origin)


@pytest.mark.parametrize("url", ["s3://", "s3://UPPER", "http://bucket", "gs://bucket"])
def test_archive_that_is_no_bucket_is_refused(url: str) -> None:
    assert problems(ATTESTREAM_ARCHIVE=url)


@pytest.mark.parametrize("topic", ["a b", "", ".", "..", "ä", "x" * 201])
def test_topic_that_kafka_would_refuse_is_refused(topic: str) -> None:
    if topic:
        assert problems(ATTESTREAM_DECISIONS_TOPIC=topic)


def test_sasl_without_credentials_is_refused() -> None:
    assert problems(KAFKA_SECURITY_PROTOCOL="SASL_SSL")


def test_every_setting_has_an_alias() -> None:
    assert all(field.alias for field in Settings.model_fields.values())
