"""Reading a part of an archive: what an earlier run did not see, or what a seed chose."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streams.audit.note import TrustedKeys
from streams.clock import SystemClock
from streams.errors import SettingsError, TransientError
from streams.segments import anchor_name, manifest_name, segment_name
from streams.verifier import (
    ArchiveReport,
    ArchiveRequest,
    LogVerdict,
    Remembered,
    Sample,
    Trust,
    verify_archive,
)
from tests.support.archived_logs import TRUST, Archive, Bucket, Folder, LyingBucket, breaks, told
from tests.support.forgeries import anchor
from tests.support.memory_objects import EPOCH
from tests.support.signed_logs import BASE, KEY, ORIGIN, TOPIC, Key, SignedLog

KEYS = KEY.trusted()


@dataclass(slots=True)
class Watched(Bucket):
    """Remembers which segments were read."""

    read: list[int] = field(default_factory=list)
    refuses: int = -1

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        if "segments/" in key:
            first = int(key[-25:-5])
            if first == self.refuses:
                raise TransientError("the store does not answer")
            self.read.append(first)
        return await Bucket.get(self, key, version_id)


async def again(
    archive: Archive,
    path: Path,
    level: str = "record",
    *,
    whole: bool = False,
    keys: TrustedKeys = KEYS,
    trust: Trust = TRUST,
) -> LogVerdict:
    with Remembered.open(path, keys, SystemClock(), whole=whole) as remembered:
        return await told(archive, level, trust, remembered=remembered)


def report(verdict: LogVerdict) -> ArchiveReport:
    assert verdict.archive is not None
    return verdict.archive


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "verified.json"


def text_of(memory: Path) -> str:
    return memory.read_text() if memory.exists() else ""


def write(memory: Path, text: str) -> None:
    memory.write_text(text)


# --- what was verified before ---


async def test_second_run_reads_the_last_segment_alone_and_says_so(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    first = await again(archive, memory)
    assert (store.read, report(first).remembered) == ([0, 4, 8], 0)
    store.read.clear()
    second = await again(archive, memory)
    assert store.read == [8]
    assert (second.breaks, second.size, second.records, second.note) == ((), 12, 4, first.note)
    found = report(second)
    assert (found.read, found.remembered, found.is_whole) == (1, 2, True)
    assert "2 segments verified in earlier runs, since" in "\n".join(found.to_lines())


async def test_run_that_was_cut_short_is_gone_on_with(memory: Path) -> None:
    store = Watched(refuses=8)
    archive = await Archive(store).fill()
    with pytest.raises(TransientError):
        await again(archive, memory)
    store.refuses = -1
    store.read.clear()
    verdict = await again(archive, memory)
    assert store.read == [4, 8], "the seam is walked again"
    assert (verdict.breaks, report(verdict).remembered) == ((), 1)


async def test_whole_reads_everything_whatever_is_remembered(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    await again(archive, memory)
    store.read.clear()
    verdict = await again(archive, memory, whole=True)
    assert (store.read, report(verdict).remembered) == ([0, 4, 8], 0)


async def test_deeper_level_reads_again_and_a_lesser_one_does_not(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    await again(archive, memory, "file")
    store.read.clear()
    assert report(await again(archive, memory, "record")).remembered == 0
    assert store.read == [0, 4, 8]
    store.read.clear()
    assert report(await again(archive, memory, "file")).remembered == 2
    assert store.read == [8]


async def test_archive_that_grew_is_read_from_the_seam_on(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill(manifests=2)
    await again(archive, memory)
    grown = await Archive(Watched()).fill()
    archive.store = grown.store
    verdict = await again(grown, memory)
    assert isinstance(grown.store, Watched)
    assert (grown.store.read, verdict.size) == ([4, 8], 12)


@pytest.mark.parametrize(
    "forge",
    [
        lambda archive: archive.files[4][:-1],
        lambda archive: archive.files[8],
        lambda archive: archive.files[4] + b"more",
        lambda archive: archive.encoded_again(4),
    ],
)
@pytest.mark.parametrize("kind", [Bucket, Folder])
async def test_change_that_the_store_tells_of_is_not_hidden_by_what_is_remembered(
    kind: type, forge: Callable[[Archive], bytes], memory: Path, tmp_path: Path
) -> None:
    store = Folder(tmp_path / "archive") if kind is Folder else Bucket()
    archive = await Archive(store).fill()
    await again(archive, memory)
    store.put_instead(segment_name(ORIGIN, 4), forge(archive))
    verdict = await again(archive, memory)
    assert ("archive", 4) in [(b.kind, b.index) for b in verdict.breaks]


async def test_whatever_is_wrong_with_the_chain_everything_is_read_again(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    await again(archive, memory)
    store.read.clear()
    store.put_instead(segment_name(ORIGIN, 0), archive.encoded_again(0))
    assert (await again(archive, memory)).breaks
    assert store.read == [0, 4, 8]


async def test_change_that_a_store_lies_about_shows_when_everything_is_read_again(
    memory: Path,
) -> None:
    store = LyingBucket()
    archive = await Archive(store).fill()
    await again(archive, memory)
    store.put_instead(segment_name(ORIGIN, 0), archive.encoded_again(0))
    assert (await again(archive, memory)).breaks == (), "as is written in how-to/verify-offline"
    verdict = await again(archive, memory, whole=True)
    assert [(b.kind, b.index) for b in verdict.breaks] == [("archive", 0)]


async def test_nothing_is_remembered_behind_a_break(memory: Path) -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    store.put_instead(segment_name(ORIGIN, 4), archive.encoded_again(4))
    assert (await again(archive, memory)).breaks
    assert text_of(memory) == ""
    lying = LyingBucket()
    archive = await Archive(lying).fill()
    lying.put_instead(segment_name(ORIGIN, 8), archive.encoded_again(8))
    assert (await again(archive, memory)).breaks
    assert json.loads(text_of(memory))["logs"][ORIGIN]["record"]["first"] == 4


async def test_anchor_inside_what_is_remembered_is_compared_all_the_same(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    await again(archive, memory)
    store.read.clear()
    inside = anchor(archive.log, 2)
    good = Trust(keys=KEYS, anchors=(inside,))
    verdict = await again(archive, memory, trust=good)
    assert (store.read, verdict.breaks, verdict.anchored) == ([0, 8], (), "checked")
    bad = Trust(keys=KEYS, anchors=(inside._replace(root=b"\1" * 32),))
    assert [b.kind for b in (await again(archive, memory, trust=bad)).breaks] == ["fork"]


async def test_memory_is_bound_to_the_keys_it_was_made_with(memory: Path) -> None:
    archive = await Archive(Bucket()).fill()
    await again(archive, memory)
    with pytest.raises(SettingsError, match="other keys"):
        await again(archive, memory, keys=Key("thief").trusted())
    with (
        pytest.raises(SettingsError, match="give keys"),
        Remembered.open(memory, None, SystemClock()),
    ):
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:0],
        lambda text: text[:0] + "{}",
        lambda text: text.replace("verified/v1", "verified/v2"),
        lambda text: text.replace('"first": 8', '"first": -8'),
        lambda text: text.replace('"first": 8', '"first": "8"'),
        lambda text: text.replace('"manifest": "', '"manifest": "x'),
        lambda text: text.replace('"at_ms"', '"at"'),
    ],
)
async def test_file_that_is_no_memory_is_refused_and_kept(
    change: Callable[[str], str], memory: Path
) -> None:
    archive = await Archive(Bucket()).fill()
    await again(archive, memory)
    write(memory, change(text_of(memory)))
    before = text_of(memory)
    with pytest.raises(SettingsError, match=r"verified\.json"):
        await again(archive, memory)
    assert text_of(memory) == before


async def test_memory_of_older_rules_counts_no_more(memory: Path) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    await again(archive, memory)
    write(memory, text_of(memory).replace('"rules": 1', '"rules": 0'))
    store.read.clear()
    assert (await again(archive, memory)).breaks == ()
    assert store.read == [0, 4, 8]


@pytest.mark.parametrize("whole", [False, True])
async def test_archive_put_back_to_before_what_was_verified_is_a_break(
    whole: bool, memory: Path
) -> None:
    store = Bucket()
    archive = await Archive(store).fill()
    await again(archive, memory)
    before = text_of(memory)
    for name in (segment_name(ORIGIN, 8), manifest_name(ORIGIN, 8), anchor_name(ORIGIN, 12)):
        store.put_instead(name, None)
    assert await breaks(archive) == [], "without the memory nothing shows it"
    verdict = await again(archive, memory, whole=whole)
    assert [(b.kind, b.index) for b in verdict.breaks] == [("archive", 8)]
    assert "what was verified before" in verdict.breaks[0].detail
    assert text_of(memory) == before, "the evidence is kept"


async def test_another_history_signed_by_the_same_key_is_not_what_was_verified(
    memory: Path,
) -> None:
    await again(await Archive(Bucket()).fill(), memory)
    before = text_of(memory)
    other = SignedLog()
    other.next_source_offset += 1
    for _ in range(3):
        other.extend(4).checkpoint()
    forged = await Archive(Bucket(), other.extend(2)).fill()
    assert await breaks(forged) == []
    verdict = await again(forged, memory)
    assert ("archive", 8) in [(b.kind, b.index) for b in verdict.breaks]
    assert text_of(memory) == before


async def test_log_that_was_verified_and_is_gone_from_its_archive_is_a_break(
    memory: Path,
) -> None:
    archive = await Archive(Bucket()).fill()
    await again(archive, memory)
    members = json.loads(text_of(memory))
    gone = f"{BASE}/{TOPIC}/7"
    members["logs"][gone] = members["logs"][ORIGIN]
    members["logs"]["elsewhere/t/0"] = members["logs"][ORIGIN]
    members["logs"]["no log"] = members["logs"][ORIGIN]
    write(memory, json.dumps(members))
    with Remembered.open(memory, KEYS, SystemClock()) as remembered:
        asked = ArchiveRequest(locked=True, now=EPOCH, remembered=remembered)
        found = await verify_archive(archive.store, TRUST, asked)
    said = {log.origin: [(b.kind, b.index) for b in log.breaks] for log in found}
    assert said == {ORIGIN: [], gone: [("archive", 0)]}


async def test_run_that_reads_everything_again_forgets_nothing_when_it_is_cut_short(
    memory: Path,
) -> None:
    store = Watched()
    archive = await Archive(store).fill()
    await again(archive, memory)
    before = text_of(memory)
    store.refuses = 8
    with pytest.raises(TransientError):
        await again(archive, memory, whole=True)
    assert text_of(memory) == before


# --- a sample ---


@pytest.mark.parametrize(("percent", "count"), [(0.1, 1), (33, 1), (34, 2), (67, 3), (100, 3)])
def test_sample_takes_so_many_segments_the_same_for_a_seed(percent: float, count: int) -> None:
    taken = [Sample(percent, str(seed)).of(ORIGIN, [0, 4, 8]) for seed in range(20)]
    assert {len(one) for one in taken} == {count}
    assert Sample(percent, "7").of(ORIGIN, [0, 4, 8]) == taken[7]
    assert len({frozenset(one) for one in taken}) > 1 or count == 3


async def test_sample_and_the_last_segment_are_read_and_all_of_the_chain() -> None:
    store = Watched()
    archive = await Archive(store).fill()
    trust = Trust(keys=KEYS, anchors=(anchor(archive.log, 4), anchor(archive.log, 12)))
    for seed in range(8):
        sample = Sample(1, str(seed))
        store.read.clear()
        verdict = await told(archive, trust=trust, sample=sample)
        taken = sorted({4 * at for at in sample.of(ORIGIN, [0, 4, 8])} | {8})
        assert store.read == taken
        assert (verdict.breaks, verdict.anchored, verdict.size) == ((), "checked", 12)
        assert verdict.records == 4 * len(taken)
        found = report(verdict)
        assert (found.read, found.percent, found.seed) == (len(taken), 1, str(seed))
        assert verdict.note == "", "nothing is remembered by --state that was not read"
        assert not found.is_whole


async def test_break_in_a_sampled_segment_is_named_and_one_beside_it_is_not() -> None:
    store = LyingBucket()
    archive = await Archive(store).fill()
    seeds = {4 * next(iter(Sample(1, str(s)).of(ORIGIN, [0, 4, 8]))): str(s) for s in range(20)}
    store.put_instead(segment_name(ORIGIN, 4), archive.encoded_again(4))
    assert await breaks(archive, sample=Sample(1, seeds[4])) == [("archive", 4)]
    assert await breaks(archive, sample=Sample(1, seeds[0])) == []
    assert await breaks(archive, "file", sample=Sample(1, seeds[4])) == [("archive", 4)]
