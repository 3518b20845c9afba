"""C2SP signed notes and the keys that check them (C2SP signed-note.md; formats §3).

A note is text, an empty line, and signature lines. One spelling only is accepted: whatever is
parsed is rendered again and compared, so stray base64 bits and upper-case key IDs are refused.

A verifier key (vkey) named N is trusted for the origin N and every N/…. Its key ID is computed
again with the origin as its name, so an Ed25519 signature cannot be moved between logs.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from streams.errors import SettingsError

__all__ = [
    "ECDSA_P256",
    "ED25519",
    "MalformedError",
    "Note",
    "PublicKey",
    "SignatureLine",
    "TrustedKeys",
    "Vkey",
    "decode_base64",
    "is_key_name",
    "parse_note",
    "render_note",
]

ED25519 = 0x01
ECDSA_P256 = 0x02
SIGNATURE_PREFIX = "\N{EM DASH} "
KEY_ID_BYTES = 4
ED25519_KEY_BYTES = 32
CONTROL_OR_SURROGATE = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")
LINES_MAX = 100  # as golang.org/x/mod's sumdb/note

PublicKey: TypeAlias = tuple[int, bytes]
"""A key whatever its name: algorithm and public key."""


class MalformedError(ValueError):
    """The text is no note, verifier key, checkpoint or proof in its one spelling."""


class SignatureLine(NamedTuple):
    """One signature line: key name, key ID (4 bytes) and signature."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """A parsed note: `text` with its final LF, which is what the lines sign."""

    text: str
    lines: tuple[SignatureLine, ...]


class Vkey(NamedTuple):
    """A verifier key: `name+hash+base64(algorithm ‖ key)`.

    `key` is the 32 bytes of an Ed25519 key, or the DER SubjectPublicKeyInfo of a P-256 key.
    """

    name: str
    algorithm: int
    key: bytes

    @classmethod
    def parse(cls, text: str) -> "Vkey":
        """The vkey of one line. Raises MalformedError."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        if not is_key_name(name):
            raise MalformedError(f"a vkey without a usable name: {text!r}")
        data = decode_base64(encoded)
        if data[:1] not in (b"\x01", b"\x02"):
            raise MalformedError(f"{name}: expected an Ed25519 or a P-256 key")
        vkey = cls(name, data[0], data[1:])
        _load_key(vkey.algorithm, vkey.key)
        if vkey.key_id.hex() != key_id:
            raise MalformedError(
                f"{name}: the key ID of this name and key is {vkey.key_id.hex()}, not {key_id!r}"
            )
        return vkey

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of a SHA-256; for Ed25519 of name and key, for ECDSA of the key."""
        if self.algorithm == ECDSA_P256:
            return sha256(self.key).digest()[:KEY_ID_BYTES]
        named = b"%b\n%c%b" % (self.name.encode(), self.algorithm, self.key)
        return sha256(named).digest()[:KEY_ID_BYTES]

    @property
    def public(self) -> PublicKey:
        """The key without its name, by which it is retired."""
        return self.algorithm, self.key

    def render(self) -> str:
        """The vkey as one line without its end."""
        data = b64encode(bytes((self.algorithm,)) + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{data}"

    def for_origin(self, origin: str) -> "Vkey":
        """The same public key under the name of one log."""
        return Vkey(origin, self.algorithm, self.key)

    def trusts(self, origin: str) -> bool:
        """Whether this key's name is `origin` or above it."""
        return origin == self.name or origin.startswith(self.name + "/")

    def is_signature(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's over `message`."""
        key = _load_key(self.algorithm, self.key)
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


class TrustedKeys:
    """The keys a verifier was given, and how far those of them count that were retired."""

    __slots__ = ("_by_origin", "_retired", "_vkeys")

    def __init__(
        self,
        vkeys: Iterable[Vkey],
        retired: Mapping[PublicKey, Mapping[str, int]] = MappingProxyType({}),
    ) -> None:
        """`retired`: of each retired key the size up to which it counts, by origin."""
        self._vkeys = tuple(dict.fromkeys(vkeys))
        self._retired = {key: dict(sizes) for key, sizes in retired.items()}
        self._by_origin: dict[str, Mapping[bytes, tuple[Vkey, ...]]] = {}

    @classmethod
    def parse(cls, text: str) -> "TrustedKeys":
        """Keys from a file: one vkey a line, `#` comments, empty lines.

        Raises:
            SettingsError: every line that is no usable vkey, and a file without any.
        """
        vkeys, problems = [], []
        for number, line in enumerate(text.splitlines(), 1):
            entry = line.strip()
            if not entry or entry.startswith("#"):
                continue
            try:
                vkeys.append(Vkey.parse(entry))
            except MalformedError as error:
                problems.append(f"keys, line {number}: {error}")
        if not vkeys and not problems:
            problems.append("keys: no vkey in it")
        if problems:
            raise SettingsError(problems)
        return cls(vkeys)

    @property
    def vkeys(self) -> tuple[Vkey, ...]:
        """The keys, without repeats, in the order given."""
        return self._vkeys

    def for_origin(self, origin: str) -> Mapping[bytes, tuple[Vkey, ...]]:
        """Keys trusted for one log, by the key ID they have there.

        A public key given under several names counts once. Two keys may share a key ID.
        """
        known = self._by_origin.get(origin)
        if known is None:
            mine = dict.fromkeys(v.for_origin(origin) for v in self._vkeys if v.trusts(origin))
            known = {}
            for vkey in mine:
                known[vkey.key_id] = (*known.get(vkey.key_id, ()), vkey)
            self._by_origin[origin] = known
        return known

    def for_checkpoint(self, origin: str, size: int) -> Mapping[bytes, tuple[Vkey, ...]]:
        """Keys whose line counts under one checkpoint: a retired key's only up to its head."""
        known = self.for_origin(origin)
        if not self._retired:
            return known
        counting = {
            key_id: tuple(v for v in vkeys if size <= self._counts_to(v, origin, size))
            for key_id, vkeys in known.items()
        }
        return {key_id: vkeys for key_id, vkeys in counting.items() if vkeys}

    def _counts_to(self, vkey: Vkey, origin: str, size: int) -> int:
        sizes = self._retired.get(vkey.public)
        return size if sizes is None else sizes.get(origin, -1)


def is_key_name(name: str) -> bool:
    """Whether a key, and so an origin, may be called this: text, no white space, no `+`."""
    if not name or "+" in name or CONTROL_OR_SURROGATE.search(name):
        return False
    return not any(c.isspace() for c in name)


def decode_base64(text: str) -> bytes:
    """Standard, padded base64 in its one spelling. Raises MalformedError."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise MalformedError(f"not base64: {text[:100]!r}") from error
    if b64encode(data).decode() != text:
        raise MalformedError(f"not the one base64 spelling of its bytes: {text[:100]!r}")
    return data


def parse_note(note: str) -> Note:
    """Split a note into its text and signature lines. Raises MalformedError.

    The last empty line divides them. Signatures are not checked here.
    """
    if CONTROL_OR_SURROGATE.search(note):
        raise MalformedError("a control character in the note")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not text or not signatures.endswith("\n"):
        raise MalformedError("expected text, an empty line and whole signature lines")
    lines = signatures[:-1].split("\n")
    if len(lines) > LINES_MAX:
        raise MalformedError(f"{len(lines)} signature lines, {LINES_MAX} are allowed")
    return Note(text + "\n", tuple(map(_parse_line, lines)))


def render_note(note: Note) -> str:
    """The note as it is stored. `parse_note` of it gives `note` again."""
    lines = [
        f"{SIGNATURE_PREFIX}{name} {b64encode(key_id + signature).decode()}\n"
        for name, key_id, signature in note.lines
    ]
    return f"{note.text}\n{''.join(lines)}"


def _parse_line(line: str) -> SignatureLine:
    name, space, encoded = line.removeprefix(SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(SIGNATURE_PREFIX) or not space or not is_key_name(name):
        raise MalformedError(f"not a signature line: {line[:100]!r}")
    data = decode_base64(encoded)
    if len(data) <= KEY_ID_BYTES:
        raise MalformedError(f"a signature line without a signature: {line[:100]!r}")
    return SignatureLine(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


@lru_cache(maxsize=1024)
def _load_key(algorithm: int, key: bytes) -> Ed25519PublicKey | EllipticCurvePublicKey:
    try:
        if algorithm == ED25519:
            return Ed25519PublicKey.from_public_bytes(key)
        loaded = load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError(f"not a public key of its kind: {error}") from error
    if not isinstance(loaded, EllipticCurvePublicKey) or not isinstance(loaded.curve, SECP256R1):
        raise MalformedError("expected a P-256 key")
    if loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != key:
        raise MalformedError("not the one DER spelling of its key")
    return loaded
