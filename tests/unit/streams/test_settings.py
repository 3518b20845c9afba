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
    settings = load_settings(SECRETS | LOCAL | PROXY | {"SIGNING_PROXY_API_KEY": "murmur"})
    shown = repr(settings) + str(settings) + str(sanitised(settings))
    for secret in ("hush", "whisper", "1111", "murmur"):
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


KMS = {"AUDIT_SIGNING_KMS_KEY_ID": "alias/audit"}
PROXY = {"SIGNING_PROXY_URL": "https://signer.example:8443/v1"}
LOCAL = {"AUDIT_SIGNING_PRIVATE_KEY": "11" * 32}
PRODUCTION = {"ATTESTREAM_ENV": "production", "ATTESTREAM_ORIGIN": "audit.example"}


@pytest.mark.parametrize(
    ("environ", "signer"),
    [
        (KMS | PROXY | LOCAL, "kms"),
        (PROXY | LOCAL, "proxy"),
        (LOCAL, "local"),
        (KMS | {"ATTESTREAM_SIGNERS": "kms"}, "kms"),
        (PROXY | {"ATTESTREAM_SIGNERS": "kms, proxy"}, "proxy"),
        ({}, None),
    ],
)
def test_kms_comes_before_the_proxy_and_the_proxy_before_a_local_key(
    environ: dict[str, str], signer: str | None
) -> None:
    assert load_settings(environ).signer == signer
    if signer:
        assert load_settings(environ | PRODUCTION | {"REQUIRE_KMS": "true"}).signer == signer


@pytest.mark.parametrize(
    "guard",
    [PRODUCTION, {"REQUIRE_KMS": "true"}, {"ATTESTREAM_SIGNERS": "kms,proxy"}],
    ids=["production", "REQUIRE_KMS", "local keys forbidden"],
)
def test_no_permitted_signer_is_refused_in_one_sentence(guard: dict[str, str]) -> None:
    (problem,) = problems(**guard)
    assert problem.startswith("no signer: set AUDIT_SIGNING_KMS_KEY_ID or SIGNING_PROXY_URL")
    assert ("AUDIT_SIGNING_PRIVATE_KEY" in problem) == ("ATTESTREAM_SIGNERS" not in guard)
    assert "\n" not in problem


def test_forbidden_signer_is_refused_and_not_ignored() -> None:
    (problem,) = problems(**KMS, **LOCAL, ATTESTREAM_SIGNERS="kms,proxy")
    assert problem == (
        "AUDIT_SIGNING_PRIVATE_KEY is set and ATTESTREAM_SIGNERS=kms,proxy forbids it: unset it"
    )
    assert len(problems(**LOCAL, ATTESTREAM_SIGNERS="kms")) == 2


@pytest.mark.parametrize("names", ["hsm", "kms;proxy", ",", "KMS"])
def test_unknown_signer_is_refused(names: str) -> None:
    assert any("ATTESTREAM_SIGNERS" in problem for problem in problems(ATTESTREAM_SIGNERS=names))


@pytest.mark.parametrize(
    "url", ["signer", "ftp://signer", "https://", "https://u:p@signer", "https://signer?key=hush"]
)
def test_proxy_that_is_no_address_is_refused(url: str) -> None:
    (problem,) = problems(SIGNING_PROXY_URL=url)
    assert problem.startswith("SIGNING_PROXY_URL: expected https://host:port")
    assert "hush" not in problem


def test_api_key_of_the_proxy_is_one_word_and_never_travels_in_the_clear() -> None:
    key = {"SIGNING_PROXY_API_KEY": "two words"}
    assert problems(**PROXY, **key) == ["SIGNING_PROXY_API_KEY: expected one word"]
    near, far = "http://127.0.0.1:8081", "http://signer.example"
    good = PRODUCTION | {"SIGNING_PROXY_API_KEY": "hush"}
    assert load_settings(good | {"SIGNING_PROXY_URL": near}).signer == "proxy"
    (problem,) = problems(**good, SIGNING_PROXY_URL=far)
    assert "must be https:// in production" in problem


def test_proxy_certificate_without_its_key_or_file_is_refused() -> None:
    found = problems(**PROXY, SIGNING_PROXY_CERT_FILE="no-such-file.pem")
    assert len(found) == 2
    assert any("go together" in problem for problem in found)
    assert any("no such file" in problem for problem in found)


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


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-11-21T22:00:00Z", 1_795_298_400_000),
        ("2026-11-21T23:00:00.5+01:00", 1_795_298_400_500),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_time_is_kept_as_milliseconds(text: str, milliseconds: int) -> None:
    assert load_settings({"ATTESTREAM_ALERTS_FROM": text}).alerts_from_ms == milliseconds


@pytest.mark.parametrize(
    "text", ["2026-11-21T22:00:00", "now", "1795298400000", "1969-12-31T00:00:00Z"]
)
def test_a_time_without_zone_or_before_the_epoch_is_refused(text: str) -> None:
    (problem,) = problems(ATTESTREAM_ALERTS_FROM=text)
    assert "RFC 3339" in problem
