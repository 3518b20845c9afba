"""Replay one history with a trace: `python -m tests.fault.simulator SEED MIX`."""

import sys

from tests.fault.simulator.history import run_history
from tests.fault.simulator.mixes import MIXES

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in MIXES:
        sys.exit(f"usage: python -m tests.fault.simulator SEED MIX, with one of {list(MIXES)}")
    outcome = run_history(int(sys.argv[1]), sys.argv[2], print)
    print(outcome)
    sys.exit(bool(outcome.violation))
