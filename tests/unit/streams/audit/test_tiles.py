"""Tiles: names, widths, bundles, and the vectors of an independent program, byte for byte."""

from base64 import b64encode
from hashlib import sha256

import pytest

from streams.audit.merkle import fold
from streams.audit.note import MalformedError
from streams.audit.proofs import verify_inclusion
from streams.audit.tiles import (
    ENTRIES,
    ProofPlan,
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
    tile_hashes,
    tile_of,
    tile_root,
)
from tests.support.static_checker import check_static_log
from tests.support.vectors import C2SP

OF_260 = {
    name: bytes.fromhex(body)
    for name, body in C2SP["tiles_of_260"].items()
    if name.startswith("tile/")
}


def reads(plan: ProofPlan, size: int) -> int:
    """How many tiles a proof is read from."""
    return len({tile_of(subtree, size) for subtree in plan.subtrees})


@pytest.mark.parametrize(
    ("tile", "name"),
    [
        (Tile(0, 999), "999"),
        (Tile(0, 1000), "1000"),
        (Tile(0, 1_234_067), "1234067"),
        (Tile(0, 1_234_067, 8), "1234067 width 8"),
        (Tile(ENTRIES, 1_234_067), "entries 1234067"),
    ],
)
def test_names_are_those_of_the_vectors(tile: Tile, name: str) -> None:
    path = C2SP["tile_names"][name]
    assert tile.path == path
    assert parse_tile_path(path) == tile


def test_tiles_of_260_leaves_are_those_of_the_vectors() -> None:
    entries = [
        entry
        for name in ("tile/entries/000", "tile/entries/001.p/4")
        for entry in decode_bundle(OF_260[name], parse_tile_path(name).width)
    ]
    assert len(entries) == 260
    assert [tile.path for tile in new_tiles(0, 260)] == [
        "tile/entries/000",
        "tile/entries/001.p/4",
        "tile/0/000",
        "tile/0/001.p/4",
        "tile/1/000.p/1",
    ]
    leaves = [sha256(b"\0" + entry).digest() for entry in entries]
    assert encode_bundle(entries[:256]) == OF_260["tile/entries/000"]
    assert encode_bundle(entries[256:]) == OF_260["tile/entries/001.p/4"]
    assert tile_hashes(OF_260["tile/0/000"], 256) == leaves[:256]
    assert tile_hashes(OF_260["tile/0/001.p/4"], 4) == leaves[256:]
    assert tile_root(leaves[:256]) == OF_260["tile/1/000.p/1"]


def test_the_strict_checker_of_these_tests_accepts_the_vectors() -> None:
    files = OF_260 | {"checkpoint": C2SP["tiles_of_260"]["checkpoint_text"].encode()}
    key = C2SP["log_key"]
    assert check_static_log(files, key["name"], bytes.fromhex(key["public"])) == 260


def test_proofs_from_the_tiles_of_260_lead_to_the_signed_root() -> None:
    _, size, root = C2SP["tiles_of_260"]["checkpoint_text"].split("\n")[:3]
    assert int(size) == 260
    node = TileNodes(260, lambda tile: OF_260[tile.path])
    folded = fold(frontier_plan(260).hashes(node))
    assert b64encode(folded).decode() == root
    for index in range(260):
        plan = inclusion_plan(index, 260)
        assert reads(plan, 260) <= 3
        leaf = node(Subtree(0, index))
        verify_inclusion(index, 260, leaf, plan.hashes(node), folded)


def test_a_log_of_256_has_no_partial_tile() -> None:
    assert [tile.path for tile in new_tiles(0, 256)] == [
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
    ]


def test_a_log_of_70000_has_the_tiles_that_c2sp_says() -> None:
    tiles = list(new_tiles(0, 70_000))
    assert len([t for t in tiles if t.level == 0 and t.width == 256]) == 273
    assert Tile(0, 273, 112) in tiles
    assert [t for t in tiles if t.level > 0] == [Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/x00/000",
        "tile/0/x001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/04",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/8/0/000",
        "tile/data/000",
        "tile/0/٠٠٠",
        "tile/0/" + "x999/" * 7 + "999",
    ],
)
def test_another_spelling_is_no_name_of_a_tile(path: str) -> None:
    with pytest.raises(MalformedError):
        parse_tile_path(path)


def test_a_tile_is_as_wide_as_its_level_is_at_a_size() -> None:
    for size in (0, 1, 255, 256, 257, 65_535, 65_536, 70_000):
        for level in (ENTRIES, 0, 1, 2):
            count = size // 256 ** max(level, 0)
            widths = [tile_at(level, number, size) for number in range(count // 256 + 2)]
            assert sum(tile.width for tile in widths if tile) == count
            assert all(tile is None or tile.level == level for tile in widths)


@pytest.mark.parametrize("size", [2**16 - 1, 2**32, 2**40 + 12_345, 2**62 - 1])
def test_a_proof_costs_two_tiles_a_level_at_most(size: int) -> None:
    levels = -(-size.bit_length() // 8)
    for index in (0, size // 3, size // 2, size - 1):
        assert reads(inclusion_plan(index, size), size) <= 2 * levels
        assert reads(consistency_plan(index + 1, size), size) <= 2 * levels
    assert reads(frontier_plan(size), size) <= levels


def test_a_subtree_beyond_the_tree_is_in_no_tile() -> None:
    assert tile_of(Subtree(8, 0), 256) == Tile(1, 0, 1)
    for subtree, stored in ((Subtree(0, 256), 256), (Subtree(8, 0), 255), (Subtree(1, 2), 5)):
        with pytest.raises(ValueError, match="no complete"):
            tile_of(subtree, stored)


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        inclusion_plan(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 4), (5, 4), (0, 0), (-1, 3)])
def test_no_consistency_from_size_0_or_to_a_lesser_size(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no consistency"):
        consistency_plan(old, new)


def test_the_same_size_needs_no_proof() -> None:
    assert consistency_plan(7, 7) == ProofPlan(())


def test_a_tile_of_another_width_than_named_is_refused() -> None:
    for body in (b"", bytes(31), bytes(33), bytes(96)):
        with pytest.raises(MalformedError):
            tile_hashes(body, 2)
    with pytest.raises(MalformedError):
        TileNodes(2, lambda _tile: bytes(32))(Subtree(0, 0))


@pytest.mark.parametrize(
    ("body", "width"),
    [
        (b"", 1),
        (b"\0", 1),
        (b"\0\1", 1),
        (b"\0\1a\0", 1),
        (b"\0\1a", 2),
        (b"\0\1a\0\1b", 1),
        (b"\0\0\0", 1),
    ],
    ids=["empty", "half a length", "no entry", "a byte behind", "too few", "too many", "rest"],
)
def test_a_bundle_that_is_not_what_its_name_says_is_refused(body: bytes, width: int) -> None:
    with pytest.raises(MalformedError):
        decode_bundle(body, width)


@pytest.mark.parametrize("entries", [[], [b""] * 257, [bytes(65_536)]])
def test_a_bundle_that_nobody_could_read_is_not_made(entries: list[bytes]) -> None:
    with pytest.raises(ValueError, match="expected 1 to 256"):
        encode_bundle(entries)


def test_the_longest_entry_is_bundled() -> None:
    assert decode_bundle(encode_bundle([bytes(65_535), b""]), 2) == [bytes(65_535), b""]
