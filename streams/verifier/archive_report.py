"""What a verdict says of an archive besides its logs: how much was read, how long it is locked.

Said apart from breaks, so that nobody takes for read what was remembered, or left to a sample.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["ArchiveReport", "ReplicaReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReport:
    """One log in a replica.

    Attributes:
        size: all objects of leaves below are there, and the same.
        lacking: how many of the archive's objects are not there.
        read: how many of its segments were read.
    """

    size: int
    lacking: int
    read: int = 0

    @property
    def state(self) -> str:
        """`checked`, `lags`, or `missing` where nothing of the log is there."""
        if not self.lacking:
            return "checked"
        return "lags" if self.size else "missing"

    def to_json(self) -> dict[str, Any]:
        """The member `replica`."""
        return {
            "state": self.state,
            "size": self.size,
            "lacking": self.lacking,
            "read": self.read,
        }

    def to_text(self) -> str:
        """In a few words."""
        if self.state == "checked":
            return f"checked, {self.read} segments of it read"
        return f"{self.state}: whole below index {self.size}, {self.lacking} objects are not there"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """One log in an archive.

    Attributes:
        level: `list`, `file` or `record`.
        segments: how many there are.
        read: how many of them were read now.
        without_manifest: how many no manifest vouches for: the last one may lack it still.
        remembered: how many were verified in an earlier run, and not read now.
        remembered_ms: when the oldest of those was read, in ms since the epoch.
        size: bytes of all segments.
        size_read: bytes that were read.
        percent: of the segments, at least so many were to be read; None for all.
        seed: which ones: whoever gives it again reads the same.
        locked_until: when the first lock of an object ends; None where the store has no locks.
        locks_ended: how many objects' locks have ended.
        replica: the same log in the replica, where one was given.
    """

    level: str
    segments: int
    read: int = 0
    without_manifest: int = 0
    remembered: int = 0
    remembered_ms: int | None = None
    size: int = 0
    size_read: int = 0
    percent: float | None = None
    seed: str | None = None
    locked_until: datetime | None = None
    locks_ended: int = 0
    replica: ReplicaReport | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every record was verified, now or in an earlier run."""
        return self.level == "record" and self.read + self.remembered == self.segments

    @property
    def in_short(self) -> str:
        """What was not read."""
        if self.level != "record":
            return f"level {self.level}, no record"
        return f"{self.read} of {self.segments} segments"

    def to_json(self) -> dict[str, Any]:
        """The member `archive` of a log."""
        since = self.remembered_ms
        return {
            "level": self.level,
            "segments": self.segments,
            "read": self.read,
            "without_manifest": self.without_manifest,
            "remembered": self.remembered,
            "remembered_since": None if since is None else _time(since / 1000),
            "bytes": self.size,
            "bytes_read": self.size_read,
            "percent": self.percent,
            "seed": self.seed,
            "locked_until": self.locked_until and _time(self.locked_until.timestamp()),
            "locks_ended": self.locks_ended,
            "replica": self.replica and self.replica.to_json(),
        }

    def to_lines(self) -> list[str]:
        """For people."""
        share = f"{self.size_read / self.size:.0%}" if self.size else "all"
        read = f"{self.read} of {self.segments} segments read, {share} of {self.size:,} bytes"
        lines = [f"archive, level {self.level}: {read}"]
        if self.without_manifest:
            lines.append(f"  {self.without_manifest} segments have no manifest yet")
        if self.seed is not None:
            lines.append(f"  a sample of {self.percent:g} %, seed {self.seed}")
        if self.remembered_ms is not None:
            since = _time(self.remembered_ms / 1000)
            lines.append(f"  {self.remembered} segments verified in earlier runs, since {since}")
        if self.locked_until is not None:
            ended = f", {self.locks_ended} locks have ended" if self.locks_ended else ""
            lines.append(f"  locked until {_time(self.locked_until.timestamp())}{ended}")
        if self.replica is not None:
            lines.append(f"  replica: {self.replica.to_text()}")
        return lines


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
