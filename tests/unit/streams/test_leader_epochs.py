"""Whether a source was cut, from what its leaders say of their epochs."""

from typing import Any, cast

import pytest

from schemas.records import Record
from streams.leader_epochs import LeaderEpochs
from streams.ports import Fetched, SourcePartition


class Leader:
    """Epoch to first offset, in order, and an end."""

    def __init__(self, starts: dict[int, int], end: int) -> None:
        self.starts, self.end = starts, end
        self.asked: list[tuple[int, int]] = []

    async def epoch_end(self, epoch: int, *, seen: int) -> int:
        self.asked.append((epoch, seen))
        later = [start for number, start in self.starts.items() if number > epoch]
        return min(later, default=self.end)


def page(low: int, end: int, epoch: int) -> Fetched:
    return Fetched([Record(at, 0, None, b"") for at in range(low, end)], end, epoch)


def epochs_over(leader: Any) -> LeaderEpochs:
    return LeaderEpochs(cast(SourcePartition, leader))


async def test_a_leader_is_asked_only_when_its_epoch_is_new() -> None:
    leader = Leader({0: 0, 4: 10}, 20)
    epochs = epochs_over(leader)
    assert await epochs.resume(0, 5) is None
    assert await epochs.admit(page(5, 10, 0)) is None
    assert leader.asked == []
    assert await epochs.admit(page(10, 15, 4)) is None
    assert leader.asked == [(0, 4)]
    assert await epochs.admit(page(15, 20, 4)) is None
    assert leader.asked == [(0, 4)]


@pytest.mark.parametrize(("start", "cut"), [(4, 4), (9, 9), (10, None), (12, None)])
async def test_what_the_new_leader_lacks_of_what_was_looked_through_is_a_cut(
    start: int, cut: int | None
) -> None:
    epochs = epochs_over(Leader({0: 0, 1: start}, 20))
    await epochs.resume(0, 3)
    await epochs.admit(page(3, 10, 0))
    assert await epochs.admit(page(10, 12, 1)) == cut


async def test_markers_count_as_looked_through() -> None:
    epochs = epochs_over(Leader({0: 0, 1: 8}, 20))
    await epochs.resume(0, 3)
    await epochs.admit(Fetched([], 10, 0))
    assert await epochs.admit(page(10, 12, 1)) == 8


async def test_a_cut_is_found_again_until_it_is_dealt_with() -> None:
    epochs = epochs_over(Leader({0: 0, 1: 8}, 20))
    await epochs.resume(0, 3)
    await epochs.admit(page(3, 10, 0))
    assert await epochs.admit(page(10, 12, 1)) == 8
    assert await epochs.resume(1, 10) == 8
    assert await epochs.check() == 8


async def test_what_others_sealed_under_later_epochs_is_no_cut() -> None:
    epochs = epochs_over(Leader({0: 0, 1: 8}, 40))
    await epochs.resume(0, 3)
    await epochs.admit(page(3, 8, 0))
    assert await epochs.resume(1, 30) is None
    assert await epochs.check() is None


async def test_a_source_without_epochs_is_never_asked() -> None:
    leader = Leader({}, 0)
    epochs = epochs_over(leader)
    assert await epochs.resume(-1, 3) is None
    assert await epochs.admit(Fetched([Record(3, 0, None, b"")], 4)) is None
    assert await epochs.check() is None
    assert leader.asked == []
