"""What is handed out of an archive: the log's own records, and nothing that was not verified."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streams.audit.checkpoint import CheckpointText
from streams.errors import BreakError
from streams.segments import encode_segment, manifest_name, segment_name
from streams.verifier import VerifiedSegment, archived_origins, verified_segments
from tests.support.archived_logs import Archive, Bucket, Folder, LyingBucket
from tests.support.forgeries import anchor, changed, flipped
from tests.support.signed_logs import KEY, ORIGIN, Key, checkpoint_of, usual_log


async def handed(archive: Archive, **asked: object) -> list[VerifiedSegment]:
    keys = KEY.trusted()
    return [
        segment
        async for segment in verified_segments(archive.store, ORIGIN, keys, **asked)  # type: ignore[arg-type]
    ]


async def handed_until(archive: Archive, **asked: object) -> tuple[int, tuple[str, int]]:
    """How many records were handed out before the first fault, and that."""
    count = 0
    keys = KEY.trusted()
    try:
        async for segment in verified_segments(archive.store, ORIGIN, keys, **asked):  # type: ignore[arg-type]
            count = segment.size
    except BreakError as error:
        return count, (error.kind, error.index)
    raise AssertionError("nothing was found")


async def test_all_rows_of_a_log_are_handed_out_verbatim_and_in_order(tmp_path: Path) -> None:
    for store in (Bucket(), Folder(tmp_path)):
        archive = await Archive(store).fill()
        segments = await handed(archive)
        assert [row for s in segments for row in s.rows] == archive.log.rows[:-2]
        assert [(s.first, s.size) for s in segments] == [(0, 4), (4, 8), (8, 12)]
        assert [s.checkpoint for s in segments] == [anchor(archive.log, n) for n in (4, 8, 12)]
        assert [s.data_bytes for s in segments] == [len(archive.files[n]) for n in (0, 4, 8)]
        assert segments[0].opening is None
        assert segments[1].opening == checkpoint_of(segments[0].rows[-1])
        assert await archived_origins(store) == [ORIGIN]


@pytest.mark.parametrize(
    ("start", "firsts"),
    [(0, [0, 4, 8]), (3, [0, 4, 8]), (4, [4, 8]), (11, [8]), (12, []), (99, [])],
)
async def test_it_begins_with_the_segment_that_holds_the_index(
    start: int, firsts: list[int]
) -> None:
    archive = await Archive(Bucket()).fill()
    assert [s.first for s in await handed(archive, start=start)] == firsts


async def test_the_last_segment_may_lack_its_manifest() -> None:
    archive = await Archive(Bucket()).fill(manifests=2)
    assert [s.size for s in await handed(archive)] == [4, 8, 12]
    assert [s.size for s in await handed(archive, start=11)] == [12]
    assert await handed(archive, start=12) == []


async def test_nothing_of_a_log_that_is_not_there_is_handed_out() -> None:
    assert await handed(Archive(Bucket())) == []


def altered(archive: Archive) -> bytes:
    rows = changed(archive.log.rows, 6, flipped)[6:11]
    return encode_segment(ORIGIN, 4, checkpoint_of(archive.log.rows[5]), rows)


@pytest.mark.parametrize(
    ("forge", "found"),
    [
        (altered, ("archive", 4)),
        (lambda archive: archive.files[8], ("archive", 4)),
        (lambda archive: archive.files[4] + b"x", ("archive", 4)),
    ],
)
async def test_nothing_behind_a_fault_is_handed_out(
    forge: Callable[[Archive], bytes], found: tuple[str, int]
) -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    store.put_instead(segment_name(ORIGIN, 4), forge(archive))
    assert await handed_until(archive) == (4, found) or await handed_until(archive) == (0, found)


async def test_a_record_that_no_manifest_vouches_for_is_verified_all_the_same() -> None:
    store = Bucket()
    archive = await Archive(store).fill(manifests=1, anchors=0)
    store.put_instead(segment_name(ORIGIN, 8), None)
    store.put_instead(segment_name(ORIGIN, 4), altered(archive))
    assert await handed_until(archive) == (4, ("altered", 6))


async def test_a_broken_chain_stops_before_the_first_row() -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    store.put_instead(manifest_name(ORIGIN, 4), None)
    assert await handed_until(archive) == (0, ("archive", 4))


async def test_a_segment_that_does_not_begin_where_the_one_before_ended_is_kept_back() -> None:
    store = Bucket()
    other = usual_log(Key("thief"))
    archive = await Archive(store).fill(manifests=2, anchors=0)
    body = encode_segment(ORIGIN, 8, checkpoint_of(other.rows[10]), archive.log.rows[11:16])
    store.put_instead(segment_name(ORIGIN, 8), body)
    assert await handed_until(archive, start=8) == (0, ("archive", 8))
    assert (await handed_until(archive))[0] == 8


async def test_an_anchor_beyond_the_end_raises_behind_the_last_segment() -> None:
    archive = await Archive(Bucket()).fill()
    beyond = CheckpointText(ORIGIN, 13, b"\1" * 32)
    assert await handed_until(archive, anchors=[beyond]) == (12, ("shorter_than_anchor", 12))
    assert len(await handed(archive, anchors=[anchor(archive.log, 12)])) == 3


async def test_other_bytes_of_the_same_rows_are_not_handed_out() -> None:
    store = LyingBucket()
    archive = await Archive(store).fill()
    store.put_instead(segment_name(ORIGIN, 4), archive.encoded_again(4))
    assert await handed_until(archive) == (4, ("archive", 4))


async def test_segment_that_does_not_end_sealed_is_not_handed_out() -> None:
    store = Bucket()
    archive = await Archive(store).fill(manifests=2)
    rows = archive.log.rows[11:]
    body = encode_segment(ORIGIN, 8, checkpoint_of(archive.log.rows[10]), rows)
    store.put_instead(segment_name(ORIGIN, 8), body)
    assert await handed_until(archive) == (8, ("unsealed_tail", 12))
