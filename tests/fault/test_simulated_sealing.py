"""The real sealer in a simulated world: faults at every durable write, damage, and every law.

`tests/fault/simulator` says what is simulated and which laws are checked after every write. A
failing history is printed with the command that runs it again, with a trace.
"""

import os

import pytest

from tests.fault.simulator.campaign import run_all, run_on_all_cores
from tests.fault.simulator.history import run_history
from tests.fault.simulator.mixes import CELLS, MIXES

# Long enough in virtual time for the checks of each minute, and so the dear ones.
DAMAGED = [name for name, mix in MIXES.items() if mix.damages]
OTHERS = [name for name, mix in MIXES.items() if not mix.damages and not mix.table]
SEEDS, SEEDS_DAMAGED, SEEDS_A_CELL = 30, 12, 2
SEEDS_LONG = int(os.environ.get("SEEDS", "2000"))


@pytest.mark.parametrize("mix", [*OTHERS, *DAMAGED])
def test_every_law_holds(mix: str) -> None:
    seeds = SEEDS_DAMAGED if mix in DAMAGED else SEEDS
    tally = run_all((seed, mix) for seed in range(seeds))
    assert not tally.failures, tally.complaint()


def test_every_write_lost_and_applied_with_every_aftermath(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tally = run_all((seed, "table") for seed in range(SEEDS_A_CELL * len(CELLS)))
    with capsys.disabled():
        print(f"\n{tally.table()}")
    assert not tally.failures, tally.complaint()
    assert not tally.missed


@pytest.mark.parametrize("mix", ["many faults", "audit and source cut"])
def test_a_seed_gives_the_same_history_each_time(mix: str) -> None:
    def history(seed: int) -> list[str]:
        trace: list[str] = []
        run_history(seed, mix, trace.append)
        return trace

    for seed in range(5):
        assert history(seed) == history(seed)
    assert history(0) != history(1)


@pytest.mark.long
def test_every_law_holds_over_many_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """`SEEDS=20000 make test-long`: that many histories of every mix."""
    tally = run_on_all_cores((seed, mix) for seed in range(SEEDS_LONG) for mix in MIXES)
    with capsys.disabled():
        print(f"\n{tally.table()}")
    assert not tally.failures, tally.complaint()
    assert not tally.missed
