"""What a verifier brings along, and what it says in the end (formats §9, design's exit statuses).

Breaks come by index. The first break of the first log, in the order of origins, decides the exit
status. For people, a verdict is plainly "intact" only where keys and an anchor were given; JSON
says `intact` and tells apart what was checked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import TrustedKeys
from streams.audit.operations import EpochForked
from streams.errors import BreakError
from streams.verifier.archive_report import ArchiveReport

__all__ = ["BREAK_STATUS", "LogVerdict", "Trust", "Verdict", "verdict_of"]

BREAK_STATUS = {
    "altered": 20,
    "sequence": 21,
    "bad_signature": 22,
    "unknown_key": 23,
    "shorter_than_anchor": 24,
    "fork": 25,
    "unsealed_tail": 26,
    "lock": 27,
    "archive": 28,
}
UNREADABLE_STATUS = 3
UNTOLD = ("archive", "breaks", "note", "source_from", "void_from")  # in the JSON of formats §9


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a verifier brings along.

    Attributes:
        keys: whose signatures count; None checks shape and roots alone.
        anchors: checkpoints kept outside the source, opened by `open_anchor`.
        heads: where logs stood by the sealed roster, and by the operator's orders.
        has_roster: whether any sealed head was found.
        beside: checkpoints kept in the store under test: they can convict it, and vouch for
            nothing.
        manifests: by the roster, SHA-256 of archive manifests of each log.
        may_lag: the source may end before `heads`, as an archive does.
        forks: the operator's forks, by the origin each of them ended.
        has_orders: whether the operator's orders were there to be read.
    """

    keys: TrustedKeys | None = None
    anchors: tuple[CheckpointText, ...] = ()
    heads: tuple[CheckpointText, ...] = ()
    has_roster: bool = False
    beside: tuple[CheckpointText, ...] = ()
    manifests: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    forks: Mapping[str, EpochForked] = field(default_factory=dict)
    has_orders: bool = False
    may_lag: bool = False

    @property
    def known(self) -> tuple[CheckpointText, ...]:
        """Everything that logs must be consistent with."""
        return tuple(dict.fromkeys((*self.anchors, *self.heads, *self.beside)))

    @property
    def binding(self) -> tuple[CheckpointText, ...]:
        """What no log may end before, even one that may lag."""
        return (*self.anchors, *self.beside)

    def void_from(self, origin: str | None) -> int | None:
        """The index from which on a log is void; None for one that nobody forked.

        Nothing is void that an anchor of the caller covers: no order takes back what somebody
        outside has seen.
        """
        fork = self.forks.get(origin or "")
        if fork is None:
            return None
        return max([fork.size, *(one.size for one in self.anchors if one.origin == origin)])

    def begins_at(self, origin: str) -> int | None:
        """The source offset that an epoch begins at; None where no fork says so."""
        offsets = [fork.offset for fork in self.forks.values() if fork.opens == origin]
        return offsets[0] if offsets else None

    def states(self, compared: Iterable[CheckpointText]) -> dict[str, Any]:
        """`anchored` and `roster` of a log with which some of `known` could be compared."""
        seen = set(compared)
        return {
            "anchored": _state(
                is_given=bool(self.anchors), is_compared=not seen.isdisjoint(self.anchors)
            ),
            "roster": _state(
                is_given=self.has_roster, is_compared=not seen.isdisjoint(self.heads)
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogVerdict:
    """What was found of one log.

    Attributes:
        origin: the log; empty where nothing named it.
        first: the index the history begins at, 0 or that of a file's opening.
        size: of the last good checkpoint before the first break.
        root: its root hash, lower-case hex.
        records: audit records read.
        tail: records no checkpoint covers.
        checkpoints: good checkpoints read.
        anchored: `checked`, `missing` (no anchor given fits this log) or `not given`.
        roster: `checked`, `missing` (the sealed heads do not name this log) or `not given`.
        source: `checked`, `missing` (its source is gone, or holds nothing of it) or `not given`.
        breaks: the first of each kind, by index.
        note: the checkpoint of `size`, verbatim; empty where there is none, and where it is not
            known that the log leads to it.
        source_from: of a compared source, the first index it still holds.
        archive: what was read of an archive; None for any other source.
        void_from: the size at which the operator ended the log; what stands behind it was read
            and is not judged. None for a log that nobody forked.
    """

    origin: str
    first: int = 0
    size: int = 0
    root: str = EMPTY_ROOT.hex()
    records: int = 0
    tail: int = 0
    checkpoints: int = 0
    anchored: str = "not given"
    roster: str = "not given"
    source: str = "not given"
    breaks: tuple[BreakError, ...] = ()
    note: str = field(default="", compare=False, repr=False)
    source_from: int | None = None
    archive: ArchiveReport | None = None
    void_from: int | None = None

    def ended_by(self, fork: EpochForked | None) -> "LogVerdict":
        """The verdict of a log that this fork ended: what is void says nothing of its size.

        The log was compared with the fork's root; where it differs there is a break.
        """
        if fork is None:
            return self
        if self.size < fork.size:
            return replace(self, void_from=fork.size)
        return replace(
            self,
            size=fork.size,
            root=fork.root.hex(),
            tail=0,
            note=self.note if self.size == fork.size else "",
            void_from=fork.size,
        )

    def to_json(self) -> dict[str, Any]:
        """The log's object in `verify --json`."""
        return {
            **{name: getattr(self, name) for name in self.__slots__ if name not in UNTOLD},
            **({} if self.void_from is None else {"void_from": self.void_from}),
            **({} if self.archive is None else {"archive": self.archive.to_json()}),
            "breaks": [
                {"kind": b.kind, "index": b.index, "detail": b.detail} for b in self.breaks
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of all logs, in the order of their origins.

    Attributes:
        logs: one verdict a log.
        signed: whether keys were given.
        unreadable: one sentence for each source that could not be read.
    """

    logs: tuple[LogVerdict, ...]
    signed: bool
    unreadable: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`broken`, else `unreadable`, else `intact`."""
        if any(log.breaks for log in self.logs):
            return "broken"
        return "unreadable" if self.unreadable or not self.logs else "intact"

    @property
    def status(self) -> int:
        """The exit status: that of the first break of the first log that has one."""
        for log in self.logs:
            if log.breaks:
                return BREAK_STATUS[log.breaks[0].kind]
        return 0 if self.verdict == "intact" else UNREADABLE_STATUS

    def to_json(self) -> dict[str, Any]:
        """The object of `verify --json`."""
        return {
            "verdict": self.verdict,
            "signatures": "checked" if self.signed else "not given",
            "logs": [log.to_json() for log in self.logs],
        }

    def to_text(self) -> str:
        """The verdict for people. Never plain "intact" without keys and anchors."""
        lines = [line for log in self.logs for line in _log_lines(log)]
        lines += [f"unreadable: {sentence}" for sentence in self.unreadable]
        return "\n".join([*lines, self._last_line()])

    def _last_line(self) -> str:
        if self.verdict != "intact":
            return self.verdict
        if not self.signed:
            return "shape and roots hold; no keys were given, so no signature was checked"
        unread = [log.archive for log in self.logs if log.archive and not log.archive.is_whole]
        if unread:
            return f"intact as far as it was read: {unread[0].in_short}"
        if all(log.anchored == "checked" for log in self.logs):
            return "intact"
        return "intact as presented"


def verdict_of(
    logs: Iterable[LogVerdict], trust: Trust, unreadable: Sequence[str] = ()
) -> Verdict:
    """All logs together, in the order of their origins."""
    ordered = sorted(logs, key=lambda log: (log.origin, log.first))
    return Verdict(
        logs=tuple(ordered), signed=trust.keys is not None, unreadable=tuple(unreadable)
    )


def _state(*, is_given: bool, is_compared: bool) -> str:
    if not is_given:
        return "not given"
    return "checked" if is_compared else "missing"


def _log_lines(log: LogVerdict) -> list[str]:
    found = f"{log.records} records from index {log.first}, {log.checkpoints} checkpoints"
    source = log.source + (f" from index {log.source_from}" if log.source_from else "")
    return [
        f"{log.origin or 'a log that nothing names'}",
        f"  size {log.size}, root {log.root}",
        f"  {found}, tail {log.tail}",
        f"  anchored: {log.anchored} · roster: {log.roster} · source: {source}",
        *_void_line(log),
        *(f"  {line}" for line in (log.archive.to_lines() if log.archive else ())),
        *(f"  BREAK {found.kind} at index {found.index}: {found.detail}" for found in log.breaks),
    ]


def _void_line(log: LogVerdict) -> list[str]:
    if log.void_from is None:
        return []
    void = max(log.first + log.records - log.void_from, 0)
    return [f"  ended by the operator at size {log.void_from}; {void} void records, not judged"]
