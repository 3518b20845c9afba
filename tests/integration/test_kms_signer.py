"""AWS KMS: which key, which region, and one sentence for each thing an operator must mend."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from streams.audit.note import Vkey
from streams.errors import AttestreamError, SettingsError, TransientError
from streams.keys.kms import KmsSigner
from tests.support.certificates import Authority
from tests.support.opened_signers import QUICK, aws_settings, create_key
from tests.support.signing_servers import ACCESS_KEY, SECRET, Fault, LocalKms, served

Change = Callable[[LocalKms, pytest.MonkeyPatch], None]
P256, ED25519 = "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"


@pytest.fixture
async def kms(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalKms]:
    server = LocalKms()
    async with served(server.application()) as endpoint:
        aws_settings(monkeypatch, endpoint)
        yield server


def is_clean(error: AttestreamError) -> bool:
    """One line, without a credential."""
    return not [part for part in ("\n", SECRET, ACCESS_KEY) if part in str(error)]


async def refused(key_id: str) -> str:
    """What opening and signing with a key says."""
    with pytest.raises(SettingsError) as caught:
        await open_and_sign(key_id)
    assert is_clean(caught.value)
    return str(caught.value)


async def open_and_sign(key_id: str) -> None:
    signer = await KmsSigner.open(key_id, QUICK)
    try:
        await signer.sign(b"text")
    finally:
        await signer.close()


async def test_alias_turned_to_another_key_changes_nothing_until_a_restart(kms: LocalKms) -> None:
    first, second = await create_key(ED25519), await create_key(ED25519)
    kms.aliases["alias/audit"] = first
    signer = await KmsSigner.open("alias/audit", QUICK)
    kms.aliases["alias/audit"] = second
    vkey = Vkey("any", signer.algorithm, signer.public_key)
    assert vkey.is_signature(await signer.sign(b"text"), b"text")
    again = await KmsSigner.open("alias/audit", QUICK)
    assert again.public_key != signer.public_key
    await signer.close()
    await again.close()


async def test_region_of_a_key_arn_needs_no_setting(
    kms: LocalKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = await create_key(P256)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    signer = await KmsSigner.open(kms.keys[key_id].arn, QUICK)
    await signer.check()
    await signer.close()
    assert "no AWS region" in await refused(key_id)


@pytest.mark.parametrize(
    ("spec", "usage", "sentence"),
    [
        ("ECC_NIST_P384", "SIGN_VERIFY", "key spec ECC_NIST_P384, expected ECC_NIST_EDWARDS25519"),
        ("RSA_2048", "SIGN_VERIFY", "key spec RSA_2048, expected"),
        ("RSA_2048", "ENCRYPT_DECRYPT", "expected an asymmetric key of usage SIGN_VERIFY"),
    ],
)
async def test_key_that_cannot_sign_checkpoints_is_refused(
    kms: LocalKms, spec: str, usage: str, sentence: str
) -> None:
    assert sentence in await refused(await create_key(spec, usage))
    assert not kms.faults.asked


def disable(kms: LocalKms, _environment: pytest.MonkeyPatch) -> None:
    next(iter(kms.keys.values())).enabled = False


def forget(_kms: LocalKms, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")


CHANGES: dict[str, tuple[Change, str]] = {
    "disabled": (disable, "the key is disabled"),
    "deleted": (lambda kms, _: kms.keys.clear(), "no such key"),
    "may not read the public key": (
        lambda kms, _: kms.denied.add("GetPublicKey"),
        "allow kms:GetPublicKey and kms:Sign",
    ),
    "may not sign": (lambda kms, _: kms.denied.add("Sign"), "allow kms:GetPublicKey and kms:Sign"),
    "wrong secret": (
        lambda _, m: m.setenv("AWS_SECRET_ACCESS_KEY", "x" * 40),
        "the AWS secret does not belong to the access key",
    ),
    "unknown user": (
        lambda _, m: m.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHEROTHEROTHERO"),
        "credentials are not known there",
    ),
    "no credentials": (forget, "no AWS credentials"),
    "no profile": (lambda _, m: m.setenv("AWS_PROFILE", "gone"), "no such AWS profile"),
    "no URL": (lambda _, m: m.setenv("AWS_ENDPOINT_URL_KMS", "kms"), "not an URL"),
}


@pytest.mark.parametrize("change", list(CHANGES))
async def test_what_an_operator_must_mend_is_said_in_one_sentence(
    kms: LocalKms, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    key_id = await create_key(ED25519)
    make, sentence = CHANGES[change]
    make(kms, monkeypatch)
    assert sentence in await refused(key_id)
    assert kms.faults.asked <= 1, "a refusal is not tried again"


async def test_certificate_nobody_trusts_is_said(
    kms: LocalKms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key_id, authority = await create_key(ED25519), Authority.create(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("kms"))
    async with served(LocalKms(kms.keys).application(), context) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", endpoint)
        assert "AWS_CA_BUNDLE" in await refused(key_id)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.certificate))
        signer = await KmsSigner.open(key_id, QUICK)
        await signer.check()
        await signer.close()


async def test_key_disabled_while_it_signs_is_said_and_signs_again_when_enabled(
    kms: LocalKms,
) -> None:
    key_id = await create_key(P256)
    signer = await KmsSigner.open(key_id, QUICK)
    kms.keys[key_id].enabled = False
    with pytest.raises(SettingsError, match="disabled"):
        await signer.sign(b"text")
    kms.keys[key_id].enabled = True
    await signer.check()
    await signer.close()


async def test_server_that_fails_is_asked_a_bounded_number_of_times(kms: LocalKms) -> None:
    faults: list[Fault] = ["silence", "503", "429", "torn", "noise"]
    signer = await KmsSigner.open(await create_key(ED25519), QUICK)
    for fault in faults:
        kms.faults.fault, kms.faults.asked = fault, 0
        async with asyncio.timeout(3):
            with pytest.raises(TransientError) as caught:
                await signer.sign(b"text")
        assert is_clean(caught.value)
        # A page of somebody else's was an answer: nothing to ask for again.
        assert kms.faults.asked == (1 if fault == "noise" else QUICK.attempts), fault
    kms.faults.fault = ""
    await signer.check()
    await signer.close()


async def test_nobody_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(LocalKms().application()) as endpoint:
        aws_settings(monkeypatch, endpoint)
    with pytest.raises(TransientError, match="does not answer"):
        await KmsSigner.open("some-key", QUICK)
