"""Blocks of one file digested by other processes, on every core, in order.

Recognising records and hashing them is nearly all the work of verifying, and needs nothing but the
records. So the blocks of a file go to processes of their own; what comes back is judged by the one
trail, in the order of the file, and the verdict does not depend on how many there are. At most
a few blocks for each process are on their way, so memory is flat.

A process is a fresh interpreter that reads blocks from its standard input: nothing of the caller's
program runs again, and no lock of its threads is inherited. Where one cannot be started, or dies,
its blocks are digested here.
"""

import json
import marshal
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import chain
from queue import SimpleQueue
from typing import IO, Any, BinaryIO, NamedTuple, Self

from schemas.records import Record
from streams.audit.runs import Part, Run, runs_of
from streams.errors import BreakError
from streams.segments import Block, SegmentReader, digest_block

__all__ = ["ALONE", "Digested", "Digests", "cores", "received", "serve"]

BLOCKS_AHEAD = 3  # for each process
BLOCKS_ALONE = 12  # so much is read before processes would have started
FAILURES_MAX = 3  # of processes; then all work is done here
HEAD = struct.Struct("<QQ")  # rows and bytes of a block
SERVE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from streams.verifier.digesting import serve
serve(sys.stdin.buffer, sys.stdout.buffer)
"""


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Digested(NamedTuple):
    """Some rows of a file.

    Attributes:
        count: how many.
        parts: what `runs_of` made of them.
        rows: gives them; raises BreakError where they cannot be read.
    """

    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls
    parts: Iterable[Part]
    rows: Callable[[], Sequence[Record]]


class Digests:
    """Reads segment files on several cores; a context manager."""

    def __init__(self, jobs: int = 1) -> None:
        """Processes are started once there is enough to read for them.

        Args:
            jobs: how many; with 1 there is none, and the work is done here.
        """
        self._jobs = jobs
        self._threads: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        self._failures = self._blocks = 0

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        if self._threads is None:
            return
        self._threads.shutdown(cancel_futures=True)
        self._threads = None
        while not self._idle.empty():
            process = self._idle.get()
            if process is not None:
                process.end()

    def of(self, reader: SegmentReader) -> Iterator[Digested]:
        """All rows of a file, in order. Raises BreakError as `SegmentReader.batches` does."""
        ahead: deque[tuple[Block, Future[list[Part] | None]]] = deque()
        for piece in _pieces(reader):
            self._blocks += 1
            if isinstance(piece, Block) and self._blocks > BLOCKS_ALONE and self._has_help():
                ahead.append((piece, self._ask(piece)))
                if len(ahead) > BLOCKS_AHEAD * self._jobs:
                    yield from _answered(reader, *ahead.popleft())
                continue
            while ahead:
                yield from _answered(reader, *ahead.popleft())
            if isinstance(piece, BreakError):
                raise piece
            for rows in reader.rows_of(piece) if isinstance(piece, Block) else (piece,):
                yield _here(rows)
        while ahead:
            yield from _answered(reader, *ahead.popleft())

    def _has_help(self) -> bool:
        # In a frozen program the executable is the program, and no interpreter.
        is_interpreter = bool(sys.executable) and not getattr(sys, "frozen", False)
        return is_interpreter and self._jobs > 1 and self._failures < FAILURES_MAX

    def _ask(self, block: Block) -> "Future[list[Part] | None]":
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._jobs, thread_name_prefix="digest")
            for _ in range(self._jobs):
                self._idle.put(None)
        return self._threads.submit(self._digest, block)

    def _digest(self, block: Block) -> list[Part] | None:
        """In a thread: wait for a process that is idle, and for its answer."""
        process = self._idle.get()
        try:
            process = process or _Process()
            return process.digest(block)
        except (OSError, EOFError, ValueError):
            self._failures += 1
            if process is not None:
                process.end()
                process = None
            return digest_block(block)
        finally:
            self._idle.put(process)


ALONE = Digests()


class _Process:
    """A process that digests blocks."""

    def __init__(self) -> None:
        command = [
            sys.executable,
            "-I",
            "-c",
            SERVE,
            json.dumps([str(entry) for entry in sys.path]),
        ]
        self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def digest(self, block: Block) -> list[Part] | None:
        """Raises OSError, EOFError or ValueError where the process is of no further use."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(HEAD.pack(block.count, len(block.body)) + block.body)
        asked.flush()
        return received(answered)

    def end(self) -> None:
        """It ends when it has nothing more to read."""
        self._process.kill()
        self._process.communicate()


def serve(asked: BinaryIO, answered: BinaryIO) -> None:
    """Digest blocks until no more are asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked ends this process
    while head := asked.read(HEAD.size):
        count, size = HEAD.unpack(head)
        parts = digest_block(Block(count, asked.read(size)))
        marshal.dump(parts and [tuple(part) for part in parts], answered)
        answered.flush()


def received(answered: IO[bytes]) -> list[Part] | None:
    """One answer of `serve`. Raises EOFError or ValueError where there is none."""
    found: list[tuple[Any, ...]] | None = marshal.load(answered)  # noqa: S302  # our own process
    if found is None:
        return None
    return [Run(*part) if len(part) == len(Run._fields) else Record(*part) for part in found]


def _pieces(reader: SegmentReader) -> Iterator[Block | list[Record] | BreakError]:
    """The pieces of a file, a fault among them: it is told once what came before it is."""
    try:
        yield from reader.pieces()
    except BreakError as error:
        yield error


def _answered(
    reader: SegmentReader, block: Block, answer: "Future[list[Part] | None]"
) -> Iterator[Digested]:
    parts = answer.result()
    if parts is None:
        for rows in reader.rows_of(block):
            yield _here(rows)
    else:
        rows_again = cache(lambda: list(chain.from_iterable(reader.rows_of(block))))
        yield Digested(block.count, parts, rows_again)


def _here(rows: list[Record]) -> Digested:
    return Digested(len(rows), runs_of(rows), lambda: rows)
