"""Files in which a verifier keeps what it found: JSON, locked, replaced as a whole.

A crash leaves the old file or the new one, and two verifiers never share one.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from streams.errors import SettingsError

__all__ = ["locked", "read_json", "write_json"]

T = TypeVar("T")
FILE_BYTES_MAX = 64 * 2**20


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock beside a file. Raises SettingsError where another verifier holds it."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        file = lock.open("ab")
    except OSError as error:
        raise SettingsError([f"{lock}: {error.strerror}"]) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError([f"{path}: another verifier has it open"]) from error
        yield


def read_json(path: Path, parse: Callable[[Any], T]) -> T | None:
    """What `parse` makes of the members; None where there is no file.

    `parse` may raise ValueError, TypeError, KeyError or AttributeError for what it does not know.

    Raises:
        SettingsError: the file cannot be read, or is none of a verifier's.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ValueError("too long")  # noqa: TRY301
        return parse(json.loads(data))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SettingsError([f"{path}: no state file of a verifier: {error}"]) from error


def write_json(path: Path, members: Mapping[str, Any]) -> None:
    """Replace a file. Raises SettingsError where that cannot be."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(f"{json.dumps(members, indent=1)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
