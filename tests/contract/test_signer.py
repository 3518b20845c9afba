"""The Signer port: what it signs verifies under the key it tells, and only that."""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.audit.checkpoint import CheckpointText, make_note, open_note
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import ECDSA_P256, ED25519, TrustedKeys, Vkey
from streams.keys.kms import KmsSigner
from streams.keys.local import LocalSigner, load_private_key, write_new_key
from streams.keys.signing import OpenedSigner
from tests.support.local_aws import LocalAws
from tests.support.opened_signers import KEY_SPECS, aws_settings, create_key, remote
from tests.support.signing_servers import SECRET

SEED = hashlib.sha256(b"signer contract suite, never for real use").digest()
ORIGIN = "contract.test/topic/0"
MESSAGE_BYTES_MAX = 4096
LOCAL = ["in memory", "seed in hex", "seed in base64", "new PEM file"]


@dataclass(frozen=True, slots=True)
class Opening:
    """`open` opens the same key each time it is called; `secrets` are never to be shown."""

    open: Callable[[], Awaitable[OpenedSigner]]
    algorithm: int
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(tmp_path_factory.mktemp("aws"), "kms") as server:
        yield server


@pytest.fixture(params=[*LOCAL, *KEY_SPECS, "proxy"])
async def signing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opening]:
    kind = request.param
    if kind in LOCAL:
        yield local(kind, tmp_path / "signing.pem")
    elif kind == "proxy":
        async with remote(kind, monkeypatch) as server:
            yield Opening(server.open, ECDSA_P256, (server.secret,))
    else:
        aws_settings(monkeypatch, request.getfixturevalue("aws").endpoint)
        async with AsyncExitStack() as opened:
            yield kms(await create_key(KEY_SPECS[kind]), kind, opened)


def kms(key_id: str, kind: str, opened: AsyncExitStack) -> Opening:
    async def again() -> OpenedSigner:
        signer = await KmsSigner.open(key_id)
        opened.push_async_callback(signer.close)
        return signer

    return Opening(again, ED25519 if kind == "kms-ed25519" else ECDSA_P256, (SECRET,))


def local(kind: str, path: Path) -> Opening:
    write_new_key(path)
    values = {
        "seed in hex": SEED.hex(),
        "seed in base64": base64.b64encode(SEED).decode(),
        "new PEM file": str(path),
    }

    async def opened() -> OpenedSigner:
        if kind == "in memory":
            return LocalSigner(Ed25519PrivateKey.from_private_bytes(SEED))
        return LocalSigner(load_private_key(values[kind]))

    return Opening(opened, ED25519, (SEED.hex(), base64.b64encode(SEED).decode()))


def vkey(signer: OpenedSigner) -> Vkey:
    return Vkey("contract.test", signer.algorithm, signer.public_key)


async def test_a_signature_verifies_under_the_key_it_tells(signing: Opening) -> None:
    signer = await signing.open()
    assert signer.algorithm == signing.algorithm
    for size in (1, 200, MESSAGE_BYTES_MAX):
        message = b"m" * size
        signature = await signer.sign(message)
        assert vkey(signer).is_signature(signature, message)
        assert not vkey(signer).is_signature(signature, message + b"m")


async def test_a_signed_checkpoint_opens_with_the_vkey_that_is_shown(signing: Opening) -> None:
    signer = await signing.open()
    text = CheckpointText(ORIGIN, 0, EMPTY_ROOT)
    signature = await signer.sign(text.render().encode())
    note = make_note(text, signer.algorithm, signer.public_key, signature)
    assert open_note(note, ORIGIN, TrustedKeys.parse(vkey(signer).render())) == text


async def test_a_key_opened_again_is_the_same_key(signing: Opening) -> None:
    first, again = await signing.open(), await signing.open()
    assert (first.algorithm, first.public_key) == (again.algorithm, again.public_key)
    assert vkey(first).is_signature(await again.sign(b"text"), b"text")


async def test_a_message_over_4096_bytes_is_refused(signing: Opening) -> None:
    signer = await signing.open()
    with pytest.raises(ValueError, match="4096"):
        await signer.sign(b"m" * (MESSAGE_BYTES_MAX + 1))


async def test_a_signer_that_works_passes_its_check(signing: Opening) -> None:
    await (await signing.open()).check()


async def test_no_text_of_a_signer_shows_its_secret_and_closing_twice_is_once(
    signing: Opening,
) -> None:
    signer = await signing.open()
    shown = f"{signer!r} {signer}"
    assert not [secret for secret in signing.secrets if secret in shown]
    await signer.close()
    await signer.close()
