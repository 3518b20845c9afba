"""What of an archive was verified before, kept in a file of its own: where to go on.

A log's archive is a chain: its newest manifest binds the digest of every segment, by way of the
manifests before it. So one line a log says all: up to the manifest of this digest, everything was
verified in order, at this level. It counts only where the chain as it stands now, read anew, leads
to that very manifest without a fault, and every version, size and checksum the store lists is what
its manifest names.

Two things it cannot tell. Bytes that changed under a version whose id, listed size and listed
checksum did not: that takes the server's operator, or a disk that rots, and shows when segments
are read again. And a file that somebody else could write: whoever can may say that anything was
verified, so it is kept as keys are.

It is bound to the keys it was made with, and replaced as a whole: a crash leaves the old file or
the new one. Two verifiers never share it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from streams.audit.note import TrustedKeys
from streams.errors import SettingsError
from streams.ports import Clock
from streams.verifier.kept_files import locked, read_json, write_json

__all__ = ["Remembered", "Verified"]

FORMAT = "attestream.verified/v1"
RULES = 1  # higher whenever verification finds more than before: older memories count no more
SECONDS_KEPT = 1.0  # so much work is lost at most with the process
DIGEST = re.compile(r"[0-9a-f]{64}")


class Verified(NamedTuple):
    """How far the archive of a log was verified.

    Attributes:
        first: first index of the last verified segment.
        manifest: SHA-256 of its manifest, lower-case hex.
        at_ms: when, in milliseconds since the epoch: when the oldest part of it was read.
    """

    first: int
    manifest: str
    at_ms: int


class Remembered:
    """What was verified of every log, by level; the file is locked as long as this is open."""

    def __init__(
        self,
        path: Path,
        keys: str,
        logs: dict[str, dict[str, Verified]],
        clock: Clock,
        *,
        whole: bool = False,
    ) -> None:
        self._path = path
        self._is_whole = whole
        self._keys = keys
        self._logs = logs
        self._clock = clock
        self._is_written = True
        self._written = clock.monotonic()

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, keys: TrustedKeys | None, clock: Clock, *, whole: bool = False
    ) -> "Iterator[Remembered]":
        """Lock and read a file; one that is not there yet remembers nothing.

        Args:
            path: the file. Beside it stands a `.lock`.
            keys: who is believed.
            clock: says when to write.
            whole: what is remembered does not count; what is verified now takes its place.

        Raises:
            SettingsError: no keys; the file is unreadable, no such file, or was made with other
                keys; another verifier has it open.
        """
        if keys is None:
            raise SettingsError([f"{path}: what nobody signed is not remembered: give keys"])
        bound_to = _fingerprint(keys)
        with locked(path):
            logs = read_json(path, _parser(path, bound_to)) or {}
            remembered = cls(path, bound_to, logs, clock, whole=whole)
            try:
                yield remembered
            finally:
                remembered.keep()

    def of(self, origin: str, level: str) -> Verified | None:
        """How far a log was verified at `level`, or deeper."""
        levels = {} if self._is_whole else self._logs.get(origin, {})
        deep_enough = [levels[name] for name in _at_least(level) if name in levels]
        return max(deep_enough, key=lambda verified: verified.first, default=None)

    @property
    def origins(self) -> frozenset[str]:
        """Every log of which anything was verified."""
        return frozenset(self._logs)

    def all_of(self, origin: str) -> tuple[Verified, ...]:
        """What was verified of a log, at whatever level, also where everything is read again."""
        return tuple(self._logs.get(origin, {}).values())

    def advance(self, origin: str, level: str, verified: Verified) -> None:
        """Remember that a log was verified so far; written from time to time, and at the end.

        What reaches less far than what is remembered is not: that would be to forget.
        """
        levels = self._logs.setdefault(origin, {})
        if level in levels and levels[level].first > verified.first:
            return
        levels[level] = verified
        self._is_written = False
        if self._clock.monotonic() - self._written >= SECONDS_KEPT:
            self.keep()

    def keep(self) -> None:
        """Write what is not written yet. Raises SettingsError where that cannot be."""
        if self._is_written:
            return
        logs = {
            origin: {level: verified._asdict() for level, verified in sorted(levels.items())}
            for origin, levels in sorted(self._logs.items())
        }
        members = {"format": FORMAT, "rules": RULES, "keys": self._keys, "logs": logs}
        write_json(self._path, members)
        self._is_written = True
        self._written = self._clock.monotonic()


def _at_least(level: str) -> tuple[str, ...]:
    return ("record",) if level == "record" else ("file", "record")


def _fingerprint(keys: TrustedKeys) -> str:
    lines = sorted(vkey.render() for vkey in keys.vkeys)
    return sha256("\n".join(lines).encode()).hexdigest()


def _parser(path: Path, keys: str) -> Any:  # noqa: ANN401  # a function of the members
    def parse(members: Mapping[str, Any]) -> dict[str, dict[str, Verified]]:
        if set(members) != {"format", "rules", "keys", "logs"} or members["format"] != FORMAT:
            raise ValueError("another format")
        if members["keys"] != keys:
            detail = "it was made with other keys: name another file, or remove this one"
            raise SettingsError([f"{path}: {detail}"])
        if members["rules"] != RULES:
            return {}
        return {
            origin: {level: _verified(said) for level, said in levels.items()}
            for origin, levels in members["logs"].items()
        }

    return parse


def _verified(said: Mapping[str, Any]) -> Verified:
    verified = Verified(**said)
    numbers = (verified.first, verified.at_ms)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a number that is none")
    if not DIGEST.fullmatch(verified.manifest):
        raise ValueError("a digest that is none")
    return verified
