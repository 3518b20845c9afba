"""Which faults and damages a history may have.

The mixes are those of the protocol's model: a weight for each action of the world, and the
weather. A damage takes away what the sealer stands on; from then on it must stop, or what it
writes must still be true.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from tests.fault.simulator.network import AFTERMATHS, FATES, WRITES, Cell, Weather

__all__ = ["CELLS", "MIXES", "Mix"]

CELLS = tuple(Cell(*cell) for cell in product(WRITES, FATES, AFTERMATHS))

BASE = {
    "records": 6.0,
    "transaction": 2.0,
    "trim": 1.0,
    "rebalance": 1.0,
    "crash": 1.0,
    "zombie": 1.0,
    "idle": 0.5,
    "elect": 0.5,
}
STILL = {"records": 6.0, "transaction": 2.0, "trim": 1.0}
FAULTY = Weather(write_faults=0.06, read_faults=0.02, sign_faults=0.05, interruptions=0.003)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Weights of what happens, and of damages; with an operator who does what a stop asks for.

    `forks`: that operator forks a log that nothing else lets go on.
    """

    actions: Mapping[str, float] = field(default_factory=lambda: BASE)
    damages: Mapping[str, float] = field(default_factory=dict)
    weather: Weather = FAULTY
    count: tuple[int, int] = (8, 30)
    twin: bool = False
    table: bool = False  # one cell of the table a history, by its seed
    has_operator: bool = False
    forks: bool = False


MIXES: dict[str, Mix] = {
    "quiet": Mix(actions=STILL, weather=Weather()),
    "table": Mix(actions=STILL, weather=Weather(), count=(6, 12), table=True),
    "faults": Mix(),
    "many faults": Mix(
        actions=BASE | {"crash": 3.0, "rebalance": 3.0, "zombie": 2.0},
        weather=Weather(
            write_faults=0.2, late=0.2, read_faults=0.05, sign_faults=0.2, interruptions=0.01
        ),
    ),
    "slow signer": Mix(weather=Weather(write_faults=0.04, sign_faults=0.3, sign_s=8.0)),
    "slow network": Mix(
        actions=BASE | {"zombie": 3.0},
        weather=Weather(write_faults=0.04, slow=0.3, slow_s=4.0, marker_s=3.0, interruptions=0.01),
    ),
    "store failing": Mix(actions=BASE | {"outage": 4.0}),
    "transactions": Mix(
        actions=BASE | {"transaction": 8.0, "trim": 4.0},
        weather=Weather(write_faults=0.04, read_faults=0.02, slow=0.1, retention=0.1),
    ),
    "twin": Mix(twin=True),
    "position lost": Mix(actions=BASE | {"forget_position": 1.0, "trim": 3.0}),
    "trimmed": Mix(damages={"trim_blindly": 1.0}),
    "trimmed, operator": Mix(damages={"trim_blindly": 1.0}, has_operator=True),
    "cut": Mix(damages={"cut_source": 0.7}),
    "recreated": Mix(damages={"recreate_source": 0.5}),
    "compacted": Mix(damages={"compact_source": 0.7}),
    "audit cut": Mix(damages={"cut_audit": 0.8}),
    "audit cut, trims, operator": Mix(
        actions=BASE | {"trim": 3.0}, damages={"cut_audit": 0.8}, has_operator=True
    ),
    "audit and source cut": Mix(damages={"cut_audit": 0.6, "cut_source": 0.6}),
    "cut, forks": Mix(damages={"cut_source": 0.7}, has_operator=True, forks=True),
    "recreated, forks": Mix(damages={"recreate_source": 0.5}, has_operator=True, forks=True),
    "audit and source cut, forks": Mix(
        damages={"cut_audit": 0.6, "cut_source": 0.6}, has_operator=True, forks=True
    ),
}
