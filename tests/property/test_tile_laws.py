"""Laws of tiles: proofs against a naive oracle, any flipped bit, names and bundles both ways."""

from collections.abc import Callable
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.tiles.fold import TileFile, TileFold
from streams.audit.leaf import parse_entry
from streams.audit.merkle import fold, node_hash
from streams.audit.note import MalformedError
from streams.audit.proofs import verify_consistency, verify_inclusion
from streams.audit.tiles import (
    ENTRIES,
    StreamedNodes,
    Subtree,
    Tile,
    TileNodes,
    consistency_plan,
    decode_bundle,
    encode_bundle,
    frontier_plan,
    inclusion_plan,
    new_tiles,
    parse_tile_path,
    tile_at,
)
from streams.errors import VerificationError
from tests.support.sealed_log import SealedLog, batches_of
from tests.support.static_checker import names_at, tile_body
from tests.support.static_logs import entries

SIZE = 300
LEAVES = [sha256(b"\0%d" % n).digest() for n in range(SIZE)]


@cache
def root(low: int, high: int) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if high - low == 1:
        return LEAVES[low]
    k = low + split(high - low)
    return node_hash(root(low, k), root(k, high))


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def path(index: int, low: int, high: int) -> list[bytes]:
    if high - low == 1:
        return []
    k = low + split(high - low)
    if index < k:
        return [*path(index, low, k), root(k, high)]
    return [*path(index, k, high), root(low, k)]


def subproof(old: int, low: int, high: int, *, whole: bool) -> list[bytes]:
    if old == high:
        return [] if whole else [root(low, high)]
    k = low + split(high - low)
    if old <= k:
        return [*subproof(old, low, k, whole=whole), root(k, high)]
    return [*subproof(old, k, high, whole=False), root(low, k)]


def tiles_of(size: int) -> dict[Tile, bytes]:
    """The hash tiles of a log of this size."""
    return {
        tile: b"".join(
            root(at << 8 * tile.level, at + 1 << 8 * tile.level)
            for at in range(tile.number * 256, tile.number * 256 + tile.width)
        )
        for tile in new_tiles(0, size)
        if tile.level != ENTRIES
    }


@cache
def node_of(size: int) -> Callable[[Subtree], bytes]:
    return TileNodes(size, tiles_of(size).__getitem__)


def test_every_inclusion_proof_up_to_300_leaves_agrees_with_the_oracle() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            proof = inclusion_plan(index, size).hashes(node_of(size))
            assert list(proof) == path(index, 0, size)


def test_every_consistency_proof_up_to_300_leaves_agrees_with_the_oracle() -> None:
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            proof = consistency_plan(old, new).hashes(node_of(new))
            assert list(proof) == subproof(old, 0, new, whole=True)


