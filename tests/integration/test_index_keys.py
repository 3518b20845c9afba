"""The keys that wrap data keys: as settings name them, and AWS KMS by real requests."""

import os
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from streams.errors import SettingsError, TransientError
from streams.keys.index_keys import open_index_keys
from streams.keys.kms_wrapping import KmsWrappingKey
from streams.keys.wrapping import AesWrappingKey, KeyRefusedError
from streams.settings import load_settings
from tests.support.opened_signers import QUICK, aws_settings
from tests.support.other_s3 import OtherS3

pytestmark = pytest.mark.integration

SUBJECT, DATA_KEY = "0123456789abcdefghijklmnop", b"d" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with OtherS3("moto", tmp_path_factory.mktemp("kms")) as moto:
        yield moto.endpoint


@pytest.fixture
def kms(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    aws_settings(monkeypatch, server)
    return boto3.client("kms")


def new_key(kms: Any, usage: str = "ENCRYPT_DECRYPT", spec: str = "SYMMETRIC_DEFAULT") -> str:
    return str(kms.create_key(KeyUsage=usage, KeySpec=spec)["KeyMetadata"]["KeyId"])


async def test_kms_wraps_for_one_subject_alone(kms: Any) -> None:
    key = await KmsWrappingKey.open(new_key(kms), QUICK)
    wrapped = await key.wrap(DATA_KEY, SUBJECT)
    assert DATA_KEY not in wrapped
    assert await key.unwrap(wrapped, SUBJECT) == DATA_KEY
    damaged = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    for stored, subject in ((wrapped, "another"), (damaged, SUBJECT)):
        with pytest.raises(KeyRefusedError, match="not wrapped by AWS KMS key arn:aws:kms"):
            await key.unwrap(stored, subject)
    await key.close()


async def test_what_another_key_of_the_account_wrapped_is_refused(kms: Any) -> None:
    one = await KmsWrappingKey.open(new_key(kms), QUICK)
    other = await KmsWrappingKey.open(new_key(kms), QUICK)
    assert one.key_id != other.key_id
    with pytest.raises((KeyRefusedError, SettingsError)):
        await one.unwrap(await other.wrap(DATA_KEY, SUBJECT), SUBJECT)
    await one.close()
    await other.close()


async def test_an_alias_names_the_key_it_named_at_the_start(kms: Any) -> None:
    first, second = new_key(kms), new_key(kms)
    kms.create_alias(AliasName="alias/index", TargetKeyId=first)
    key = await KmsWrappingKey.open("alias/index", QUICK)
    kms.update_alias(AliasName="alias/index", TargetKeyId=second)
    direct = await KmsWrappingKey.open(first, QUICK)
    assert key.key_id == direct.key_id
    assert await direct.unwrap(await key.wrap(DATA_KEY, SUBJECT), SUBJECT) == DATA_KEY
    await key.close()
    await direct.close()


async def test_a_key_that_signs_does_not_wrap(kms: Any) -> None:
    signing = new_key(kms, "SIGN_VERIFY", "ECC_NIST_P256")
    with pytest.raises(SettingsError, match="expected a symmetric key of usage ENCRYPT_DECRYPT"):
        await KmsWrappingKey.open(signing, QUICK)


async def test_no_such_key_and_no_server_are_one_sentence(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del kms
    with pytest.raises(SettingsError, match="there is no such key"):
        await KmsWrappingKey.open("00000000-0000-0000-0000-000000000000", QUICK)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="does not answer"):
        await KmsWrappingKey.open("some-key", QUICK)


async def test_kms_wraps_before_a_local_key_and_all_unwrap(kms: Any) -> None:
    first, second = new_key(kms), new_key(kms)
    environment = {
        "VECTOR_INDEX_KMS_KEY_ID": f"{first}, {second}",
        "VECTOR_INDEX_KEY": "ab" * 16,
        "VECTOR_INDEX_KEY_PREVIOUS": "cd" * 32,
    }
    async with open_index_keys(load_settings(environment)) as keys:
        assert keys.first.key_id.startswith("kms-")
        local = [AesWrappingKey(b"\xab" * 16).key_id, AesWrappingKey(b"\xcd" * 32).key_id]
        assert list(keys.ids)[2:] == local


async def test_without_a_key_nothing_is_opened() -> None:
    with pytest.raises(SettingsError, match="no key for snapshots: set VECTOR_INDEX_KEY or"):
        async with open_index_keys(load_settings({})):
            raise AssertionError("opened")
    with pytest.raises(SettingsError, match="no key for snapshots"):
        async with open_index_keys(load_settings({"VECTOR_INDEX_KEY_PREVIOUS": "ab" * 16})):
            raise AssertionError("opened")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("00" * 16, bytes(16)),
        ("AB" * 24, b"\xab" * 24),
        ("0f" * 32, b"\x0f" * 32),
        ("AAAAAAAAAAAAAAAAAAAAAA==", bytes(16)),
        ("g" * 32, b64decode("g" * 32)),
        ("A" * 43 + "=", bytes(32)),
        ("sixteen letters!", b"sixteen letters!"),
        ("twenty-four letters long", b"twenty-four letters long"),
        ("thirty-two letters are as long!!", b"thirty-two letters are as long!!"),
        (os.fsdecode(b"\xff" * 16), b"\xff" * 16),
    ],
)
async def test_a_key_is_read_as_hex_then_base64_then_as_it_is(text: str, key: bytes) -> None:
    settings = load_settings({"VECTOR_INDEX_KEY": text})
    async with open_index_keys(settings) as keys:
        assert keys.ids == (AesWrappingKey(key).key_id,)
    assert key.hex() not in f"{settings!r} {keys!r}"


@pytest.mark.parametrize("text", ["short", "00" * 17, "x" * 33, "A" * 22 + "="])
def test_a_key_of_no_such_length_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="a key of 16, 24 or 32 bytes") as caught:
        load_settings({"VECTOR_INDEX_KEY": text})
    assert text not in str(caught.value)
