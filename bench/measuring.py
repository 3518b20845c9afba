"""How a figure comes about: interleaved rounds, the median, and the machine it was taken on."""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Round", "Usage", "machine", "median", "rounds", "usage"]


@dataclass(slots=True)
class Usage:
    """Wall and CPU seconds of a piece of work in this process."""

    wall: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: events a second and CPU microseconds an event (user, of the worker)."""

    rate: float
    cpu_us: float


@contextmanager
def usage() -> Iterator[Usage]:
    """Measure the block."""
    measured = Usage()
    before, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    yield measured
    after = resource.getrusage(resource.RUSAGE_SELF)
    measured.wall = time.perf_counter() - wall
    measured.cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def rounds(modes: dict[str, Callable[[], Round]], count: int) -> dict[str, list[Round]]:
    """Each mode `count` times, taking turns, so that a slow minute of the machine hits all."""
    measured: dict[str, list[Round]] = {name: [] for name in modes}
    for _ in range(count):
        for name, measure in modes.items():
            measured[name].append(measure())
    return measured


def median(measured: list[Round]) -> Round:
    """Medians of rate and CPU, each by itself."""
    return Round(
        statistics.median(r.rate for r in measured), statistics.median(r.cpu_us for r in measured)
    )


def machine() -> str:
    """Cores, memory, processor and Python."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = ".".join(map(str, os.sys.version_info[:3]))  # type: ignore[attr-defined]
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB, Python {version}"
