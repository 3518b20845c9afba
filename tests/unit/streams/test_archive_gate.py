"""A worker that starts while its archive is away, or on one that is refused."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import streams.objects.s3 as s3_store
from streams.archive_root import open_admitted
from streams.clock import SystemClock
from streams.errors import SettingsError, TransientError
from streams.objects.admission import TRIED_AGAIN_S, GatedStore
from streams.settings import load_settings
from tests.support.memory_objects import MemoryObjectStore
from tests.support.s3_fixtures import IMPATIENT


@dataclass
class HandClock(SystemClock):
    """Put on by hand."""

    at: float = 0.0

    def monotonic(self) -> float:
        return self.at


@dataclass
class Trial:
    """Fails with what it is given, one after the other, then passes."""

    failures: list[Exception] = field(default_factory=list)
    count: int = 0

    async def __call__(self) -> None:
        self.count += 1
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)


async def every_call(store: GatedStore) -> list[object]:
    calls: list[Coroutine[Any, Any, object]] = [
        store.create("a", b"x", retain_days=1),
        store.get("a"),
        store.head("a", "v1"),
        store.versions(""),
        store.newest("a"),
        store.replace("b", b"x"),
        store.check_bucket(),
    ]
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def test_nothing_is_read_or_written_before_the_bucket_was_tried() -> None:
    inner, clock = MemoryObjectStore(), HandClock()
    trial = Trial([TransientError("no answer"), SettingsError(["only pretends"])])
    gated = GatedStore(inner, trial, clock)
    assert {str(answer) for answer in await every_call(gated)} == {"no answer"}
    assert trial.count == 1
    clock.at += TRIED_AGAIN_S
    assert {str(answer) for answer in await every_call(gated)} == {"only pretends"}
    assert await inner.versions("") == []
    clock.at += TRIED_AGAIN_S
    assert not any(isinstance(answer, Exception) for answer in await every_call(gated))
    assert trial.count == 3
    assert [v.key for v in await inner.versions("")] == ["a", "b"]
    await gated.close()


async def test_a_worker_does_not_start_with_the_credentials_that_release_holds(
    tmp_path: Path,
) -> None:
    environ = {
        "ATTESTREAM_ARCHIVE": str(tmp_path),
        "S3_RELEASE_ACCESS_KEY": "id",
        "S3_RELEASE_SECRET": "hush",
    }
    with pytest.raises(SettingsError, match="stays off workers") as found:
        await open_admitted(load_settings(environ), SystemClock())
    assert "hush" not in str(found.value)


async def test_a_worker_starts_while_its_archive_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "Patience", lambda: IMPATIENT)
    environ = {
        "ATTESTREAM_ARCHIVE": "s3://my-archive/log",
        "S3_ENDPOINT": "http://127.0.0.1:9",
        "S3_ACCESS_KEY": "id",
        "S3_SECRET": "hush",
    }
    gated = await asyncio.wait_for(open_admitted(load_settings(environ), SystemClock()), 30)
    with pytest.raises(TransientError):
        await gated.get("a")
    await gated.close()
