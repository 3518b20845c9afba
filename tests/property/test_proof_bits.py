"""No bit of any proof can be changed, no node added or left out, at any size."""

import random
from hashlib import sha256

import pytest

from streams.audit.merkle import Frontier
from streams.audit.proofs import verify_consistency, verify_inclusion
from streams.audit.tiles import StreamedNodes, consistency_plan, inclusion_plan
from streams.errors import VerificationError

LEAVES = [sha256(b"%d" % n).digest() for n in range(300)]
SIZES = sorted({*range(1, 65), *range(66, 300, 17), 127, 128, 129, 255, 256, 257, 300})


def root_of(size: int) -> bytes:
    frontier = Frontier()
    frontier.extend(LEAVES[:size])
    return frontier.root()


ROOTS = [root_of(size) for size in range(301)]


def nodes_of(size: int) -> StreamedNodes:
    plans = [inclusion_plan(index, size) for index in range(size)]
    plans += [consistency_plan(old, size) for old in range(1, size + 1)]
    nodes = StreamedNodes(frozenset().union(*(plan.subtrees for plan in plans)))
    nodes.add(LEAVES[:size])
    return nodes


def forged(proof: list[bytes], rng: random.Random) -> list[list[bytes]]:
    """Each node with one bit flipped, each left out, and one more at each place."""
    found = []
    for at, node in enumerate(proof):
        bit = rng.randrange(256)
        flipped = (int.from_bytes(node, "big") ^ 1 << bit).to_bytes(32, "big")
        found += [[*proof[:at], flipped, *proof[at + 1 :]], proof[:at] + proof[at + 1 :]]
    return found + [[*proof[:at], bytes(32), *proof[at:]] for at in range(len(proof) + 1)]


@pytest.mark.parametrize("size", SIZES)
def test_changed_proof_of_any_leaf_or_earlier_size_fails(size: int) -> None:
    rng = random.Random(size)
    nodes = nodes_of(size)
    for index in range(size):
        proof = list(inclusion_plan(index, size).hashes(nodes))
        verify_inclusion(index, size, LEAVES[index], proof, ROOTS[size])
        for one in forged(proof, rng):
            with pytest.raises(VerificationError):
                verify_inclusion(index, size, LEAVES[index], one, ROOTS[size])
        sizes, roots = (index + 1, size), (ROOTS[index + 1], ROOTS[size])
        proof = list(consistency_plan(*sizes).hashes(nodes))
        verify_consistency(sizes, roots, proof)
        for one in forged(proof, rng):
            with pytest.raises(VerificationError):
                verify_consistency(sizes, roots, one)


def every_bit_flipped(proof: list[bytes]) -> list[list[bytes]]:
    return [
        [
            *proof[:at],
            (int.from_bytes(node, "big") ^ 1 << bit).to_bytes(32, "big"),
            *proof[at + 1 :],
        ]
        for at, node in enumerate(proof)
        for bit in range(256)
    ]


@pytest.mark.long
@pytest.mark.parametrize("size", range(1, 41))
def test_any_single_flipped_bit_fails_any_proof(size: int) -> None:
    nodes = nodes_of(size)
    for index in range(size):
        for one in every_bit_flipped(list(inclusion_plan(index, size).hashes(nodes))):
            with pytest.raises(VerificationError):
                verify_inclusion(index, size, LEAVES[index], one, ROOTS[size])
        sizes, roots = (index + 1, size), (ROOTS[index + 1], ROOTS[size])
        for one in every_bit_flipped(list(consistency_plan(*sizes).hashes(nodes))):
            with pytest.raises(VerificationError):
                verify_consistency(sizes, roots, one)
