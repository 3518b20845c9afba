"""Attacks on a static log: each is found, with its kind and index."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from projections.tiles.projection import PublishRules
from streams.audit.checkpoint import CheckpointText, make_note
from streams.audit.leaf import leaf_entry, parse_entry
from streams.audit.merkle import EMPTY_ROOT, Frontier
from streams.audit.note import ED25519
from streams.audit.tiles import decode_bundle, encode_bundle
from streams.errors import SourceUnreadableError
from streams.verifier import LogVerdict, TileRequest, Trust, verify_tiles
from tests.support.memory_objects import MemoryObjectStore
from tests.support.progress import Counted
from tests.support.sealed_log import KEY as SIGNER
from tests.support.sealed_log import KEYS, ORIGIN, PUBLIC_KEY, SealedLog, batches_of
from tests.support.signed_logs import Key
from tests.support.static_logs import PREFIX, entries, run_tiler, static_files, tiler

SIZE = 600
TRUST = Trust(keys=KEYS)
Files = dict[str, bytes]
Change = Callable[[Files], None]


def log_of(size: int = SIZE, salt: bytes = b"") -> SealedLog:
    log = SealedLog(salt)
    for part in filter(None, (size // 3, size - size // 3)):
        log.append(part)
        log.checkpoint()
    return log


async def published(log: SealedLog) -> Files:
    objects = MemoryObjectStore()
    await run_tiler(objects, log, PublishRules(records_max=1))
    return await static_files(objects)


async def verdict_of_files(
    files: Files, trust: Trust = TRUST, *, origin: str | None = ORIGIN
) -> LogVerdict:
    objects = MemoryObjectStore()
    for path, body in files.items():
        objects.overlay(PREFIX + path, body)
    seen = Counted()
    request = TileRequest(PREFIX, origin, seen)
    verdict = await verify_tiles(objects, trust, request)
    assert seen.rows in (0, verdict.records) or verdict.breaks
    return verdict


async def breaks_of_files(files: Files, trust: Trust = TRUST) -> list[tuple[str, int]]:
    return [(b.kind, b.index) for b in (await verdict_of_files(files, trust)).breaks]


async def broken_by(change: Change, size: int = SIZE) -> list[tuple[str, int]]:
    files = await published(log_of(size))
    change(files)
    return await breaks_of_files(files)


def note_of(size: int, root: bytes, origin: str = ORIGIN) -> bytes:
    text = CheckpointText(origin, size, root)
    return make_note(text, ED25519, PUBLIC_KEY, SIGNER.sign(text.render().encode())).encode()


def flip(path: str, at: int) -> Change:
    def change(files: Files) -> None:
        body = bytearray(files[path])
        body[at] ^= 1
        files[path] = bytes(body)

    return change


def rewrite(path: str, width: int, edit: Callable[[list[bytes]], list[bytes]]) -> Change:
    def change(files: Files) -> None:
        files[path] = encode_bundle(edit(decode_bundle(files[path], width)))

    return change


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, SIZE])
async def test_an_honest_static_log_is_intact(size: int) -> None:
    log = log_of(size)
    verdict = await verdict_of_files(await published(log))
    assert verdict.breaks == ()
    assert (verdict.origin, verdict.size, verdict.records) == (ORIGIN, size, size)
    frontier = Frontier()
    frontier.extend(log.leaves())
    assert verdict.root == frontier.root().hex()
    assert (verdict.anchored, verdict.checkpoints) == ("not given", 1)


async def test_a_log_beyond_a_tile_of_tiles_is_intact_and_read_once() -> None:
    # 65,792 leaves: level 1 has a full tile, level 2 one hash. Made of leaves without records.
    count = 65_536 + 256
    made = [
        leaf_entry(n, parse_entry(FIRST)[1]._replace(offset=n), b"%d" % n) for n in range(count)
    ]
    leaves = [sha256(b"\0" + entry).digest() for entry in made]
    files = {
        f"tile/entries/{number:03d}": encode_bundle(made[number * 256 : number * 256 + 256])
        for number in range(count // 256)
    }
    row, level = leaves, 0
    while row:
        above = []
        for at in range(0, len(row), 256):
            tile, width = row[at : at + 256], len(row[at : at + 256])
            name = f"tile/{level}/{at // 256:03d}" + ("" if width == 256 else f".p/{width}")
            files[name] = b"".join(tile)
            if width == 256:
                frontier = Frontier()
                frontier.extend(tile)
                above.append(frontier.root())
        row, level = above, level + 1
    frontier = Frontier()
    frontier.extend(leaves)
    files["checkpoint"] = note_of(count, frontier.root())
    assert "tile/2/000.p/1" in files
    assert await breaks_of_files(files) == []
    flip("tile/2/000.p/1", 5)(files)
    assert await breaks_of_files(files) == [("altered", 0)]


FIRST = entries(log_of(3))[0]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (flip("tile/entries/001", 100), [("altered", 256)]),
        (flip("tile/entries/002.p/88", -3), [("altered", 599)]),
        (flip("tile/0/001", 32 * 7), [("altered", 256 + 7)]),
        (flip("tile/0/002.p/88", 32 * 5), [("altered", 512 + 5)]),
        (flip("tile/1/000.p/2", 32), [("altered", 256)]),
        (rewrite("tile/entries/001", 256, lambda e: [e[1], e[0], *e[2:]]), [("altered", 256)]),
        (rewrite("tile/entries/001", 256, lambda e: [*e[:9], e[8], *e[10:]]), [("altered", 265)]),
        (lambda f: f.update({"tile/0/001": f["tile/0/000"]}), [("altered", 256)]),
        (lambda f: f.pop("tile/0/001"), [("archive", 256)]),
        (lambda f: f.pop("tile/entries/001"), [("archive", 256)]),
        (lambda f: f.pop("tile/1/000.p/2"), [("archive", 0)]),
        (lambda f: f.pop("tile/0/002.p/88"), [("archive", 512)]),
        (lambda f: f.update({"tile/0/000": f["tile/0/000"] + bytes(32)}), [("archive", 0)]),
        (lambda f: f.update({"tile/0/000": f["tile/0/000"][:-32]}), [("archive", 0)]),
        (lambda f: f.update({"tile/0/000": b""}), [("archive", 0)]),
        (
            lambda f: f.update({"tile/entries/002.p/88": f["tile/entries/002.p/88"] + b"\0\1x"}),
            [("archive", 512)],
        ),
        (flip("tile/entries/000.p/200", 9), [("archive", 0)]),
        (flip("tile/0/000.p/200", 32 * 150), [("archive", 0)]),
        (lambda f: f.update({"tile/0/002.p/89": bytes(32 * 89)}), [("archive", 512)]),
        (lambda f: f.update({"tile/0/002": bytes(32 * 256)}), [("archive", 512)]),
        (lambda f: f.update({"tile/0/00x": b"stray"}), [("archive", 0)]),
        (lambda f: f.update({"tile/0/001.p/0": b""}), [("archive", 0)]),
    ],
    ids=[
        "a byte of an entry",
        "a byte of the last entry",
        "a hash in a full tile",
        "a hash in the partial tile",
        "a hash in an upper tile",
        "two entries swapped",
        "an entry doubled",
        "a tile in another's place",
        "a tile missing",
        "a bundle missing",
        "an upper tile missing",
        "the partial tile missing",
        "a tile too long",
        "a tile too short",
        "a tile empty",
        "an entry past the width of its bundle",
        "an older partial bundle",
        "an older partial tile",
        "a wider partial tile that goes on otherwise",
        "a full tile ahead that begins otherwise",
        "a stray file",
        "a tile of width 0",
    ],
)
async def test_attack_on_the_files_is_named(change: Change, found: list[tuple[str, int]]) -> None:
    breaks = await broken_by(change)
    assert [one for one in breaks if one[0] in {"altered", "archive"}] == found


async def test_bundle_and_tile_changed_alike_do_not_fold_to_the_tile_above() -> None:
    log = log_of()
    files = await published(log)
    forged = entries(log)
    forged[300] = entries(log_of(SIZE, b"other"))[300]
    files["tile/entries/001"] = encode_bundle(forged[256:512])
    files["tile/0/001"] = b"".join(sha256(b"\0" + e).digest() for e in forged[256:512])
    assert await breaks_of_files(files) == [("altered", 256)]


async def test_a_whole_other_history_under_the_checkpoint_is_found() -> None:
    files = await published(log_of(SIZE, b"other"))
    files["checkpoint"] = (await published(log_of()))["checkpoint"]
    assert await breaks_of_files(files) == [("altered", 0)]


async def test_both_files_of_a_number_missing_end_the_walk() -> None:
    def change(files: Files) -> None:
        del files["tile/entries/001"], files["tile/0/001"]

    assert await broken_by(change) == [("archive", 256)]


async def test_a_tile_that_is_lost_leaves_the_entries_to_be_checked() -> None:
    def change(files: Files) -> None:
        del files["tile/0/001"]
        flip("tile/entries/001", 100)(files)

    assert sorted(await broken_by(change)) == [("altered", 256), ("archive", 256)]


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda e: e.replace(b"\n4\n", b"\n5\n"), [("sequence", 4)]),
        (lambda e: e.replace(b"authz.decisions 0", b"authz.decisions 1"), [("altered", 4)]),
        (
            lambda e: e.replace(b"authz.decisions 0 12 ", b"authz.decisions 0 9 "),
            [("sequence", 4)],
        ),
        (lambda e: e.replace(b"attestream.leaf/v1", b"attestream.leaf/v2"), [("altered", 4)]),
        (lambda e: e + b"\n", [("altered", 4)]),
    ],
    ids=["index", "partition", "offset", "header", "a line more"],
)
async def test_signed_entries_that_are_no_history_of_this_log_are_found(
    edit: Callable[[bytes], bytes], found: list[tuple[str, int]]
) -> None:
    made = entries(log_of(9))
    assert edit(made[4]) != made[4]
    made[4] = edit(made[4])
    leaves = [sha256(b"\0" + entry).digest() for entry in made]
    frontier = Frontier()
    frontier.extend(leaves)
    files = {
        "checkpoint": note_of(9, frontier.root()),
        "tile/0/000.p/9": b"".join(leaves),
        "tile/entries/000.p/9": encode_bundle(made),
    }
    assert await breaks_of_files(files) == found


@pytest.mark.parametrize(
    ("note", "found"),
    [
        (b"no note", [("altered", 0)]),
        (b"\xff\xfe", [("altered", 0)]),
        (note_of(SIZE, EMPTY_ROOT), [("altered", 0)]),
        (note_of(SIZE, EMPTY_ROOT, "test.example/authz.decisions/1"), [("bad_signature", 0)]),
        (Key().note(SIZE, EMPTY_ROOT, ORIGIN).encode(), [("unknown_key", 0), ("altered", 0)]),
    ],
    ids=["no note", "no text", "another root", "another origin", "another key"],
)
async def test_a_forged_checkpoint_is_found(note: bytes, found: list[tuple[str, int]]) -> None:
    def change(files: Files) -> None:
        files["checkpoint"] = note

    assert sorted(await broken_by(change)) == sorted(found)


async def test_a_checkpoint_larger_than_its_tiles_is_found() -> None:
    def change(files: Files) -> None:
        files["checkpoint"] = note_of(SIZE + 1, EMPTY_ROOT)

    assert await broken_by(change) == [("archive", 512)]


async def test_an_older_checkpoint_is_intact_over_files_that_go_on() -> None:
    log = log_of()
    files = await published(log)
    (older,) = (b for b in batches_of(log) if b.size == SIZE // 3)
    files["checkpoint"] = older.checkpoint.note.encode()
    verdict = await verdict_of_files(files)
    assert (verdict.breaks, verdict.size) == ((), SIZE // 3)


async def test_partial_files_that_were_cleaned_up_are_no_break() -> None:
    def change(files: Files) -> None:
        for path in [path for path in files if path.endswith(".p/200")]:
            del files[path]

    assert await broken_by(change) == []


async def test_without_keys_shape_and_roots_are_checked() -> None:
    files = await published(log_of())
    files["checkpoint"] = Key().note(SIZE, EMPTY_ROOT, ORIGIN).encode()
    assert await breaks_of_files(files, Trust()) == [("altered", 0)]


def anchor(log: SealedLog, size: int) -> CheckpointText:
    frontier = Frontier()
    frontier.extend(log.leaves()[:size])
    return CheckpointText(ORIGIN, size, frontier.root())


@pytest.mark.parametrize("size", [1, 17, 256, 300, 512, SIZE])
async def test_anchors_of_any_size_are_compared(size: int) -> None:
    log = log_of()
    files = await published(log)
    honest = await verdict_of_files(files, Trust(keys=KEYS, anchors=(anchor(log, size),)))
    assert (honest.breaks, honest.anchored) == ((), "checked")
    other = anchor(log_of(SIZE, b"other"), size)
    trust = Trust(keys=KEYS, anchors=(anchor(log, 1), other) if size > 1 else (other,))
    assert await breaks_of_files(files, trust) == [("fork", 1 if size > 1 else 0)]


async def test_an_anchor_beyond_the_checkpoint_says_shorter() -> None:
    log = log_of()
    files = await published(log_of(SIZE - 1))
    trust = Trust(keys=KEYS, anchors=(anchor(log, SIZE),))
    assert await breaks_of_files(files, trust) == [("shorter_than_anchor", SIZE - 1)]


async def test_an_anchor_of_another_log_says_nothing() -> None:
    foreign = CheckpointText("test.example/authz.decisions/1", 5, EMPTY_ROOT)
    verdict = await verdict_of_files(
        await published(log_of()), Trust(keys=KEYS, anchors=(foreign,))
    )
    assert (verdict.breaks, verdict.anchored) == ((), "missing")


async def test_what_is_no_static_log_of_ours_is_unreadable() -> None:
    with pytest.raises(SourceUnreadableError, match="no checkpoint"):
        await verdict_of_files({})
    foreign = {"checkpoint": note_of(1, EMPTY_ROOT, "log.example")}
    with pytest.raises(SourceUnreadableError, match="not the log of an audit partition"):
        await verdict_of_files(foreign, Trust(), origin=None)


async def test_a_delete_marker_over_a_tile_is_a_missing_file() -> None:
    objects, log = MemoryObjectStore(), log_of()
    await run_tiler(objects, log)
    objects.mark_deleted(f"{PREFIX}tile/0/001")
    verdict = await verify_tiles(objects, TRUST, TileRequest(PREFIX))
    assert [(b.kind, b.index) for b in verdict.breaks] == [("archive", 256)]


async def test_a_log_written_on_beyond_its_checkpoint_is_intact() -> None:
    # Killed between the files and the checkpoint that covers them.
    objects, log = MemoryObjectStore(), log_of()
    await run_tiler(objects, log)
    log.append(300)
    log.checkpoint()
    killed = tiler(objects, log, PublishRules(held_max=1))
    for batch in batches_of(log, await killed.resume()):
        await killed.apply(batch)
    assert f"{PREFIX}tile/0/002" in {v.key for v in await objects.versions(PREFIX)}
    verdict = await verify_tiles(objects, TRUST, TileRequest(PREFIX))
    assert (verdict.breaks, verdict.size) == ((), SIZE)
