"""Whoever is cancelled hears of it, whatever becomes of what was being waited for."""

import asyncio
from typing import NoReturn

import pytest

from streams.tasks import any_of, cancelled, let_end, side_by_side, unhurried


class Deaf:
    """Swallows its cancellation and ends some turns later, as a client's close does."""

    def __init__(self, turns: int = 3) -> None:
        self.turns = turns
        self.is_over = False

    async def run(self) -> None:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            await self._end()
            return
        await self._end()

    async def _end(self) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        self.is_over = True


async def cancel_after(turns: int, work: "asyncio.Task[None]") -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait({work})


@pytest.mark.parametrize("turns", range(8))
async def test_who_ends_a_task_hears_of_its_own_cancellation(turns: int) -> None:
    async def end() -> None:
        task = asyncio.create_task(Deaf(turns=10).run())
        await asyncio.sleep(0)
        await cancelled(task)

    ending = asyncio.create_task(end())
    await cancel_after(turns, ending)
    assert ending.cancelled()


@pytest.mark.parametrize("turns", range(8))
async def test_what_is_let_end_is_over_before_the_cancellation_goes_on(turns: int) -> None:
    work = Deaf()

    async def close() -> None:
        await let_end(work.run())

    closing = asyncio.create_task(close())
    await cancel_after(turns, closing)
    assert closing.cancelled()
    assert work.is_over or turns == 0


async def test_what_does_not_end_is_left_after_its_time() -> None:
    began = asyncio.get_running_loop().time()
    await let_end(asyncio.Event().wait(), 0.02)
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_cancellation_waits_no_longer_than_the_time_there_is() -> None:
    closing = asyncio.create_task(let_end(asyncio.Event().wait(), 0.05))
    await asyncio.sleep(0.01)
    closing.cancel()
    done, _ = await asyncio.wait({closing}, timeout=2)
    assert done
    assert closing.cancelled()


async def test_a_failure_while_ending_is_nobodys_concern() -> None:
    async def fail() -> None:
        raise OSError("the connection was gone already")

    await let_end(fail(), 1)


async def test_nothing_to_end_is_ended_at_once() -> None:
    await cancelled(None)
    await cancelled()


async def test_when_one_half_fails_the_other_is_over_before_that_is_raised() -> None:
    ended: list[str] = []

    async def fail() -> NoReturn:
        await asyncio.sleep(0)
        raise ValueError("the first half")

    async def wait() -> NoReturn:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("the second half")
        raise AssertionError("nobody sets it")

    with pytest.raises(ValueError, match="the first half"):
        await side_by_side(fail(), wait())
    assert ended == ["the second half"]


async def test_whichever_comes_first_ends_the_waiting() -> None:
    event = asyncio.Event()
    await any_of(event, set(), 0.01)
    task = asyncio.create_task(asyncio.sleep(0))
    await any_of(event, {task}, 5)
    assert task.done()
    event.set()
    await any_of(event, set(), 5)


@pytest.mark.parametrize("grace_s", [0.0, 1.0])
async def test_who_is_cancelled_lets_a_start_end_first_where_there_is_time(
    grace_s: float,
) -> None:
    opened: list[str] = []

    async def start() -> None:
        await asyncio.sleep(0.02)
        opened.append("whole")

    starting = asyncio.create_task(unhurried(start(), grace_s))
    await asyncio.sleep(0.005)
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    assert opened == (["whole"] if grace_s else [])


async def test_an_unhurried_work_is_what_it_comes_to() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise OSError("refused")

    assert await unhurried(answer(), 1) == 7
    with pytest.raises(OSError, match="refused"):
        await unhurried(fail(), 1)
