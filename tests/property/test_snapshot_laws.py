"""Laws of snapshots: parts come back as they went, and hostile bytes end in one sentence."""

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from projections.snapshots.cipher import authenticated, with_mac
from projections.snapshots.keys import parse_key_object
from projections.snapshots.manifest import ChunkEntry, Manifest, SavedAt
from projections.snapshots.names import new_snapshot_id
from projections.snapshots.parts import (
    Assembly,
    ChunkContent,
    Run,
    cut_runs,
    decode_chunk,
    encode_chunk,
)
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.records import Checkpoint

KEY = b"k" * 32
SNAPSHOT = new_snapshot_id(1, bytes(10))
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
PARTS = st.dictionaries(NAMES, st.binary(max_size=50), max_size=5)
SNAPSHOTS = st.builds(
    new_snapshot_id, st.integers(0, 253_402_300_799_999), st.binary(min_size=10, max_size=10)
)
DIGESTS = st.binary(min_size=32, max_size=32)
SIZES = st.one_of(st.integers(0, 2**63), st.integers(2**53 - 2, 2**53 + 2))
MANIFESTS = st.builds(
    Manifest,
    snapshot=SNAPSHOTS,
    projection=NAMES,
    parameters=st.dictionaries(NAMES, NAMES, max_size=3),
    saved_at=st.builds(
        SavedAt,
        NAMES,
        SIZES,
        DIGESTS,
        st.builds(Checkpoint, NAMES, st.lists(DIGESTS, max_size=3).map(tuple)),
    ),
    chunks=st.lists(
        st.builds(
            ChunkEntry, SNAPSHOTS, st.integers(0, 2**32 - 1), SIZES, DIGESTS.map(bytes.hex), SIZES
        ),
        max_size=3,
    ).map(tuple),
    key=NAMES,
    retained_until=SIZES,
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = sorted(
    json.loads(
        Manifest(
            snapshot=SNAPSHOT,
            projection="p",
            parameters={},
            saved_at=SavedAt("o", 1, bytes(32), Checkpoint("n", ())),
            chunks=(ChunkEntry(SNAPSHOT, 0, 0, "00" * 32, 0),),
            key="k",
            retained_until=0,
        ).render()
    ).items()
)


@given(PARTS, PARTS, st.integers(1, 40))
def test_parts_come_back_as_they_went_however_they_are_cut(
    growing: dict[str, bytes], changing: dict[str, bytes], most: int
) -> None:
    assembly = Assembly()
    for grows, parts in ((True, growing), (False, changing)):
        for runs in cut_runs([Run(name, 0, data) for name, data in parts.items()], most):
            assert sum(len(run.data) for run in runs) <= most
            assembly.add(decode_chunk(encode_chunk(ChunkContent(grows, runs))))
    assert assembly.parts() == (growing, changing)


@given(MANIFESTS)
def test_a_manifest_has_one_spelling_and_comes_back(manifest: Manifest) -> None:
    document = authenticated(KEY, with_mac(KEY, manifest.render()))
    assert Manifest.parse(document) == manifest


@given(st.binary(max_size=300))
def test_any_bytes_under_a_good_hmac_are_a_manifest_or_refused(document: bytes) -> None:
    parsed_or_refused(authenticated(KEY, with_mac(KEY, document)))


@given(JSON)
def test_any_json_is_a_manifest_or_refused(value: object) -> None:
    parsed_or_refused(json.dumps(value).encode())


@given(st.integers(0, len(MEMBERS) - 1), JSON)
def test_any_member_may_be_anything(place: int, value: object) -> None:
    members = dict(MEMBERS) | {MEMBERS[place][0]: value}
    parsed_or_refused(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_chunk_or_refused(plain: bytes) -> None:
    refusal = refused(lambda: decode_chunk(plain))
    assert refusal is None or "\n" not in refusal


@given(st.binary(max_size=300))
def test_any_bytes_without_their_hmac_and_any_key_object_are_refused(stored: bytes) -> None:
    key_object = refused(lambda: parse_key_object(stored, SNAPSHOT, "aes-0"))
    for refusal in (refused(lambda: authenticated(KEY, stored)), key_object):
        assert refusal is not None
        assert "\n" not in refusal


def refused(read: Callable[[], object]) -> str | None:
    try:
        read()
    except SnapshotRefusedError as error:
        return str(error)
    return None


def parsed_or_refused(document: bytes) -> None:
    refusal = refused(lambda: Manifest.parse(document))
    if refusal is None:
        assert Manifest.parse(document).render() == document
    else:
        assert "\n" not in refusal
