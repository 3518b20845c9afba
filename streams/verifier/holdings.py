"""What a store lists of each log: all versions of its segments and manifests (formats §8).

Names alone are judged here. Objects whose names say nothing of a log are left alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streams.audit.checkpoint import parse_log_name
from streams.audit.note import MalformedError
from streams.ports import ObjectVersion
from streams.segments import parse_object_name

__all__ = ["HeldLog", "held_logs", "oldest"]

Versions = dict[int, list[ObjectVersion]]


class HeldLog(NamedTuple):
    """The objects of one log: all versions of each, oldest first, by first index."""

    origin: str
    segments: Versions
    manifests: Versions

    @classmethod
    def empty(cls, origin: str) -> "HeldLog":
        """Nothing of a log."""
        return cls(origin, defaultdict(list), defaultdict(list))

    @property
    def firsts(self) -> list[int]:
        """The first indexes of which there is anything."""
        return sorted(self.segments.keys() | self.manifests.keys())


def held_logs(versions: Iterable[ObjectVersion]) -> dict[str, HeldLog]:
    """The logs in a listing, in the order of their origins."""
    logs: dict[str, HeldLog] = {}
    for version in versions:
        name = parse_object_name(version.key)
        if name is None or name.kind not in {"segment", "manifest"}:
            continue
        if name.origin not in logs:
            logs[name.origin] = HeldLog.empty(name.origin)
        log = logs[name.origin]
        objects = log.segments if name.kind == "segment" else log.manifests
        objects[name.number].append(version)
    return {origin: logs[origin] for origin in sorted(logs) if _is_log(origin)}


def oldest(versions: Sequence[ObjectVersion]) -> ObjectVersion | None:
    """The version that is the object: whatever was laid over it later does not count."""
    return next((version for version in versions if not version.is_delete_marker), None)


def _is_log(origin: str) -> bool:
    try:
        parse_log_name(origin)
    except MalformedError:
        return False
    return True
