"""How often a process with much to do looks for reference cycles.

Sealing and verifying make millions of small tuples and hardly a cycle. Python's default looks
through them every 700 new ones; every 100,000, and with what start-up made set aside, sealing
takes 10 % less of the processor, `verify` 3 %. Reference counting frees all but cycles at once,
as ever, so memory stays flat.
"""

import gc

__all__ = ["collect_rarely"]

YOUNG_OBJECTS = 100_000
OLDER = (20, 100)


def collect_rarely() -> None:
    """Call once, at the end of start-up; for the process as a whole, so not from a library."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *OLDER)
