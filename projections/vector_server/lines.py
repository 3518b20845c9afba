"""Lines of a file descriptor, in bounded memory: read beside what is being done with them.

A line over the limit is passed over and told as None; nothing of it is kept. What was read and not
taken yet are a few lines: whoever sends more waits, in the pipe.
"""

import os
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread
from typing import NamedTuple

from streams.ports import Clock

__all__ = ["Line", "LineSource", "split_lines"]

READ_BYTES = 2**16
AHEAD = 4  # lines read and not taken yet


class Line(NamedTuple):
    """A line without its end, None for one over the limit; `at`: when it was read, in seconds."""

    data: bytes | None
    at: float


class LineSource:
    """The lines of a descriptor, read by a thread of its own."""

    def __init__(self, descriptor: int, bytes_max: int, clock: Clock) -> None:
        self._lines: Queue[Line | None] = Queue(AHEAD)
        self._clock = clock
        self._descriptor = descriptor
        self._bytes_max = bytes_max
        # A daemon: it waits for input that may never come, and holds nothing but that.
        Thread(target=self._read, name="lines", daemon=True).start()

    def take(self, *, wait: bool) -> Line | None:
        """The next line; None at the end.

        Raises:
            queue.Empty: there is none yet, and it is not waited for.
        """
        line = self._lines.get(block=wait)
        if line is None:
            self._lines.put(None)
        return line

    def _read(self) -> None:
        def read() -> bytes:
            return os.read(self._descriptor, READ_BYTES)

        try:
            for data in split_lines(read, self._bytes_max):
                self._lines.put(Line(data, self._clock.monotonic()))
        except OSError:
            pass  # the other side is gone: that is the end
        finally:
            self._lines.put(None)


def split_lines(read: Callable[[], bytes], bytes_max: int) -> Iterator[bytes | None]:
    """Lines of what `read` gives until it gives nothing; None for one over the limit."""
    held = bytearray()
    is_over = False
    while data := read():
        first = 0
        while (end := data.find(b"\n", first)) >= 0:
            is_over = is_over or len(held) + end - first > bytes_max
            yield None if is_over else bytes(held + data[first:end])
            held.clear()
            first, is_over = end + 1, False
        is_over = is_over or len(held) + len(data) - first > bytes_max
        if is_over:
            held.clear()
        else:
            held += data[first:]
    if held or is_over:
        yield None if is_over else bytes(held)
