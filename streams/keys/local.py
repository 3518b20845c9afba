"""A local Ed25519 signing key.

Accepted forms of `AUDIT_SIGNING_PRIVATE_KEY`, and of the file it may name: PKCS#8 PEM, a C2SP
(golang.org/x/mod/sumdb/note) private key `PRIVATE+KEY+<name>+<id>+<base64>`, or the 32-byte seed
in hex or base64. The key's name never comes from the key: a note is signed under its origin.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from streams.audit.note import ED25519
from streams.errors import SettingsError
from streams.keys.signing import prove, require_signable

__all__ = [
    "LocalSigner",
    "key_files",
    "load_private_key",
    "new_key_path",
    "write_new_key",
    "write_secret",
]

FORMS = "expected a PKCS#8 PEM, a C2SP private key, or a 32-byte seed in hex or base64"


class LocalSigner:
    """Signs with an Ed25519 key held in this process's memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "local Ed25519 key"

    @property
    def algorithm(self) -> int:
        """C2SP signature type 0x01."""
        return ED25519

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    async def sign(self, message: bytes) -> bytes:
        """64 bytes (RFC 8032) over `message` of at most 4096 bytes."""
        require_signable(message)
        return self._key.sign(message)

    async def check(self) -> None:
        """Sign once and verify."""
        await prove(self)

    async def close(self) -> None:
        """Nothing is open."""


def load_private_key(value: str, setting: str = "AUDIT_SIGNING_PRIVATE_KEY") -> Ed25519PrivateKey:
    """Parse a private key, or the file that `value` names.

    Raises:
        SettingsError: no accepted form; the message names `setting`, and never shows the value.
    """
    text = value.strip()
    if not text.startswith("-----") and len(text) < 4096 and "\n" not in text and _is_file(text):
        text = Path(text).read_text(encoding="ascii", errors="replace").strip()
    key = _from_pem(text) if text.startswith("-----") else _from_seed(_seed_of(text))
    if key is None:
        raise SettingsError([f"{setting}: not an Ed25519 private key: {FORMS}"])
    return key


def key_files(folder: Path) -> list[Path]:
    """The `*.pem` of a directory of keys, in the order they were made: `signing.pem` first."""
    return sorted(folder.glob("*.pem"), key=lambda path: (len(path.name), path.name))


def new_key_path(folder: Path) -> Path:
    """Where the next key of a directory of keys goes: signing.pem, then signing-2.pem."""
    number, path = 1, folder / "signing.pem"
    while path.exists():
        number += 1
        path = folder / f"signing-{number}.pem"
    return path


def write_new_key(path: Path) -> LocalSigner:
    """Make a key and write it as PEM to a new file only its owner can read.

    Raises:
        FileExistsError: the file exists; a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return LocalSigner(key)


def write_secret(path: Path, secret: bytes) -> None:
    """Write a new file only its owner can read: whole, or not at all.

    Raises:
        FileExistsError: the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A crash before the link leaves a temporary file and no key: run again.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secret)
        os.fsync(descriptor)
        os.link(unfinished, path)
    finally:
        os.close(descriptor)
        unfinished.unlink()


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        return False


def _from_pem(text: str) -> Ed25519PrivateKey | None:
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def _from_seed(seed: bytes | None) -> Ed25519PrivateKey | None:
    return Ed25519PrivateKey.from_private_bytes(seed) if seed and len(seed) == 32 else None


def _seed_of(text: str) -> bytes | None:
    try:
        if text.startswith("PRIVATE+KEY+"):
            blob = base64.b64decode(text.split("+", 4)[4], validate=True)
            return blob[1:] if blob[:1] == bytes([ED25519]) else None
        if len(text) == 64:
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, IndexError, binascii.Error):
        return None
