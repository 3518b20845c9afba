"""`attestream vectors`: vectors for callers in other languages, over standard input and output."""

import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

import click

from streams.cli.failures import exit_on_failure
from streams.clock import SystemClock
from streams.errors import MissingExtraError
from streams.settings import load_settings

__all__ = ["vectors"]

MIB = 2**20


@click.group()
def vectors() -> None:
    """Nearest neighbours for callers in other languages."""


@vectors.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of encrypted files, for save, restore and rotate; none: memory alone.",
)
@click.option(
    "--memory-mib",
    default=2048,
    show_default=True,
    type=click.IntRange(1, 2**20),
    help="What all vectors may take, near enough; more are refused.",
)
@click.option(
    "--timeout-ms",
    default=30_000,
    show_default=True,
    type=click.IntRange(1, 600_000),
    help="Time of a request that does not say its own.",
)
@exit_on_failure
def serve(store: Path | None, memory_mib: int, timeout_ms: int) -> None:
    """Answer JSON lines: a request a line on standard input, an answer a line on standard output.

    The protocol is docs/reference/vectors-serve.md. Files are encrypted with VECTOR_INDEX_KEY.
    Ends with its input.

    Example: echo '{"id":1,"op":"hello"}' | attestream vectors serve
    """
    from streams.telemetry.logs import configure_logs  # noqa: PLC0415  # optional dependencies

    try:
        from projections.vector_server.lines import LineSource  # noqa: PLC0415
        from projections.vector_server.protocol import LINE_BYTES_MAX  # noqa: PLC0415
        from projections.vector_server.saving import (  # noqa: PLC0415
            SavedVectors,
            exclusive_store,
        )
        from projections.vector_server.server import Served, VectorServer  # noqa: PLC0415
        from projections.vector_server.spaces import Spaces  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"hnswlib", "numpy"}:
            raise
        told = f"{error.name} is not installed: pip install 'attestream[index]'"
        raise MissingExtraError(told) from error

    configure_logs()
    settings, clock = load_settings(_needed(os.environ)), SystemClock()
    signal.signal(signal.SIGTERM, _end)
    with ExitStack() as held, suppress(BrokenPipeError):
        saved = None
        if store is not None:
            saved = SavedVectors(held.enter_context(exclusive_store(store)), settings, clock)
        server = VectorServer(Served(Spaces(memory_mib * MIB), saved, clock, timeout_ms))
        server.serve(LineSource(sys.stdin.fileno(), LINE_BYTES_MAX, clock), _write)


def _write(answer: bytes) -> None:
    view = memoryview(answer)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


def _needed(environ: "os._Environ[str]") -> dict[str, str]:
    """Only what keys need, so that no other setting can be in the way."""
    return {name: value for name, value in environ.items() if name.startswith("VECTOR_")}


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
