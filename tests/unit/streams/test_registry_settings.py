"""Settings of a schema registry: where it is, who asks, and nothing secret on its way out."""

from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.registry.opening import registry_opener
from streams.settings import load_settings, sanitised

URL = {"SCHEMA_REGISTRY_URL": "https://one:8081, https://two:8081/registry"}
USER = {"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "worker:hu:sh"}
TOKEN = {"SCHEMA_REGISTRY_BEARER_AUTH_TOKEN": "whisper"}
PRODUCTION = {
    "ATTESTREAM_ENV": "production",
    "ATTESTREAM_ORIGIN": "test.example",
    "AUDIT_SIGNING_PRIVATE_KEY": "11" * 32,
}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert "sh" not in "".join(caught.value.problems).replace("https", "")
    return caught.value.problems


def test_several_nodes_of_one_registry_are_named() -> None:
    settings = load_settings(URL)
    assert settings.schema_registry_urls == ("https://one:8081", "https://two:8081/registry")
    assert registry_opener(settings) is not None


def test_without_a_registry_nobody_is_asked() -> None:
    assert registry_opener(load_settings({})) is None


@pytest.mark.parametrize("secret", [USER, TOKEN])
def test_credentials_are_in_no_text(secret: dict[str, str]) -> None:
    settings = load_settings(URL | secret)
    shown = repr(settings) + str(sanitised(settings))
    assert next(iter(secret)) in shown
    assert not {"hu:sh", "whisper"} & {word for word in ("hu:sh", "whisper") if word in shown}


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"SCHEMA_REGISTRY_URL": "registry:8081"}, "https://host:port"),
        ({"SCHEMA_REGISTRY_URL": "https://one:8081,,"}, "https://host:port"),
        ({"SCHEMA_REGISTRY_URL": "https://worker:hush@one"}, "BASIC_AUTH_USER_INFO"),
        ({"SCHEMA_REGISTRY_URL": "https://one?key=hush"}, "BASIC_AUTH_USER_INFO"),
        ({"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "hush"}, "user:password"),
        ({"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": ":hush"}, "user:password"),
        ({"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "worker:hu\nsh"}, "user:password"),
        ({"SCHEMA_REGISTRY_BEARER_AUTH_TOKEN": "hu sh"}, "one word"),
        (USER | TOKEN, "set one"),
        ({"SCHEMA_REGISTRY_SSL_CA_FILE": "no/such/file"}, "no such file"),
        (PRODUCTION | USER | {"SCHEMA_REGISTRY_URL": "http://one"}, "https:// in production"),
    ],
)
def test_what_is_wrong_is_said_and_the_secret_is_not(environ: dict[str, str], word: str) -> None:
    (found,) = problems(environ)
    assert word in found


def test_a_registry_on_this_machine_may_be_in_the_clear() -> None:
    near = PRODUCTION | USER | {"SCHEMA_REGISTRY_URL": "http://localhost:8081"}
    assert load_settings(near).production


def test_a_file_of_authorities_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    settings = load_settings(URL | {"SCHEMA_REGISTRY_SSL_CA_FILE": str(file)})
    assert settings.schema_registry_ca_file == file
