"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["in_directory"]

F = TypeVar("F", bound=Callable[..., Any])


def in_directory(command: F) -> F:
    """Add `--dir`: the embedded engine's home, over ATTESTREAM_HOME."""
    return click.option(
        "--dir",
        type=click.Path(path_type=Path, file_okay=False),
        expose_value=False,
        is_eager=True,
        callback=_set_home,
        help="The embedded engine's directory, instead of ATTESTREAM_HOME.",
    )(command)


def _set_home(_context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    if value is not None:
        os.environ["ATTESTREAM_HOME"] = str(value)
