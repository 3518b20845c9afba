"""A strict check of a static log, with nothing of the code under test: C2SP's texts and SHA-256.

Every file must be there that the checkpoint needs, every file that is there must be byte for byte
what its name stands for in the log, and nothing else may lie about.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["check_static_log", "entries_of", "root_of", "tile_body"]

NAME = re.compile(r"tile/(entries|\d+)/((?:x\d{3}/)*\d{3})(?:\.p/(\d+))?")


def check_static_log(
    files: Mapping[str, bytes],
    origin: str,
    public_key: bytes,
    entries: Sequence[bytes] | None = None,
) -> int:
    """The size that is published.

    `entries` are those of the whole log, so that files of a checkpoint to come are checked too;
    without them, they are those of the bundles.
    """
    size, root = checkpoint_of(files["checkpoint"], origin, public_key)
    published = entries_of(files, size)
    known = published if entries is None else list(entries)
    assert known[:size] == published
    leaves = [sha256(b"\0" + entry).digest() for entry in known]
    assert root_of(leaves[:size]) == root
    needed = {"checkpoint", *names_at(size)}
    assert needed <= files.keys(), needed - files.keys()
    for name in files.keys() - {"checkpoint"}:
        assert files[name] == tile_body(name, known, leaves), name
    return size


def checkpoint_of(note: bytes, origin: str, public_key: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint with one good signature."""
    text, _, signatures = note.decode().partition("\n\n")
    name, size, root = text.split("\n")
    assert name == origin
    assert str(int(size)) == size
    digest = b64decode(root)
    assert b64encode(digest).decode() == root
    (line,) = signatures.splitlines()
    prefix = f"\N{EM DASH} {origin} "
    assert line.startswith(prefix)
    signature = b64decode(line.removeprefix(prefix))
    assert signature[:4] == sha256(origin.encode() + b"\n\x01" + public_key).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature[4:], f"{text}\n".encode())
    return int(size), digest


def names_at(size: int) -> list[str]:
    """Every tile and bundle of a log of this size."""
    names = []
    count, level = size, 0
    while count:
        for number in range(-(-count // 256)):
            width = min(count - number * 256, 256)
            names.append(tile_name(str(level), number, width))
            if level == 0:
                names.append(tile_name("entries", number, width))
        count, level = count // 256, level + 1
    return names


def tile_name(level: str, number: int, width: int) -> str:
    digits = f"{number:d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    spelt = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{spelt}" + ("" if width == 256 else f".p/{width}")


def entries_of(files: Mapping[str, bytes], size: int) -> list[bytes]:
    """The entries in the bundles of a log of this size."""
    entries = []
    for number in range(-(-size // 256)):
        width = min(size - number * 256, 256)
        body = files[tile_name("entries", number, width)]
        for _ in range(width):
            length = body[0] << 8 | body[1]
            entries.append(body[2 : 2 + length])
            assert len(entries[-1]) == length
            body = body[2 + length :]
        assert not body
    return entries


def tile_body(name: str, entries: Sequence[bytes], leaves: Sequence[bytes]) -> bytes:
    """What a tile of this name holds, in a log of these entries."""
    found = NAME.fullmatch(name)
    assert found, f"a stray file: {name}"
    number = int(re.sub(r"[x/]", "", found[2]))
    width = int(found[3] or 256)
    assert tile_name(found[1], number, width) == name
    low = number * 256
    if found[1] == "entries":
        some = entries[low : low + width]
        assert len(some) == width, f"{name} is ahead of its log"
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in some)
    span = 256 ** int(found[1])
    assert (low + width) * span <= len(leaves), f"{name} is ahead of its log"
    return b"".join(root_of(leaves[at * span : (at + 1) * span]) for at in range(low, low + width))


def root_of(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    return root_between(leaves, 0, len(leaves))


def root_between(leaves: Sequence[bytes], low: int, high: int) -> bytes:
    if high - low <= 1:
        return leaves[low] if high > low else sha256(b"").digest()
    k = 1
    while k * 2 < high - low:
        k *= 2
    left, right = root_between(leaves, low, low + k), root_between(leaves, low + k, high)
    return sha256(b"\1" + left + right).digest()
