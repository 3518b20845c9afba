"""How far long work is, on standard error: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from streams.clock import SystemClock
from streams.ports import Clock
from streams.verifier import Progress

__all__ = ["Lines", "shown_progress"]

SECONDS_A_LINE = 10.0


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A bar, or lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(SystemClock())
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} records"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _Shown(bar)


class _Shown:
    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._rows = 0
        self._task = bar.add_task("verify", total=None, rows=0)

    def begin(self, name: str, units: int) -> None:
        self._rows = 0
        self._bar.reset(self._task, total=units, description=name, rows=0)

    def advance(self, rows: int, units: int) -> None:
        self._rows += rows
        self._bar.update(self._task, advance=units, rows=self._rows)


class Lines:
    """A line every ten seconds; none where the work is done sooner."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = self._told = clock.monotonic()
        self._name = ""
        self._units = self._done = self._rows = 0

    def begin(self, name: str, units: int) -> None:
        """See `Progress`."""
        self._began = self._clock.monotonic()
        self._name, self._units = name, units
        self._done = self._rows = 0

    def advance(self, rows: int, units: int) -> None:
        """See `Progress`."""
        self._rows += rows
        self._done += units
        now = self._clock.monotonic()
        if now - self._told >= SECONDS_A_LINE:
            self._told = now
            click.echo(f"{self._name}: {self._rows:,} records verified{self._left(now)}", err=True)

    def _left(self, now: float) -> str:
        if not 0 < self._done <= self._units:
            return ""
        seconds = (now - self._began) * (self._units - self._done) / self._done
        return f", {self._done / self._units:.0%}, {timedelta(seconds=round(seconds))} left"
