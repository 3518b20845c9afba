"""Two places for claims, verdicts and anchors: either counts, and neither alone decides."""

import asyncio
import shutil
from pathlib import Path

import pytest

from streams.anchors import AnchorStore, Claim
from streams.archive_root import newest_anchors, open_anchors
from streams.audit.checkpoint import CheckpointText
from streams.errors import IdentityError, RollbackError, SettingsError, TransientError
from streams.objects.directory import DirectoryObjectStore
from streams.second_anchors import PairedAnchors, copy_beside
from streams.settings import Settings, load_settings
from streams.telemetry.health import Health
from streams.verdicts import Verdict
from tests.support.faulty_objects import FaultyObjects
from tests.support.signed_logs import KEY, ORIGIN

KEYS = KEY.trusted()
ROOT, OTHER = b"r" * 32, b"o" * 32
CLAIM = Claim("c", "audit-1", "c", "source-1", 0)
GAP = Verdict("gap", "retention took records", 5, ROOT, 9)


class Places:
    """An archive, and a place beside it that can be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.folders = folder / "archive", folder / "second"
        self.is_down = False
        first, second = (DirectoryObjectStore(path) for path in self.folders)
        self.first = AnchorStore(first, retain_days=1)
        self.second = AnchorStore(
            FaultyObjects(second, lambda _call, _number: "lost" if self.is_down else ""),
            retain_days=1,
        )
        self.both = PairedAnchors(self.first, self.second)

    def lose(self, number: int) -> None:
        shutil.rmtree(self.folders[number])


@pytest.fixture
def at(tmp_path: Path) -> Places:
    return Places(tmp_path)


def text(size: int, root: bytes = ROOT) -> CheckpointText:
    return CheckpointText(ORIGIN, size, root)


# --- claims ---


async def test_claim_stands_in_both_places(at: Places) -> None:
    assert await at.both.claim(ORIGIN) is None
    assert await at.both.make_claim(ORIGIN, CLAIM) == CLAIM
    for one in (at.first, at.second, at.both):
        assert await one.claim(ORIGIN) == CLAIM


@pytest.mark.parametrize("lost", [0, 1])
async def test_claim_that_one_place_lost_is_found_in_the_other_and_stands_in_both_again(
    at: Places, lost: int
) -> None:
    await at.both.make_claim(ORIGIN, CLAIM)
    at.lose(lost)
    assert await at.both.claim(ORIGIN) == CLAIM
    assert await at.first.claim(ORIGIN) == await at.second.claim(ORIGIN) == CLAIM


async def test_whoever_was_first_in_the_archive_decides_for_both(at: Places) -> None:
    theirs = CLAIM._replace(audit_topic_id="audit-2")
    await at.first.make_claim(ORIGIN, theirs)
    assert await at.both.make_claim(ORIGIN, CLAIM) == theirs
    assert await at.second.claim(ORIGIN) == theirs


async def test_two_claims_that_differ_stop_the_log(at: Places) -> None:
    await at.first.make_claim(ORIGIN, CLAIM)
    await at.second.make_claim(ORIGIN, CLAIM._replace(first_offset=7))
    with pytest.raises(IdentityError, match="ATTESTREAM_ANCHORS"):
        await at.both.claim(ORIGIN)
    with pytest.raises(IdentityError):
        await at.both.make_claim(ORIGIN, CLAIM)


# --- anchors ---


@pytest.mark.parametrize("lost", [0, 1])
async def test_newest_anchor_is_that_of_either_place(at: Places, lost: int) -> None:
    await at.both.put(ORIGIN, 4, KEY.note(4, ROOT))
    await (at.first if lost else at.second).put(ORIGIN, 9, KEY.note(9, ROOT))
    assert await at.both.newest(ORIGIN, KEYS) == text(9)
    at.lose(lost)
    assert await at.both.newest(ORIGIN, KEYS) == text(9)


async def test_archive_that_was_rewritten_is_convicted_by_the_other_place(at: Places) -> None:
    await at.both.put(ORIGIN, 9, KEY.note(9, ROOT))
    at.lose(0)
    await at.first.put(ORIGIN, 9, KEY.note(9, OTHER))
    with pytest.raises(RollbackError, match="two histories"):
        await at.both.newest(ORIGIN, KEYS)


async def test_newest_anchor_is_copied_once_and_verbatim(at: Places) -> None:
    assert await at.both.copy(ORIGIN, KEYS) == -1
    await at.first.put(ORIGIN, 4, KEY.note(4, ROOT))
    assert await at.both.copy(ORIGIN, KEYS) == 4
    assert await at.second.newest_note(ORIGIN, KEYS) == (text(4), KEY.note(4, ROOT))
    at.is_down = True
    assert await at.both.copy(ORIGIN, KEYS, 4) == 4
    await at.first.put(ORIGIN, 9, KEY.note(9, ROOT))
    with pytest.raises(TransientError):
        await at.both.copy(ORIGIN, KEYS, 4)


async def test_second_place_that_is_down_is_waited_for_at_a_start(at: Places) -> None:
    await at.both.make_claim(ORIGIN, CLAIM)
    at.is_down = True
    for asked in (at.both.claim, at.both.verdicts):
        with pytest.raises(TransientError):
            await asked(ORIGIN)
    with pytest.raises(TransientError):
        await at.both.newest(ORIGIN, KEYS)


async def test_second_place_that_is_down_delays_only_the_copy(at: Places) -> None:
    await at.first.put(ORIGIN, 4, KEY.note(4, ROOT))
    at.is_down, health, over = True, Health(), asyncio.Event()

    async def sealing() -> None:
        await over.wait()

    beside = asyncio.create_task(copy_beside(sealing(), at.both, (ORIGIN, KEYS), 0.01, health))
    await asyncio.sleep(0.05)
    assert not beside.done()
    assert any("cannot copy anchors" in problem for problem in health.agents.values())
    at.is_down = False
    async with asyncio.timeout(5):
        while await at.second.newest(ORIGIN, KEYS) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert not any(health.agents.values())
    over.set()
    await beside


# --- verdicts ---


@pytest.mark.parametrize("lost", [0, 1])
async def test_verdict_of_either_place_stands(at: Places, lost: int) -> None:
    await at.both.keep_verdict(ORIGIN, GAP)
    assert await at.both.verdicts(ORIGIN) == [GAP]
    at.lose(lost)
    assert await at.both.verdicts(ORIGIN) == [GAP]
    later = GAP._replace(size=8)
    await (at.first if lost else at.second).keep_verdict(ORIGIN, later)
    assert sorted(v.size for v in await at.both.verdicts(ORIGIN)) == [5, 8]


# --- settings ---


def settings(folder: Path, **more: str) -> Settings:
    return load_settings({"ATTESTREAM_HOME": str(folder / "home")} | more)


async def test_second_place_is_opened_where_it_is_set(tmp_path: Path) -> None:
    async with open_anchors(settings(tmp_path)) as anchors:
        assert not isinstance(anchors, PairedAnchors)
    paired = settings(tmp_path, ATTESTREAM_ANCHORS=str(tmp_path / "second"))
    async with open_anchors(paired) as anchors:
        assert isinstance(anchors, PairedAnchors)
        await anchors.put(ORIGIN, 4, KEY.note(4, ROOT))
    await AnchorStore(DirectoryObjectStore(tmp_path / "second"), retain_days=1).put(
        ORIGIN, 9, KEY.note(9, ROOT)
    )
    assert await newest_anchors(paired, ORIGIN, KEYS) == {"anchored": 4, "anchored_second": 9}
    assert await newest_anchors(settings(tmp_path), ORIGIN, KEYS) == {"anchored": 4}


async def test_second_place_that_is_the_archive_is_refused(tmp_path: Path) -> None:
    same = settings(tmp_path, ATTESTREAM_ANCHORS=str(tmp_path / "home" / "archive") + "/")
    with pytest.raises(SettingsError, match="is the archive itself"):
        async with open_anchors(same):
            pass
