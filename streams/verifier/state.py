"""What a verifier saw before: the newest checkpoint note of each log, kept in a file of its own.

A log that was shown once can then never be shown shorter, or with another past. The notes are
kept verbatim, as anybody else could check them. Only a verdict without a break moves the file on,
and only where the note of before was compared with the log; it is replaced as a whole, so a crash
leaves the old file or the new one. Two verifiers never share it: the second is refused.

    with SeenNotes.open(path, keys) as seen:
        trust = replace(trust, anchors=(*trust.anchors, *seen.anchors))
        ...
        seen.advance(verdict)
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.verifier.roots import anchor_keys
from streams.verifier.verdicts import Verdict
from streams.verifier.walk import open_anchor

__all__ = ["SeenNotes"]

FORMAT = "attestream.seen/v1"
FILE_BYTES_MAX = 64 * 2**20


class SeenNotes:
    """The notes in a state file, which is locked as long as this is open."""

    def __init__(self, path: Path, notes: dict[str, str], keys: TrustedKeys) -> None:
        self._path = path
        self._notes = notes
        self._seen = {
            origin: open_anchor(note.encode(), anchor_keys(keys), f"{path}: the note of {origin}")
            for origin, note in notes.items()
        }
        strangers = [origin for origin, text in self._seen.items() if text.origin != origin]
        if strangers:
            raise SettingsError([f"{path}: under {strangers[0]} is the note of another log"])

    @classmethod
    @contextmanager
    def open(cls, path: Path, keys: TrustedKeys | None) -> "Iterator[SeenNotes]":
        """Lock and read a state file; one that is not there yet has seen nothing.

        Args:
            path: the file. Beside it stands a `.lock`.
            keys: who must have signed its notes.

        Raises:
            SettingsError: no keys; the file is unreadable, no state file, or signed by others;
                another verifier has it open.
        """
        if keys is None:
            raise SettingsError([f"{path}: what nobody signed is not remembered: give keys"])
        with _locked(path):
            yield cls(path, _read(path), keys)

    @property
    def anchors(self) -> tuple[CheckpointText, ...]:
        """What every log must be consistent with."""
        return tuple(self._seen.values())

    def advance(self, verdict: Verdict) -> None:
        """Remember the logs of a verdict without a break; nothing of any other verdict.

        Raises:
            SettingsError: the file cannot be written.
        """
        if verdict.status:
            return
        notes = dict(self._notes)
        for log in verdict.logs:
            before = self._seen.get(log.origin)
            if log.note and (before is None or log.first <= before.size <= log.size):
                notes[log.origin] = log.note
        if notes != self._notes:
            _write(self._path, notes)
            self._notes = notes


@contextmanager
def _locked(path: Path) -> Iterator[None]:
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


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            return _parse(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SettingsError([f"{path}: no state file of a verifier: {error}"]) from error


def _parse(file: BinaryIO) -> dict[str, str]:
    data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ValueError("too long")
    members = json.loads(data)
    if set(members) != {"format", "notes"} or members["format"] != FORMAT:
        raise ValueError("another format")
    notes: dict[str, str] = members["notes"]
    if not all(isinstance(text, str) for item in notes.items() for text in item):
        raise ValueError("a note that is no text")
    return notes


def _write(path: Path, notes: dict[str, str]) -> None:
    text = json.dumps({"format": FORMAT, "notes": dict(sorted(notes.items()))}, indent=1)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(f"{text}\n".encode())
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
