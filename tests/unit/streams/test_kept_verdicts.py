"""Verdicts beside the claim: numbered, never overwritten, each finding once."""

import asyncio

import pytest

from streams.anchors import AnchorStore
from streams.errors import OutcomeUnknownError, VerificationError
from streams.segments import verdict_name
from streams.verdicts import Verdict
from tests.support.memory_objects import MemoryObjectStore

ORIGIN = "audit.example.com/authz.decisions/0"
GAP = Verdict("gap", "retention took records", 3, bytes(32), 7)


async def test_a_log_without_a_verdict_has_none() -> None:
    assert await AnchorStore(MemoryObjectStore(), retain_days=1).verdicts(ORIGIN) == []


async def test_verdicts_are_kept_in_order_and_each_finding_once() -> None:
    store = AnchorStore(MemoryObjectStore(), retain_days=1)
    later = GAP._replace(offset=9)
    for verdict in (GAP, GAP._replace(sentence="in other words"), later, GAP, later):
        await store.keep_verdict(ORIGIN, verdict)
    assert await store.verdicts(ORIGIN) == [GAP, later]


async def test_two_who_keep_different_verdicts_at_once_keep_both() -> None:
    store = AnchorStore(MemoryObjectStore(), retain_days=1)
    found = [GAP._replace(offset=offset) for offset in range(5)]
    await asyncio.gather(*(store.keep_verdict(ORIGIN, verdict) for verdict in found))
    assert sorted(await store.verdicts(ORIGIN)) == sorted(found)


async def test_a_verdict_laid_over_by_another_version_is_the_first_one() -> None:
    objects = MemoryObjectStore()
    store = AnchorStore(objects, retain_days=1)
    await store.keep_verdict(ORIGIN, GAP)
    objects.overlay(verdict_name(ORIGIN), GAP._replace(reason="rollback").render())
    objects.mark_deleted(verdict_name(ORIGIN))
    assert await store.verdicts(ORIGIN) == [GAP]


async def test_what_is_no_verdict_stops_whoever_reads_it() -> None:
    objects = MemoryObjectStore()
    await objects.create(verdict_name(ORIGIN), b"go on", retain_days=1)
    with pytest.raises(VerificationError, match="a stored verdict is unreadable"):
        await AnchorStore(objects, retain_days=1).verdicts(ORIGIN)


async def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    class Forgetful(MemoryObjectStore):
        async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
            await super().create(key, body, retain_days=retain_days)
            raise OutcomeUnknownError(key)

    store = AnchorStore(Forgetful(), retain_days=1)
    with pytest.raises(OutcomeUnknownError):
        await store.keep_verdict(ORIGIN, GAP)
    await store.keep_verdict(ORIGIN, GAP)
    assert await store.verdicts(ORIGIN) == [GAP]