def test_proofs_of_a_size_can_be_read_from_the_tiles_of_any_larger_one() -> None:
    for size in (1, 7, 255, 256, 257, 290):
        for stored in {size, min(size + 1, SIZE), SIZE}:
            assert fold(frontier_plan(size).hashes(node_of(stored))) == root(0, size)
            for index in (0, size // 2, size - 1):
                proof = inclusion_plan(index, size).hashes(node_of(stored))
                assert list(proof) == path(index, 0, size)


def test_streamed_leaves_give_the_same_hashes_as_tiles() -> None:
    for old, new in ((1, 2), (3, 7), (7, 8), (200, 300), (255, 257), (256, 299)):
        plans = consistency_plan(old, new), frontier_plan(new), inclusion_plan(old - 1, new)
        streamed = StreamedNodes(frozenset().union(*(plan.subtrees for plan in plans)))
        streamed.add(LEAVES[:100])
        streamed.add(LEAVES[100:])
        for plan in plans:
            assert plan.hashes(streamed) == plan.hashes(node_of(new))


def flipped(body: bytes, bit: int) -> bytes:
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_every_single_bit_of_every_proof_counts(size: int) -> None:
    for index in range(size):
        proof = list(inclusion_plan(index, size).hashes(node_of(size)))
        for at in range(len(proof)):
            for bit in range(256):
                forged = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
                with pytest.raises(VerificationError):
                    verify_inclusion(index, size, LEAVES[index], forged, root(0, size))
        old, roots = index + 1, (root(0, index + 1), root(0, size))
        proof = list(consistency_plan(old, size).hashes(node_of(size)))
        for at in range(len(proof)):
            for bit in range(256):
                forged = [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
                with pytest.raises(VerificationError):
                    verify_consistency((old, size), roots, forged)


def test_every_single_bit_of_every_tile_of_a_small_log_counts() -> None:
    # The bits of a tile that a proof read from it does not need cannot spoil it; of all proofs
    # and the root together, each bit is needed.
    size = 5
    for tile, body in tiles_of(size).items():
        for bit in range(len(body) * 8):
            assert not all_hold(size, tiles_of(size) | {tile: flipped(body, bit)})
    assert all_hold(size, tiles_of(size))


@settings(max_examples=60, deadline=None)
@given(st.integers(257, SIZE), st.data())
def test_any_flipped_bit_of_any_tile_is_found(size: int, data: st.DataObject) -> None:
    tiles = tiles_of(size)
    tile = data.draw(st.sampled_from(sorted(tiles)))
    bit = data.draw(st.integers(0, len(tiles[tile]) * 8 - 1))
    index = bit // 256 + tile.number * 256 << 8 * tile.level
    beside = index ^ 1 if index ^ 1 < size else index
    node = TileNodes(size, (tiles | {tile: flipped(tiles[tile], bit)}).__getitem__)
    found = fold(frontier_plan(size).hashes(node)) != root(0, size)
    try:
        proof = inclusion_plan(beside, size).hashes(node)
        verify_inclusion(beside, size, node(Subtree(0, beside)), proof, root(0, size))
    except VerificationError:
        found = True
    assert found


def all_hold(size: int, tiles: dict[Tile, bytes]) -> bool:
    node = TileNodes(size, tiles.__getitem__)
    try:
        for index in range(size):
            proof = inclusion_plan(index, size).hashes(node)
            verify_inclusion(index, size, node(Subtree(0, index)), proof, root(0, size))
    except VerificationError:
        return False
    return True


# --- names, bundles, what a range adds ---

tiles = st.builds(
    Tile,
    level=st.integers(ENTRIES, 63),
    number=st.integers(0, 10**9) | st.integers(0, 10**21 - 1),
    width=st.integers(1, 256),
)


@given(tiles)
def test_a_name_is_read_as_it_was_written(tile: Tile) -> None:
    assert parse_tile_path(tile.path) == tile


@given(st.text("tile/enrsx0123456789.p\n", max_size=40) | tiles.map(lambda t: t.path), st.data())
def test_a_name_that_is_accepted_has_no_other_spelling(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name)))
    for one in (name, name[:at] + data.draw(st.text(max_size=2)) + name[at + 1 :]):
        try:
            assert parse_tile_path(one).path == one
        except MalformedError:
            continue


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=256))
def test_a_bundle_survives_encoding(found: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(found), len(found)) == found


@given(st.binary(max_size=2000), st.integers(1, 256))
def test_a_bundle_that_is_accepted_has_no_other_encoding(body: bytes, width: int) -> None:
    try:
        found = decode_bundle(body, width)
    except MalformedError:
        return
    assert encode_bundle(found) == body


@given(st.binary(max_size=300))
def test_the_reader_of_entries_raises_nothing_but_its_error(body: bytes) -> None:
    for entry in (body, b"attestream.leaf/v1\n" + body):
        with pytest.raises(MalformedError):
            parse_entry(entry)


@given(st.integers(0, 200_000), st.integers(0, 70_000))
def test_what_a_range_adds_is_what_one_size_has_and_the_other_has_not(old: int, more: int) -> None:
    new = old + more
    had, has = (set(map(parse_tile_path, names_at(size))) for size in (old, new))
    added = list(new_tiles(old, new))
    assert len(added) == len(set(added))
    assert set(added) == has - had
    assert [tile.level for tile in added] == sorted(tile.level for tile in added)
    for tile in added:
        assert tile_at(tile.level, tile.number, new) == tile


# --- the fold ---

LOG = SealedLog()
LOG.append(800)
LOG.checkpoint()
RECORDS = [record for batch in batches_of(LOG) for record in batch.records]
LOG_ENTRIES = entries(LOG)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=8))
def test_the_fold_gives_every_file_once_however_it_is_fed(lengths: list[int]) -> None:
    grown = TileFold()
    full: list[TileFile] = []
    standing: dict[str, bytes] = {}
    for length in lengths:
        full += grown.add(RECORDS[grown.size : grown.size + length])
        standing = {file.tile.path: file.body for file in [*full, *grown.partial()]}
        assert sorted(standing) == sorted(names_at(grown.size))
    for name, body in standing.items():
        assert body == tile_body(name, LOG_ENTRIES, LOG.leaves())
    assert len({file.tile for file in full}) == len(full)
    assert grown.size == min(sum(lengths), len(RECORDS))
