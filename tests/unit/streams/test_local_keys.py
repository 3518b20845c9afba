"""Local keys: every customary form, nothing else, and never an overwritten key."""

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.audit.note import Vkey
from streams.errors import SettingsError
from streams.keys.local import LocalSigner, load_private_key, write_new_key

SEED = bytes(range(32))
EXPECTED = LocalSigner(load_private_key(SEED.hex())).public_key
C2SP = "PRIVATE+KEY+example.com/log+01234567+" + base64.b64encode(b"\x01" + SEED).decode()


@pytest.mark.parametrize("form", [SEED.hex(), base64.b64encode(SEED).decode(), C2SP])
def test_every_form_is_the_same_key(form: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(form + "\n")
    for value in (form, f" {form}\n", str(file)):
        assert LocalSigner(load_private_key(value)).public_key == EXPECTED


def test_new_key_is_a_pem_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    signer = write_new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert LocalSigner(load_private_key(str(path))).public_key == signer.public_key
    assert LocalSigner(load_private_key(path.read_text())).public_key == signer.public_key
    with pytest.raises(FileExistsError):
        write_new_key(path)
    assert list(path.parent.iterdir()) == [path]


def pem_of_p256() -> str:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "value",
    ["", "x", "zz" * 32, SEED.hex()[:-2], "PRIVATE+KEY+a+b", "-----BEGIN", pem_of_p256()],
    ids=["empty", "letter", "no-hex", "short", "cut-c2sp", "cut-pem", "p256"],
)
def test_what_is_no_ed25519_key_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_private_key(value)
    assert len(value) < 5 or value not in str(caught.value)


async def test_signature_verifies_under_the_vkey() -> None:
    signer = LocalSigner(load_private_key(SEED.hex()))
    vkey = Vkey("example.com/log", signer.algorithm, signer.public_key)
    assert vkey.is_signature(await signer.sign(b"text\n"), b"text\n")


async def test_message_no_kms_would_sign_is_refused() -> None:
    signer = LocalSigner(load_private_key(SEED.hex()))
    with pytest.raises(ValueError, match="4096"):
        await signer.sign(bytes(4097))
