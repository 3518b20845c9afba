"""The Clock port: milliseconds since the epoch, and seconds that never go back."""

import pytest

from streams.clock import SystemClock
from streams.ports import Clock

YEAR_2020_MS = 1_577_836_800_000
YEAR_2200_MS = 7_258_118_400_000


@pytest.fixture(params=[SystemClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_now_is_in_milliseconds_of_this_age(clock: Clock) -> None:
    assert YEAR_2020_MS < clock.now_ms() < YEAR_2200_MS


def test_monotonic_seconds_never_go_back(clock: Clock) -> None:
    read = [clock.monotonic() for _ in range(10_000)]
    assert read == sorted(read)
