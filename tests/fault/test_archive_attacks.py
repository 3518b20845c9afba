"""Attacks on an archive, each by its name, and the level at which each store gives it away.

Three stores: a bucket that tells of every version its true size and checksum; one that goes on
telling what was true when the version was made; a directory, which has neither versions nor locks.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.segments import (
    Manifest,
    anchor_name,
    encode_segment,
    manifest_name,
    segment_name,
)
from streams.verifier import LEVELS, Trust
from tests.support.archived_logs import (
    DAYS,
    TRUST,
    Archive,
    Bucket,
    Folder,
    LyingBucket,
    breaks,
    told,
)
from tests.support.forgeries import anchor
from tests.support.memory_objects import EPOCH
from tests.support.signed_logs import KEY, ORIGIN, SignedLog, usual_log

Store = Bucket | LyingBucket | Folder
STORES = ("bucket", "lying bucket", "directory")
SEGMENT, MANIFEST = segment_name(ORIGIN, 4), manifest_name(ORIGIN, 4)
LAST_SEGMENT, LAST_MANIFEST = segment_name(ORIGIN, 8), manifest_name(ORIGIN, 8)
NOWHERE = dict.fromkeys(LEVELS)


class Attack(NamedTuple):
    """What is done, the first break, and from which level on each store gives it away.

    `seen`: a level by store, in the order of STORES; empty where the store has no such thing.
    """

    do: Callable[[Archive, Store], None]
    kind: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    seen: tuple[str, str, str]
    or_index: int = -1  # where the manifest behind it no longer follows


def put(name: str, body: Callable[[Archive], bytes | None]) -> Callable[[Archive, Store], None]:
    return lambda archive, store: store.put_instead(name, body(archive))


def gone(name: str) -> Callable[[Archive, Store], None]:
    return put(name, lambda _: None)


def swapped(archive: Archive, store: Store) -> None:
    store.put_instead(SEGMENT, archive.files[8])
    store.put_instead(LAST_SEGMENT, archive.files[4])


def overlaid(name: str, body: bytes) -> Callable[[Archive, Store], None]:
    def lay(_: Archive, store: Store) -> None:
        assert isinstance(store, Bucket)
        store.overlay(name, body)

    return lay


def hidden(name: str) -> Callable[[Archive, Store], None]:
    def hide(_: Archive, store: Store) -> None:
        assert isinstance(store, Bucket)
        store.mark_deleted(name)

    return hide


def locked_for(name: str, days: int | None) -> Callable[[Archive, Store], None]:
    def lock(_: Archive, store: Store) -> None:
        assert isinstance(store, Bucket)
        store.lock_until(name, None if days is None else EPOCH + timedelta(days=days))

    return lock


def rewritten(first: int = 4, **fields: object) -> Callable[[Archive], bytes]:
    def rewrite(archive: Archive) -> bytes:
        manifest = Manifest.parse(archive.manifests[first])
        return replace(manifest, **fields).render()  # type: ignore[arg-type]

    return rewrite


def flipped(body: bytes) -> bytes:
    at = len(body) * 2 // 3
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


ALL = ("list", "list", "list")
BYTES = ("list", "file", "list")  # a directory names its versions by their bytes
VERSIONS = ("list", "list", "")
READ = ("record", "list", "record")  # no manifest follows it yet
ATTACKS: dict[str, Attack] = {
    "a segment is deleted": Attack(gone(SEGMENT), "archive", 4, ALL),
    "the last segment is deleted": Attack(gone(LAST_SEGMENT), "archive", 8, ALL),
    "a segment is overwritten by a newer version": Attack(
        overlaid(SEGMENT, b"forged"), "archive", 4, VERSIONS
    ),
    "a manifest is overwritten by a newer version": Attack(
        overlaid(MANIFEST, b"{}"), "archive", 4, VERSIONS
    ),
    "a segment is hidden by a delete marker": Attack(hidden(SEGMENT), "archive", 4, VERSIONS),
    "a manifest is hidden by a delete marker": Attack(hidden(MANIFEST), "archive", 4, VERSIONS),
    "two segments are swapped": Attack(swapped, "archive", 4, BYTES),
    "a segment is truncated": Attack(
        put(SEGMENT, lambda archive: archive.files[4][:-1]), "archive", 4, BYTES
    ),
    "bytes are appended to a segment": Attack(
        put(SEGMENT, lambda archive: archive.files[4] + b"more"), "archive", 4, BYTES
    ),
    "a segment is emptied": Attack(put(SEGMENT, lambda _: b""), "archive", 4, BYTES),
    "a segment is encoded again": Attack(
        put(SEGMENT, lambda archive: archive.encoded_again(4)), "archive", 4, BYTES
    ),
    "a bit of a segment is flipped": Attack(
        put(SEGMENT, lambda archive: flipped(archive.files[4])), "archive", 4, BYTES
    ),
    "a bit of a manifest is flipped": Attack(
        put(MANIFEST, lambda archive: flipped(archive.manifests[4])), "archive", 4, ALL, 8
    ),
    "a manifest names another version": Attack(
        put(MANIFEST, rewritten(version_id="v99")), "archive", 4, ALL, 8
    ),
    "a manifest names another digest": Attack(
        put(MANIFEST, rewritten(sha256="1" * 64)), "archive", 4, ALL, 8
    ),
    "a manifest promises a longer segment": Attack(
        put(MANIFEST, rewritten(segment_bytes=1)), "archive", 4, ALL
    ),
    "a manifest says another last index": Attack(
        put(MANIFEST, rewritten(last_index=6)), "archive", 4, ALL
    ),
    "the last manifest says other offsets": Attack(
        put(LAST_MANIFEST, rewritten(8, last_offset=99)), "archive", 8, READ
    ),
    "the last manifest says other schemas": Attack(
        put(LAST_MANIFEST, rewritten(8, schemas={})), "archive", 8, READ
    ),
    "a manifest is missing in the middle": Attack(gone(MANIFEST), "archive", 4, ALL),
    "the last manifest is missing, and its anchor stands": Attack(
        gone(LAST_MANIFEST), "archive", 8, ALL
    ),
    "a manifest is forked": Attack(put(MANIFEST, rewritten(previous="1" * 64)), "archive", 4, ALL),
    "a segment's lock is shorter than promised": Attack(
        locked_for(SEGMENT, DAYS - 1), "lock", 4, VERSIONS
    ),
    "a manifest's lock is shorter than promised": Attack(
        locked_for(MANIFEST, DAYS - 1), "lock", 4, VERSIONS
    ),
    "a segment has no lock": Attack(locked_for(SEGMENT, None), "lock", 4, VERSIONS),
    "a segment is put where there was none": Attack(
        lambda archive, store: _created(store, segment_name(ORIGIN, 6), archive.files[4]),
        "archive",
        6,
        ALL,
    ),
    "segments are put far behind the end": Attack(
        lambda archive, store: _created(store, segment_name(ORIGIN, 10**9), archive.files[4]),
        "archive",
        12,
        ALL,
    ),
}


def _created(store: Store, name: str, body: bytes) -> None:
    if isinstance(store, Folder):
        (store.path / name).write_bytes(body)
    else:
        store.overlay(name, body)
        store.lock_until(name, EPOCH + timedelta(days=DAYS))


def store_of(kind: str, folder: Path) -> Store:
    if kind == "directory":
        return Folder(folder)
    return Bucket() if kind == "bucket" else LyingBucket()


CASES = [
    pytest.param(name, kind, id=f"{name}, {kind}")
    for name, attack in ATTACKS.items()
    for kind, seen in zip(STORES, attack.seen, strict=True)
    if seen
]


@pytest.mark.parametrize(("name", "kind"), CASES)
async def test_attack_is_seen_from_its_level_on(name: str, kind: str, tmp_path: Path) -> None:
    attack, store = ATTACKS[name], store_of(kind, tmp_path)
    archive = await Archive(store).fill()
    assert await breaks(archive) == []
    attack.do(archive, store)
    seen = attack.seen[STORES.index(kind)]
    for level in LEVELS:
        found = await breaks(archive, level)
        if LEVELS.index(level) < LEVELS.index(seen):
            assert found == [], level
        else:
            assert found[0][0] == attack.kind, level
            assert found[0][1] in {attack.index, attack.or_index}, level


def test_every_attack_is_seen_somewhere() -> None:
    assert all(any(attack.seen) for attack in ATTACKS.values())


# --- what nothing inside an archive can show ---


def put_back(store: Store, *, anchors: bool) -> None:
    """The whole archive as it was before its last segment."""
    store.put_instead(LAST_SEGMENT, None)
    store.put_instead(LAST_MANIFEST, None)
    if anchors:
        store.put_instead(anchor_name(ORIGIN, 12), None)


def newest(archive: Archive) -> Trust:
    digest = sha256(archive.manifests[8]).digest()
    return replace(TRUST, has_roster=True, manifests={ORIGIN: (digest,)})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", STORES)
async def test_archive_put_back_as_a_whole_is_told_by_anchor_or_sealed_head_alone(
    kind: str, level: str, tmp_path: Path
) -> None:
    store = store_of(kind, tmp_path)
    archive = await Archive(store).fill()
    anchored = replace(TRUST, anchors=(anchor(archive.log, 12),))
    put_back(store, anchors=True)
    alone = await told(archive, level)
    assert (alone.breaks, alone.anchored, alone.roster) == ((), "not given", "not given")
    assert await breaks(archive, level, anchored) == [("shorter_than_anchor", 8)]
    assert await breaks(archive, level, newest(archive)) == [("archive", 8)]
    elsewhere = {ORIGIN: frozenset(newest(archive).manifests[ORIGIN])}
    assert await breaks(archive, level, manifests=elsewhere) == [("archive", 8)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", STORES)
async def test_archive_put_back_without_its_anchors_is_convicted_by_them(
    kind: str, level: str, tmp_path: Path
) -> None:
    store = store_of(kind, tmp_path)
    archive = await Archive(store).fill()
    put_back(store, anchors=False)
    found = await told(archive, level)
    assert [(b.kind, b.index) for b in found.breaks] == [("shorter_than_anchor", 8)]
    assert found.anchored == "not given", "what stands beside an archive vouches for nothing"


@pytest.mark.parametrize("level", LEVELS)
async def test_head_written_after_an_archive_was_put_back_does_not_launder_it(level: str) -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    digests = [sha256(archive.manifests[first]).digest() for first in (0, 8, 4)]
    trust = replace(TRUST, has_roster=True, manifests={ORIGIN: tuple(digests)})
    assert await breaks(archive, level, trust) == []
    put_back(store, anchors=True)
    assert await breaks(archive, level, trust) == [("archive", 8)]


@pytest.mark.parametrize("level", LEVELS)
async def test_archive_of_another_history_that_was_signed_is_a_fork(level: str) -> None:
    forked = SignedLog().extend(4).checkpoint()
    forked.next_source_offset += 1
    for _ in range(2):
        forked.extend(4).checkpoint()
    archive = await Archive(Bucket(), forked.extend(2)).fill()
    assert await breaks(archive, level) == []
    trust = replace(TRUST, anchors=(anchor(usual_log(), 12),))
    assert (await breaks(archive, level, trust))[0][0] == "fork"
    # So is one signed note of the other history, laid into the archive itself.
    note = KEY.note(8, anchor(usual_log(), 8).root).encode()
    assert isinstance(archive.store, Bucket)
    archive.store.overlay(anchor_name(ORIGIN, 8), note)
    assert (await breaks(archive, level))[0][0] == "fork"


@pytest.mark.parametrize("level", LEVELS)
async def test_anchors_in_any_number_push_no_honest_one_out(level: str) -> None:
    store = Bucket()
    await Archive(store).fill()
    for name in await store.versions("archive/"):
        store.put_instead(name.key, None)
    forged = SignedLog()
    forged.next_source_offset += 1
    for _ in range(3):
        forged.extend(30).checkpoint()
    # Whoever holds the key of the log adds anchors of every size of another history.
    for size in range(13, 91):
        note = KEY.note(size, anchor(forged, size).root).encode()
        await store.create(anchor_name(ORIGIN, size), note, retain_days=DAYS)
    rows = forged.rows
    await store.create(
        segment_name(ORIGIN, 0), encode_segment(ORIGIN, 0, None, rows), retain_days=DAYS
    )
    archive = Archive(store, forged)
    found = await told(archive, level)
    if level == "list":
        assert found.breaks, "there is no manifest to compare with"
    else:
        assert [b.kind for b in found.breaks] == ["archive", "fork"]


async def test_anchors_that_nobody_trusted_signed_convict_no_archive() -> None:
    archive = await Archive(Bucket()).fill()
    assert isinstance(archive.store, Bucket)
    archive.store.overlay(anchor_name(ORIGIN, 99), b"no note")
    archive.store.overlay(anchor_name(ORIGIN, 98), KEY.note(8, b"\1" * 32).encode())
    assert await breaks(archive) == []
    assert await breaks(archive, trust=Trust()) == []
