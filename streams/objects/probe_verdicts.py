"""What a check found, and what that means for the archive. Pure.

A refusal by the server counts only together with what is there afterwards: a server that says no
and deletes, or says yes and keeps, is not to be believed either way.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from streams.objects.probe_bucket import Answer
from streams.ports import ObjectInfo

__all__ = [
    "Finding",
    "Outcome",
    "Report",
    "Verdict",
    "judge_lock",
    "judge_not_stored",
    "judge_race",
    "judge_refusal",
]

TOLERANCE = timedelta(seconds=1)  # servers round


class Verdict(StrEnum):
    """What became of a promise."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNSUPPORTED = "unsupported"  # said openly, or not to be told from outside
    UNTRIED = "untried"  # something the check needs was missing


class Outcome(NamedTuple):
    """A verdict, and what was found."""

    verdict: Verdict
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise, tried.

    Attributes:
        check: which check, as docs/reference/archive-doctor.md numbers them.
        promise: what a bucket with Object Lock promises.
        needed: the archive relies on it: broken means refused.
        verdict: what became of it.
        expected: what the answer should have been.
        found: what it was.
    """

    check: str
    promise: str
    needed: bool
    verdict: Verdict
    expected: str
    found: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a probe found, in the order of the checks."""

    findings: Sequence[Finding]

    @property
    def refused(self) -> list[Finding]:
        """What the archive cannot live with."""
        return [f for f in self.findings if f.needed and f.verdict is Verdict.BROKEN]

    @property
    def lies(self) -> list[Finding]:
        """Promises that are broken, and that the archive does not rely on."""
        return [f for f in self.findings if not f.needed and f.verdict is Verdict.BROKEN]


def judge_refusal(answer: Answer, *, stands: bool, lock_over: bool) -> Outcome:
    """What must be refused was tried on a locked version; `stands`: it reads as before."""
    if not answer.refused and lock_over:
        return Outcome(Verdict.UNTRIED, f"{answer.said}, but the lock had ended meanwhile")
    if not stands:
        return Outcome(Verdict.BROKEN, f"{answer.said}, and the version is gone or another")
    if answer.accepted:
        return Outcome(Verdict.BROKEN, f"{answer.said}, though the version is still there")
    if not answer.refused:
        return Outcome(Verdict.UNSUPPORTED, f"{answer.said}; the version is still there")
    return Outcome(Verdict.HOLDS, f"{answer.said}, and the version is still there")


def judge_not_stored(answer: Answer, *, versions: int) -> Outcome:
    """A PUT that must be refused was sent; `versions` are under its key now."""
    if versions:
        return Outcome(Verdict.BROKEN, f"{answer.said}, and stored")
    if answer.accepted:
        return Outcome(Verdict.BROKEN, f"{answer.said}, though nothing is stored")
    if answer.status >= 500:
        return Outcome(Verdict.UNSUPPORTED, f"{answer.said}, and nothing stored")
    return Outcome(Verdict.HOLDS, f"{answer.said}, and nothing stored")


def judge_race(answers: Sequence[Answer], *, versions: int) -> Outcome:
    """Several creations of one name at once: exactly one may come about."""
    winners = sum(answer.accepted for answer in answers)
    found = f"{len(answers)} at once: {winners} accepted, {versions} stored"
    if winners > 1 or versions > 1:
        return Outcome(Verdict.BROKEN, found)
    if versions == 0:
        return Outcome(Verdict.UNSUPPORTED, f"{found}; {answers[0].said}")
    return Outcome(Verdict.HOLDS, found)


def judge_lock(info: ObjectInfo, mode: str, until: datetime | None) -> Outcome:
    """Whether a HEAD answer shows the lock that was asked for; no date: any."""
    found = f"{info.lock_mode or 'no lock'} until {info.retain_until or 'no date'}"
    is_date = info.retain_until is not None and (
        until is None or abs(info.retain_until - until) <= TOLERANCE
    )
    if info.lock_mode != mode or not is_date:
        expected = f"{mode} until {until}" if until else mode
        return Outcome(Verdict.BROKEN, f"{found}, asked for {expected}")
    return Outcome(Verdict.HOLDS, found)
