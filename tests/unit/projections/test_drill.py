"""A drill finds what is wrong with an archive, picks by its seed alone, and says what it did."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from projections.drill.fold import Candidate, Report, chosen, sampled
from projections.drill.promise import LastDrills
from projections.drill.running import (
    DrillRequest,
    finished_event,
    publish_drill,
    run_drill,
    write_report,
)
from projections.replay.opening import Replay, ReplayRequest, open_replay
from schemas.codec import encode_operation_event
from streams.clock import SystemClock
from streams.settings import Settings, load_settings
from tests.support.operation_events import DRILLED
from tests.support.replays import archive_of, archived, copied, long_log, place_at
from tests.support.sealed_log import BASE, KEYS, ORIGIN, START_MS

LOG = long_log()
CLOCK = SystemClock()
ALL = [Candidate(f"o/t/{n % 3}", n, 10) for n in range(40)]


def settings(folder: Path) -> Settings:
    return load_settings(
        {
            "ATTESTREAM_HOME": str(folder / "home"),
            "ATTESTREAM_ARCHIVE": str(folder / "archive"),
            "ATTESTREAM_ORIGIN": BASE,
        }
    )


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Replay]:
    request = ReplayRequest(source="archive", keys=KEYS, with_deployment=True)
    async with open_replay(settings(folder), request) as replay:
        yield replay


async def drilled(folder: Path, segments: int = 10) -> Report:
    async with opened(folder) as replay:
        return await run_drill(replay, DrillRequest(segments=segments, seed="seed"), CLOCK)


def segments_in(folder: Path) -> list[Path]:
    return sorted((folder / "archive").rglob("*.avro"))


def test_the_seed_alone_chooses() -> None:
    picked = chosen(ALL, "a", 5)
    assert len(picked) == 5
    assert chosen(reversed(ALL), "a", 5) == picked
    assert len({tuple(chosen(ALL, seed, 5)) for seed in "abcdefgh"}) == 8
    assert chosen(ALL, "a", 100) == sorted(ALL)


def test_samples_hold_both_ends_and_never_leave_the_segment() -> None:
    for first, size in ((0, 1), (5, 21), (5, 22), (10, 100_000)):
        picked = sampled(first, size, "seed")
        assert picked == sorted(set(picked))
        assert len(picked) == min(16, size - first)
        assert (picked[0], picked[-1]) == (first, size - 1)


async def test_a_good_archive_passes_without_its_deployment(tmp_path: Path) -> None:
    await archive_of(LOG, tmp_path / "archive")
    report = await drilled(tmp_path)
    assert report.passed
    assert report.records == LOG.size
    assert [s.proofs for s in report.segments] == [s.records for s in report.segments]
    assert {s.live for s in report.segments} == {"the deployment was not opened"}
    (log,) = report.logs
    assert (log.size, log.unarchived) == (LOG.size, None)
    age = CLOCK.now_ms() / 1000 - (START_MS + LOG.size - 1) / 1000
    assert report.newest_age_s == pytest.approx(age, abs=5)


async def test_the_report_says_it_in_words_and_in_json(tmp_path: Path) -> None:
    await archive_of(LOG, tmp_path / "archive")
    report = await drilled(tmp_path, 2)
    page, data = write_report(report, tmp_path / "reports")
    told = json.loads(data.read_text())
    assert told["passed"] is True
    assert told["seed"] == "seed"
    assert len(told["segments"]) == 2
    assert "**Passed.** 2 segments" in page.read_text()
    event = finished_event(report, CLOCK)
    assert (event.passed, event.records, event.segments) == (True, report.records, 2)
    assert encode_operation_event(event)
    async with opened(tmp_path) as replay:
        assert "could not be opened" in await publish_drill(replay, report, CLOCK)


@pytest.mark.parametrize("attack", ["flip", "truncate", "append", "swap", "remove"])
async def test_a_segment_that_is_not_what_it_was_fails_the_drill(
    tmp_path: Path, attack: str
) -> None:
    await archive_of(LOG, tmp_path / "archive")
    one, other, *_ = segments_in(tmp_path)
    data = one.read_bytes()
    one.chmod(0o600)
    match attack:
        case "flip":
            one.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
        case "truncate":
            one.write_bytes(data[:-20])
        case "append":
            one.write_bytes(data + b"\0")
        case "swap":
            one.write_bytes(other.read_bytes())
        case _:
            one.unlink()
    report = await drilled(tmp_path)
    assert not report.passed
    assert "FAILED" in report.as_markdown()
    event = finished_event(report, CLOCK)
    assert (event.passed, bool(event.failures)) == (False, True)


async def test_a_manifest_that_is_gone_fails_the_drill(tmp_path: Path) -> None:
    await archive_of(LOG, tmp_path / "archive")
    min((tmp_path / "archive").rglob("*.json")).unlink()
    report = await drilled(tmp_path, 0)
    assert report.logs[0].faults, "told of a log of which nothing was picked, too"
    assert not report.passed


def test_an_empty_archive_is_no_pass() -> None:
    report = Report(began="", seed="s", asked=1, segments=(), logs=(), seconds=0)
    assert report.failures == ("nothing is archived: there was nothing to restore",)


async def test_the_log_itself_is_compared_where_it_is(tmp_path: Path) -> None:
    store = await archive_of(LOG, tmp_path / "archive")
    async with place_at(tmp_path / "home") as place:
        await copied(archived(store), place)
    report = await drilled(tmp_path)
    assert report.passed
    assert sum(s.compared for s in report.segments) == LOG.size
    assert report.logs[0].unarchived == 0


async def test_a_log_that_differs_from_its_archive_fails_the_drill(tmp_path: Path) -> None:
    await archive_of(LOG, tmp_path / "archive")
    other = await archive_of(long_log(salt=b"other"), tmp_path / "other")
    async with place_at(tmp_path / "home") as place:
        await copied(archived(other), place)
    report = await drilled(tmp_path)
    assert any("another record" in failure for failure in report.failures)
    assert any("has the root" in failure for failure in report.failures)
    assert {s.origin for s in report.segments} == {ORIGIN}


def test_the_promise_is_kept_by_drills_that_passed() -> None:
    hour_ms = 3_600_000
    now_ms = DRILLED.finished_at // 1000 + hour_ms
    assert LastDrills(DRILLED, DRILLED).age_s(now_ms) == 3_600
    assert LastDrills(DRILLED, None).age_s(now_ms) == float("inf")
    assert LastDrills().age_s(now_ms) == float("inf")
