"""What a drill picks, and what its report says. Pure.

The choice follows from the seed alone: of everything archived, those whose names hash lowest with
it. So a drill that found something can be done again, and whoever prepares an archive for a drill
does not know what will be asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "SAMPLES",
    "Candidate",
    "DrilledSegment",
    "LogState",
    "Report",
    "chosen",
    "sampled",
]

SAMPLES = 16  # records of a segment whose inclusion is proved, and which are compared
T = TypeVar("T")


class Candidate(NamedTuple):
    """An archived segment, by its log and first index; `segment_bytes` as listed."""

    origin: str
    first: int
    segment_bytes: int


def chosen(candidates: Iterable[Candidate], seed: str, count: int) -> list[Candidate]:
    """At most `count` of them, in the order of their names."""
    ranked = sorted(candidates, key=lambda one: _rank(seed, f"{one.origin} {one.first}"))
    return sorted(ranked[:count])


def sampled(first: int, size: int, seed: str, count: int = SAMPLES) -> list[int]:
    """At most `count` indexes of [first, size), rising: its ends, and others by the seed."""
    within = range(first, size)
    if len(within) <= count:
        return list(within)
    picked = {first, size - 1}
    number = 0
    while len(picked) < count:
        digest = _rank(seed, f"{first} {number}")
        picked.add(first + int.from_bytes(digest[:8], "big") % len(within))
        number += 1
    return sorted(picked)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrilledSegment:
    """One segment.

    Attributes:
        first: index of its first record.
        size: of its closing checkpoint, 0 where it could not be read.
        records: restored.
        proofs: inclusion proofs that led to the signed root.
        compared: records that were compared with the log itself.
        seconds: from the first byte fetched to the last record restored and verified.
        failures: what did not hold, one sentence each.
        live: why it was not compared with the log itself; empty where it was.
    """

    origin: str
    first: int
    size: int = 0
    records: int = 0
    proofs: int = 0
    compared: int = 0
    segment_bytes: int = 0
    sha256: str = ""
    seconds: float = 0.0
    failures: tuple[str, ...] = ()
    live: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """How far a log was archived when it was drilled.

    Attributes:
        size: by its newest manifest.
        root: at that size, hex.
        newest_age_s: how old its newest archived record is, None where it has no time.
        unarchived: sealed records that are not archived, None where the log was not reachable.
        faults: what its manifests are not, one sentence each.
    """

    origin: str
    size: int
    root: str
    segments: int
    records: int
    segment_bytes: int
    newest_age_s: float | None = None
    unarchived: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A drill. Times are RFC 3339, UTC."""

    began: str
    seed: str
    asked: int
    segments: tuple[DrilledSegment, ...]
    logs: tuple[LogState, ...]
    seconds: float
    more: tuple[str, ...] = field(default=())

    @property
    def failures(self) -> tuple[str, ...]:
        """Everything that did not hold."""
        found = [f"{log.origin}: {fault}" for log in self.logs for fault in log.faults]
        found += [f"{s.origin} from {s.first}: {f}" for s in self.segments for f in s.failures]
        if not self.segments:
            found.append("nothing is archived: there was nothing to restore")
        return (*found, *self.more)

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures

    @property
    def records(self) -> int:
        """Audit records restored."""
        return sum(segment.records for segment in self.segments)

    @property
    def segment_bytes(self) -> int:
        """Bytes fetched for them."""
        return sum(segment.segment_bytes for segment in self.segments)

    @property
    def recovery_s(self) -> float:
        """Seconds the restores took, one after another."""
        return sum(segment.seconds for segment in self.segments)

    @property
    def newest_age_s(self) -> float | None:
        """How old the newest archived record of all logs is."""
        ages = [log.newest_age_s for log in self.logs if log.newest_age_s is not None]
        return min(ages, default=None)

    @property
    def everything_s(self) -> float | None:
        """About how long all of the archive would take at the rate measured here."""
        if not self.segment_bytes:
            return None
        return self.recovery_s * sum(log.segment_bytes for log in self.logs) / self.segment_bytes

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "format": "attestream.drill/v1",
            "began": self.began,
            "passed": self.passed,
            "seed": self.seed,
            "segments_asked": self.asked,
            "records": self.records,
            "segment_bytes": self.segment_bytes,
            "recovery_seconds": _rounded(self.recovery_s),
            "records_per_second": _rounded(
                self.records / self.recovery_s if self.recovery_s else 0
            ),
            "everything_seconds": _rounded(self.everything_s),
            "newest_record_age_seconds": _rounded(self.newest_age_s),
            "seconds": _rounded(self.seconds),
            "failures": list(self.failures),
            "segments": [_members(segment) for segment in self.segments],
            "logs": [_members(log) for log in self.logs],
        }

    def as_markdown(self) -> str:
        """The report for people."""
        told = self.as_json()
        verdict = "Passed" if self.passed else "FAILED"
        rate = f"{told['recovery_seconds']} s ({told['records_per_second']:,} records/s)"
        again = f"`attestream drill --seed {self.seed} --segments {self.asked}`"
        lines = [
            f"# Recovery drill of {self.began}",
            "",
            f"**{verdict}.** {len(self.segments)} segments, {self.records:,} records in {rate}.",
            "",
            f"- Seed `{self.seed}`: {again} picks the same again from the same archive.",
            f"- Recovery time: all of the archive in about {_told(told['everything_seconds'])}.",
            f"- Newest archived record: {_told(told['newest_record_age_seconds'])} old.",
            "",
        ]
        if self.failures:
            lines += ["## What did not hold", "", *(f"- {one}" for one in self.failures), ""]
        lines += ["## Segments", "", _table(SEGMENT_COLUMNS, told["segments"]), ""]
        lines += ["## Logs", "", _table(LOG_COLUMNS, told["logs"]), ""]
        return "\n".join(lines)


SEGMENT_COLUMNS = (
    "origin",
    "first",
    "size",
    "records",
    "segment_bytes",
    "sha256",
    "proofs",
    "compared",
    "live",
    "seconds",
)
LOG_COLUMNS = ("origin", "size", "root", "segments", "newest_age_s", "unarchived")


def _members(value: Any) -> dict[str, Any]:  # noqa: ANN401  # a slotted dataclass
    members = {name: getattr(value, name) for name in value.__slots__}
    return {
        name: list(one) if isinstance(one, tuple) else _rounded(one)
        for name, one in members.items()
    }


def _rounded(value: T) -> T | float:
    return round(value, 3) if isinstance(value, float) else value


def _told(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = ["–" if row[name] is None else str(row[name]) for name in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rank(seed: str, name: str) -> bytes:
    return sha256(f"attestream.drill/v1\n{seed}\n{name}".encode()).digest()
