"""Inclusion and consistency proofs (RFC 9162 §2.1.3–2.1.4) and their file (C2SP tlog-proof.md).

A proof is a sequence of 32-byte hashes. `verify_*` returns nothing and raises: a proof with one
hash too many, one too few, or one flipped bit is refused.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from streams.audit.merkle import HASH_BYTES, Frontier, hash_pairs, node_hash
from streams.audit.note import MalformedError, decode_base64
from streams.errors import VerificationError

__all__ = [
    "TlogProof",
    "inclusion_proof",
    "inclusion_proofs",
    "parse_tlog_proof",
    "render_tlog_proof",
    "verify_consistency",
    "verify_inclusion",
]

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
PROOF_HASHES_MAX = 63
DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class TlogProof(NamedTuple):
    """A tlog-proof: that leaf `leaf_index` is in the tree `checkpoint` signs (a note, whole).

    `extra` is carried along and authenticated by nothing.
    """

    leaf_index: int
    proof: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Demand that `leaf` is leaf `index` of the tree of `size` leaves with this `root`.

    Raises:
        VerificationError: it is not, by this proof.
    """
    if not 0 <= index < size:
        raise VerificationError(f"a tree of {size} leaves has no leaf {index}")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _expect_hashes(proof, inner + border)
    if _climb(leaf, index, proof, inner) != root:
        raise VerificationError(f"the proof does not lead from leaf {index} to the root")


def verify_consistency(
    sizes: tuple[int, int], roots: tuple[bytes, bytes], proof: Sequence[bytes]
) -> None:
    """Demand that the tree of `sizes[1]` leaves begins with the one of `sizes[0]`.

    Nothing follows from a proof that starts at size 0, so it is refused.

    Raises:
        VerificationError: it does not, by this proof.
    """
    (old, new), (old_root, new_root) = sizes, roots
    if not 0 < old <= new:
        raise VerificationError(f"no consistency proof leads from size {old} to size {new}")
    if old == new:
        _expect_hashes(proof, 0)
        if old_root != new_root:
            raise VerificationError(f"two roots of one size {old}")
        return
    shift = (old & -old).bit_length() - 1
    fork = ((old - 1) ^ (new - 1)).bit_length()
    border = ((old - 1) >> fork).bit_count()
    path = list(proof)
    seed_given = old == 1 << shift
    _expect_hashes(proof, fork - shift + border + (0 if seed_given else 1))
    seed = old_root if seed_given else path.pop(0)
    mask = (old - 1) >> shift
    inner = fork - shift
    left_only = [node for k, node in enumerate(path) if k >= inner or mask >> k & 1]
    first = seed
    for node in left_only:
        first = node_hash(node, first)
    if first != old_root or _climb(seed, mask, path, inner) != new_root:
        raise VerificationError(f"the tree of size {new} does not begin with the one of {old}")


def inclusion_proof(before: Frontier, leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The proof of leaf `index` in the tree of `before.size + len(leaves)` leaves.

    Args:
        before: the tree before `leaves`.
        leaves: leaf hashes, the first of them at index `before.size`.
        index: at least `before.size`.

    Raises:
        ValueError: no leaf of `leaves` has this index.
    """
    return inclusion_proofs(before, leaves, (index,))[0]


def inclusion_proofs(
    before: Frontier, leaves: Sequence[bytes], indexes: Sequence[int]
) -> list[tuple[bytes, ...]]:
    """As `inclusion_proof` for each index, for the price of one: the tree is hashed once."""
    end = before.size + len(leaves)
    if not all(before.size <= index < end for index in indexes):
        raise ValueError(f"expected indexes in [{before.size}, {end}), got {indexes}")
    proofs: list[list[bytes]] = [[] for _ in indexes]
    positions = list(indexes)
    base, old, row = before.size, list(before.nodes), list(leaves)
    while base + len(row) > 1:
        # Now `row` holds the nodes of one level from position `base` on; an odd last one rises.
        if base & 1:
            row.insert(0, old.pop())
            base -= 1
        for proof, position in zip(proofs, positions, strict=True):
            sibling = (position ^ 1) - base
            if sibling < len(row):
                proof.append(row[sibling])
        odd = row[len(row) & ~1 :]
        row = hash_pairs(row[: len(row) & ~1]) + odd
        base >>= 1
        positions = [position >> 1 for position in positions]
    return [tuple(proof) for proof in proofs]


def render_tlog_proof(proof: TlogProof) -> str:
    """The text of a tlog-proof file. `parse_tlog_proof` of it gives `proof` again."""
    lines = [PROOF_HEADER]
    if proof.extra is not None:
        lines.append(f"extra {b64encode(proof.extra).decode()}")
    lines.append(f"index {proof.leaf_index}")
    lines += [b64encode(node).decode() for node in proof.proof]
    return "\n".join(lines) + "\n\n" + proof.checkpoint


def parse_tlog_proof(text: str) -> TlogProof:
    """Read a tlog-proof file; nothing in it is verified. Raises MalformedError."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != PROOF_HEADER:
        raise MalformedError(f"expected {PROOF_HEADER}, and a checkpoint behind an empty line")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
    index = lines.pop(0) if lines else ""
    if not DECIMAL.fullmatch(index.removeprefix("index ")) or not index.startswith("index "):
        raise MalformedError(f"expected an index line, got {index[:100]!r}")
    if len(lines) > PROOF_HASHES_MAX:
        raise MalformedError(f"{len(lines)} proof lines, {PROOF_HASHES_MAX} are allowed")
    proof = tuple(map(decode_base64, lines))
    if any(len(node) != HASH_BYTES for node in proof):
        raise MalformedError("expected proof lines of 32 bytes")
    return TlogProof(int(index.removeprefix("index ")), proof, checkpoint, extra)


def _expect_hashes(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected or any(len(node) != HASH_BYTES for node in proof):
        raise VerificationError(f"expected {expected} hashes of 32 bytes, got {len(proof)}")


def _climb(start: bytes, bits: int, path: Sequence[bytes], inner: int) -> bytes:
    """The root above `start`: bit k says on which side of path[k] it lies; beyond inner, right."""
    node = start
    for k, sibling in enumerate(path):
        if k >= inner or bits >> k & 1:
            node = node_hash(sibling, node)
        else:
            node = node_hash(node, sibling)
    return node
