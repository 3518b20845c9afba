"""The Signer port: what it signs verifies under the key it tells, and only that."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.audit.note import ED25519, Vkey
from streams.keys.local import LocalSigner, load_private_key, write_new_key
from streams.ports import Signer

SEED = hashlib.sha256(b"signer contract suite, never for real use").digest()
MESSAGE_BYTES_MAX = 4096


@pytest.fixture(params=["in memory", "seed in hex", "seed in base64", "new PEM file"])
def open_signer(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Signer]:
    """Opens the same key each time it is called."""
    path = tmp_path / "signing.pem"
    write_new_key(path)
    openers: dict[str, Callable[[], Signer]] = {
        "in memory": lambda: LocalSigner(Ed25519PrivateKey.from_private_bytes(SEED)),
        "seed in hex": lambda: LocalSigner(load_private_key(SEED.hex())),
        "seed in base64": lambda: LocalSigner(load_private_key(base64.b64encode(SEED).decode())),
        "new PEM file": lambda: LocalSigner(load_private_key(str(path))),
    }
    return openers[request.param]


def vkey(signer: Signer) -> Vkey:
    return Vkey("contract.test", signer.algorithm, signer.public_key)


@pytest.mark.parametrize("size", [0, 1, 200, MESSAGE_BYTES_MAX])
async def test_a_signature_verifies_under_the_key_it_tells(
    open_signer: Callable[[], Signer], size: int
) -> None:
    signer = open_signer()
    message = b"m" * size
    signature = await signer.sign(message)
    assert vkey(signer).is_signature(signature, message)
    assert not vkey(signer).is_signature(signature, message + b"m")


async def test_a_key_opened_again_is_the_same_key(open_signer: Callable[[], Signer]) -> None:
    first, again = open_signer(), open_signer()
    assert (first.algorithm, first.public_key) == (again.algorithm, again.public_key)
    assert first.algorithm == ED25519
    assert vkey(first).is_signature(await again.sign(b"text"), b"text")


async def test_a_message_over_4096_bytes_is_refused(open_signer: Callable[[], Signer]) -> None:
    with pytest.raises(ValueError, match="4096"):
        await open_signer().sign(b"m" * (MESSAGE_BYTES_MAX + 1))


async def test_no_text_of_a_signer_shows_its_key(open_signer: Callable[[], Signer]) -> None:
    shown = f"{open_signer()!r} {open_signer()}"
    assert SEED.hex() not in shown
    assert base64.b64encode(SEED).decode() not in shown
