"""How often a long-running process looks for reference cycles.

The hot paths make millions of small tuples and hardly a cycle. Python's default looks through
them every 700 new ones; every 100,000, and with what start-up made set aside, sealing takes 10 %
less of the processor (docs/benchmarks.md). Reference counting frees all but cycles at once, as
ever, so memory stays flat.
"""

import gc

__all__ = ["collect_rarely"]

YOUNG_OBJECTS = 100_000
OLDER = (20, 100)


def collect_rarely() -> None:
    """Call once, at the end of start-up; for the process as a whole, so not from a library."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *OLDER)
