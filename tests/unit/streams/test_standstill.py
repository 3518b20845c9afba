"""A stopped partition whose verdict cannot be stored: it stays stopped, and tries again."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams import standstill
from streams.anchors import AnchorStore
from streams.errors import (
    OutcomeUnknownError,
    PolicyError,
    SettingsError,
    SourceChangedError,
    TransientError,
)
from streams.recovery import LogWorld
from streams.standstill import Standstill
from streams.trust import GivenTrust
from tests.support.memory_objects import MemoryObjectStore

ORIGIN = "audit.example.com/authz.decisions/0"
FAILURES = [TransientError("no answer"), SettingsError(["denied"]), OutcomeUnknownError("lost")]


class Refusing(MemoryObjectStore):
    """Fails in every way there is, one after another, and then works."""

    failures = 0

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        if Refusing.failures < len(FAILURES):
            Refusing.failures += 1
            raise FAILURES[Refusing.failures - 1]
        return await super().create(key, body, retain_days=retain_days)


async def test_a_verdict_is_kept_whatever_fails_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "RETRY_S", 0.001)
    anchors = AnchorStore(Refusing(), retain_days=1)
    world: Any = SimpleNamespace(origin=ORIGIN, anchors=anchors, trust=GivenTrust([], "audit"))
    found = SourceChangedError("the source was truncated")
    found.reached = (7, 3, bytes(32))
    waiting = asyncio.create_task(Standstill(cast(LogWorld, world)).wait_out(found))
    async with asyncio.timeout(5):
        while not await anchors.verdicts(ORIGIN):  # noqa: ASYNC110  # a store has no events
            await asyncio.sleep(0.001)
    assert Refusing.failures == len(FAILURES)
    assert not waiting.done()
    waiting.cancel()


async def test_what_an_operator_mends_in_kafka_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standstill, "RECHECK_S", 0.001)
    anchors = AnchorStore(MemoryObjectStore(), retain_days=1)
    world: Any = SimpleNamespace(origin=ORIGIN, anchors=anchors, trust=GivenTrust([], "audit"))
    found = PolicyError("compact")
    found.reached = (7, 3, bytes(32))
    await Standstill(cast(LogWorld, world)).wait_out(found)
    assert await anchors.verdicts(ORIGIN) == []
