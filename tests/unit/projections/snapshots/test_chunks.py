"""Chunks, manifests and key objects: every byte is what was written there, or none is read."""

import json
from collections.abc import Callable

import pytest

from projections.snapshots.cipher import (
    authenticated,
    decrypt_chunk,
    encrypt_chunk,
    with_mac,
)
from projections.snapshots.keys import parse_key_object, unwrapped_by, wrapped_by
from projections.snapshots.manifest import ChunkEntry, Manifest, SavedAt
from projections.snapshots.names import (
    chunk_name,
    created_ms,
    is_snapshot_id,
    key_name,
    log_root,
    manifest_name,
    new_snapshot_id,
    snapshot_of,
)
from projections.snapshots.parts import Assembly, ChunkContent, Run, decode_chunk, encode_chunk
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.records import Checkpoint
from streams.keys.wrapping import AesWrappingKey, KeyRefusedError

NOW_MS = 1_790_000_000_000
ID = new_snapshot_id(NOW_MS, bytes(10))
OTHER = new_snapshot_id(NOW_MS + 1, bytes(10))
DATA_KEY = b"d" * 32
PLACE = (ID, 3)
NONCE = b"n" * 12
MANIFEST = Manifest(
    snapshot=ID,
    projection="ledger",
    parameters={"rules": "0123"},
    saved_at=SavedAt("o/t/0", 2**60, b"r" * 32, Checkpoint("a note\n", (b"f" * 32,))),
    chunks=(ChunkEntry(OTHER, 2**32 - 1, 70, "ab" * 32, NOW_MS),),
    key="aes-0",
    retained_until=NOW_MS,
)


def test_a_chunk_is_nonce_ciphertext_tag_bound_to_snapshot_and_number() -> None:
    stored = encrypt_chunk(DATA_KEY, PLACE, NONCE, b"plain")
    assert (stored[:12], len(stored)) == (NONCE, 12 + 5 + 16)
    assert decrypt_chunk(DATA_KEY, PLACE, stored) == b"plain"


@pytest.mark.parametrize(
    ("key", "place", "change"),
    [
        (b"e" * 32, PLACE, lambda stored: stored),
        (DATA_KEY, (OTHER, 3), lambda stored: stored),
        (DATA_KEY, (ID, 4), lambda stored: stored),
        (DATA_KEY, PLACE, lambda stored: stored[:-1]),
        (DATA_KEY, PLACE, lambda stored: stored + b"\0"),
        (DATA_KEY, PLACE, lambda _: b""),
        (DATA_KEY, PLACE, lambda stored: stored[:20] + b"!" + stored[21:]),
    ],
    ids=["key", "snapshot", "number", "cut", "longer", "empty", "flipped"],
)
def test_a_chunk_elsewhere_or_changed_is_refused(
    key: bytes, place: tuple[str, int], change: Callable[[bytes], bytes]
) -> None:
    stored = encrypt_chunk(DATA_KEY, PLACE, NONCE, b"a plain text")
    with pytest.raises(SnapshotRefusedError, match="is not what was stored"):
        decrypt_chunk(key, place, change(stored))


def test_a_manifest_comes_back_and_names_what_it_is_of() -> None:
    stored = with_mac(DATA_KEY, MANIFEST.render())
    assert Manifest.parse(authenticated(DATA_KEY, stored)) == MANIFEST
    members = json.loads(stored.split(b"\n")[0])
    assert members["logs"] == {"o/t/0": {"root": "72" * 32, "size": str(2**60)}}
    assert members["chunks"][0] == {
        "bytes": 70,
        "number": 2**32 - 1,
        "retained_until": NOW_MS,
        "sha256": "ab" * 32,
        "writer": OTHER,
    }


