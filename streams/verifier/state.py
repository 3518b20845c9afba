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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.verifier.kept_files import locked, read_json, write_json
from streams.verifier.roots import anchor_keys
from streams.verifier.verdicts import Verdict
from streams.verifier.walk import open_anchor

__all__ = ["SeenNotes"]

FORMAT = "attestream.seen/v1"


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
        with locked(path):
            yield cls(path, read_json(path, _notes) or {}, keys)

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
            members = {"format": FORMAT, "notes": dict(sorted(notes.items()))}
            write_json(self._path, members)
            self._notes = notes


def _notes(members: Mapping[str, Any]) -> dict[str, str]:
    if set(members) != {"format", "notes"} or members["format"] != FORMAT:
        raise ValueError("another format")
    notes: dict[str, str] = members["notes"]
    if not all(isinstance(text, str) for item in notes.items() for text in item):
        raise ValueError("a note that is no text")
    return notes
