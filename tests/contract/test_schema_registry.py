"""The SchemaRegistry port: only a registry's own word is an answer, everything else waits."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from schemas.catalogue import current_text
from schemas.framing import ReferenceKind, SchemaReference
from schemas.schema_answers import TEXT_BYTES_MAX
from streams.errors import SettingsError, TransientError
from streams.registry.confluent import (
    ConfluentRegistry,
    RegistryAddress,
    RegistryPatience,
    opened_registry,
)
from tests.support.certificates import Authority
from tests.support.local_registry import Fault, LocalRegistry

TEXT = current_text("authorization_decision")
FAST = RegistryPatience(delays_s=(0.01, 0.01), total_timeout_s=0.3)


def by_id(number: int) -> SchemaReference:
    return SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))


def by_guid(guid: bytes) -> SchemaReference:
    return SchemaReference(ReferenceKind.GUID, guid)


@asynccontextmanager
async def client(*servers: LocalRegistry, **address: str) -> AsyncIterator[ConfluentRegistry]:
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(server.running()) for server in servers]
        where = RegistryAddress(urls=tuple(urls), **address)  # type: ignore[arg-type]
        yield await stack.enter_async_context(opened_registry(where, FAST))


async def test_an_id_and_a_guid_stand_for_the_text_that_was_registered() -> None:
    server = LocalRegistry()
    number = server.put(TEXT)
    async with client(server) as registry:
        for reference in (by_id(number), by_guid(server.guid(number))):
            text, detail = await registry.ask(reference)
            assert (json.loads(text or ""), detail) == (json.loads(TEXT), "")


async def test_unknown_is_what_the_registry_says_with_its_code() -> None:
    async with client(LocalRegistry()) as registry:
        assert (await registry.ask(by_id(7))).text is None
        assert (await registry.ask(by_guid(bytes(16)))).text is None


async def test_a_node_that_has_not_heard_yet_is_asked_again() -> None:
    late = LocalRegistry(lags=2)
    number = late.put(TEXT)
    async with client(late) as registry:
        assert (await registry.ask(by_id(number))).text is not None


async def test_one_node_that_knows_is_enough() -> None:
    empty, full = LocalRegistry(), LocalRegistry()
    number = full.put(TEXT)
    async with client(empty, full) as registry:
        assert (await registry.ask(by_id(number))).text is not None


async def test_one_silent_node_of_several_makes_nothing_unknown() -> None:
    async with client(LocalRegistry(), LocalRegistry(fault="silence")) as registry:
        with pytest.raises(TransientError, match="does not answer"):
            await registry.ask(by_id(7))


async def test_a_registry_without_guids_knows_none_of_them() -> None:
    server = LocalRegistry(serves_guids=False)
    async with client(server) as registry:
        assert (await registry.ask(by_guid(bytes(16)))).text is None
        server.fault = "page"
        with pytest.raises(SettingsError, match="no such page"):
            await registry.ask(by_guid(bytes(16)))


@pytest.mark.parametrize("fault", ["silence", "503", "500", "429", "noise", "torn"])
async def test_what_is_no_answer_waits(fault: Fault) -> None:
    server = LocalRegistry(fault=fault)
    server.put(TEXT)
    async with client(server) as registry:
        for asking in (registry.ask(by_id(1)), registry.register("alerts-value", TEXT)):
            with pytest.raises(TransientError):
                await asking
        server.fault = ""
        assert (await registry.ask(by_id(1))).text is not None


@pytest.mark.parametrize("fault", ["403", "302", "page"])
async def test_what_an_operator_must_mend_is_one_sentence(fault: Fault) -> None:
    async with client(LocalRegistry(fault=fault)) as registry:
        for asking in (registry.ask(by_id(1)), registry.register("alerts-value", TEXT)):
            with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_URL http") as refused:
                await asking
            assert len(refused.value.problems) == 1


async def test_nobody_at_the_address_waits() -> None:
    address = RegistryAddress(urls=("http://127.0.0.1:9",))
    async with opened_registry(address, FAST) as registry:
        with pytest.raises(TransientError, match="does not answer"):
            await registry.ask(by_id(1))


async def test_credentials_are_sent_and_never_shown() -> None:
    server = LocalRegistry(user_info="reader:hush-hush")
    server.put(TEXT)
    async with client(server, user_info="reader:hush-hush") as registry:
        assert (await registry.ask(by_id(1))).text is not None
        server.user_info = "reader:changed"
        with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO") as refused:
            await registry.ask(by_id(1))
        assert "hush" not in str(refused.value) + registry.url
    assert "hush" not in repr(RegistryAddress(urls=("http://x",), user_info="reader:hush-hush"))
    bearer = LocalRegistry(token="one-word")
    bearer.put(TEXT)
    async with client(bearer, token="one-word") as registry:
        assert (await registry.ask(by_id(1))).text is not None


async def test_a_file_that_is_no_authority_is_one_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_SSL_CA_FILE"):
        async with opened_registry(RegistryAddress(urls=("https://x",), ca_file=wrong)):
            pass


async def test_the_registry_must_show_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("registry"))
    server = LocalRegistry()
    server.put(TEXT)
    async with server.running(context) as url:
        for ca_file in (authority.certificate, None):
            address = RegistryAddress(urls=(url,), ca_file=ca_file)
            async with opened_registry(address, FAST) as registry:
                if ca_file:
                    assert (await registry.ask(by_id(1))).text is not None
                else:
                    with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_SSL_CA_FILE"):
                        await registry.ask(by_id(1))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"}, "PROTOBUF"),
        ({"schema": "x" * (TEXT_BYTES_MAX + 1), "schemaType": "AVRO"}, "262145 bytes"),
        ({"schema": "x" * (5 * TEXT_BYTES_MAX), "schemaType": "AVRO"}, "more than 1048576"),
        ({"schema": "\ud800", "schemaType": "AVRO"}, "no Unicode"),
    ],
    ids=["another type", "a long text", "a longer answer", "half a character"],
)
async def test_what_no_reader_can_use_is_an_answer_without_text(
    entry: dict[str, str], why: str
) -> None:
    server = LocalRegistry()
    number = server.put(text=entry["schema"], schemaType=entry["schemaType"])
    async with client(server) as registry:
        text, detail = await registry.ask(by_id(number))
        assert text is None
        assert why in detail


async def test_a_schema_that_refers_to_others_is_taken_resolved_or_not_at_all() -> None:
    outer = '{"type":"record","name":"a.Outer","fields":[{"name":"i","type":"a.Inner"}]}'
    inner = '{"type":"record","name":"a.Inner","fields":[{"name":"n","type":"long"}]}'
    server = LocalRegistry()
    references = [{"name": "a.Inner", "subject": "inner", "version": 1}]
    resolved = outer.replace('"a.Inner"', inner)
    good = server.put(outer, references=references, resolved=resolved)
    bad = server.put(outer, references=references, resolved=outer)
    async with client(server) as registry:
        assert await registry.ask(by_id(good)) == (resolved, "")
        assert (await registry.ask(by_id(bad))).text is None
        server.resolves = False
        assert (await registry.ask(by_id(good))).text is None


async def test_registering_twice_gives_one_id() -> None:
    server = LocalRegistry()
    async with client(server) as registry:
        first = await registry.register("attestream.alerts-value", TEXT)
        assert await registry.register("attestream.alerts-value", TEXT) == first
        assert server.subjects == {"attestream.alerts-value": [first]}


async def test_what_was_registered_before_needs_no_right_to_write() -> None:
    server = LocalRegistry()
    async with client(server) as registry:
        first = await registry.register("attestream.alerts-value", TEXT)
        server.readonly = True
        assert await registry.register("attestream.alerts-value", TEXT) == first
        with pytest.raises(SettingsError, match="does not permit"):
            await registry.register("other-value", TEXT)


async def test_an_incompatible_subject_is_one_sentence() -> None:
    server = LocalRegistry(incompatible={"attestream.alerts-value"})
    async with client(server) as registry:
        with pytest.raises(SettingsError, match="incompatible"):
            await registry.register("attestream.alerts-value", TEXT)