def test_a_manifest_that_was_changed_anywhere_is_not_parsed() -> None:
    stored = with_mac(DATA_KEY, MANIFEST.render())
    for place in range(len(stored)):
        changed = stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]
        with pytest.raises(SnapshotRefusedError):
            authenticated(DATA_KEY, changed)
    for changed in (b"", stored[:-1], stored + b"\n", stored[66:]):
        with pytest.raises(SnapshotRefusedError):
            authenticated(DATA_KEY, changed)
    with pytest.raises(SnapshotRefusedError, match="HMAC does not fit"):
        authenticated(b"e" * 32, stored)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "attestream.snapshot/v2"},
        {"snapshot": "0" * 25},
        {"logs": {}},
        {"logs": {"a": {"root": "72" * 32, "size": 1}, "b": {"root": "72" * 32, "size": 1}}},
        {"logs": {"a": {"root": "72" * 32, "size": -1}}},
        {"logs": {"a": {"root": "72" * 32, "size": True}}},
        {"frontier": ["72" * 32] * 65},
        {"chunks": [{}]},
        {"retained_until": "007"},
        {"parameters": {"rules": 1}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_manifest_of_another_shape_is_refused(change: dict[str, object]) -> None:
    members = json.loads(MANIFEST.render()) | change
    document = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(SnapshotRefusedError, match="a manifest that is none"):
        Manifest.parse(document)


def test_a_chunk_says_which_bytes_it_holds() -> None:
    runs = (Run("a", 0, b"one"), Run("b", 7, b""), Run("c", 9, b"three"))
    plain = encode_chunk(ChunkContent(grows=True, runs=runs))
    assert decode_chunk(plain) == (True, runs)
    for wrong in (plain[:-1], plain + b"!", b"\xff" * 8, b"", b"\0\0\0\2{}", b"\0\0\0\2[]"):
        with pytest.raises(SnapshotRefusedError, match="a chunk of another format"):
            decode_chunk(wrong)


def test_chunks_are_put_together_only_without_a_hole() -> None:
    assembly = Assembly()
    assembly.add(ChunkContent(grows=True, runs=(Run("a", 0, b"one"),)))
    assembly.add(ChunkContent(grows=False, runs=(Run("a", 0, b"two"),)))
    assert assembly.grown() == {"a": 3}
    assert assembly.parts() == ({"a": b"one"}, {"a": b"two"})
    for first in (2, 4):
        with pytest.raises(SnapshotRefusedError, match="comes behind 3 bytes"):
            assembly.add(ChunkContent(grows=True, runs=(Run("a", first, b"x"),)))


@pytest.mark.parametrize("length", [16, 24, 32])
async def test_a_data_key_is_wrapped_by_keys_of_each_size(length: int) -> None:
    key = AesWrappingKey(b"k" * length)
    stored = await wrapped_by(key, ID, DATA_KEY)
    assert json.loads(stored).keys() == {"format", "key", "snapshot", "wrapped"}
    assert DATA_KEY not in stored
    assert await unwrapped_by(key, ID, stored) == DATA_KEY


async def test_a_wrapped_key_of_another_snapshot_or_key_is_refused() -> None:
    key = AesWrappingKey(b"k" * 32)
    stored = await wrapped_by(key, ID, DATA_KEY)
    moved = stored.replace(ID.encode(), OTHER.encode())
    with pytest.raises(SnapshotRefusedError, match="not wrapped by"):
        await unwrapped_by(key, OTHER, moved)
    with pytest.raises(SnapshotRefusedError, match="an object that is none"):
        await unwrapped_by(key, OTHER, stored)
    with pytest.raises(KeyRefusedError):
        await key.unwrap(b"", ID)
    twin = AesWrappingKey(b"l" * 32)
    assert twin.key_id != key.key_id
    for wrong in (b"", stored[:-1], stored + b" ", stored[:100], b"{}"):
        with pytest.raises(SnapshotRefusedError, match="an object that is none"):
            parse_key_object(wrong, ID, key.key_id)


def test_names_lead_back_to_their_snapshot() -> None:
    root = log_root("a/b/manifests/0", "decision-index")
    for name in (chunk_name(root, ID, 0), manifest_name(root, ID), key_name(root, ID, "kms-1")):
        assert snapshot_of(name) == (("a/b/manifests/0", "decision-index"), ID)
    for name in ("archive/v1/x", root, f"{root}manifests/zzz.json", f"{root}chunks/{ID}/1"):
        assert snapshot_of(name) is None
    with pytest.raises(ValueError, match="not the id of a wrapping key"):
        key_name(root, ID, "../up")


def test_ids_sort_by_time_and_tell_it() -> None:
    ids = [new_snapshot_id(NOW_MS + ms, b"\xff" * 10) for ms in range(0, 5000, 7)]
    assert ids == sorted(ids)
    assert all(len(one) == 26 and is_snapshot_id(one) for one in ids)
    assert created_ms(ids[1]) == NOW_MS + 7
    assert not is_snapshot_id(ids[0].upper())
    with pytest.raises(ValueError, match="random bytes"):
        new_snapshot_id(NOW_MS, b"")
