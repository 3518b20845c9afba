"""A check: one promise of a bucket, and how it is tried."""

from collections.abc import Callable
from dataclasses import dataclass

from streams.objects.probe_bucket import Untried
from streams.objects.probe_canaries import Canaries
from streams.objects.probe_verdicts import Finding, Outcome, Verdict

__all__ = ["Check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How one promise is tried.

    Attributes:
        check: number in docs/reference/archive-doctor.md.
        promise: in a few words.
        expected: what a bucket with Object Lock answers.
        attempt: tries it; raises Untried where something it needs is missing.
        needed: the archive relies on it.
        at_start: also tried whenever a worker starts; takes no waiting.
    """

    check: str
    promise: str
    expected: str
    attempt: Callable[[Canaries], Outcome]
    needed: bool = False
    at_start: bool = False

    def run(self, canaries: Canaries) -> Finding:
        """Try it."""
        try:
            outcome = self.attempt(canaries)
        except Untried as why:
            outcome = Outcome(Verdict.UNTRIED, str(why))
        except KeyError as missing:
            outcome = Outcome(Verdict.UNTRIED, f"the server's answer has no {missing}")
        return self.finding(outcome)

    def finding(self, outcome: Outcome) -> Finding:
        """The finding of this check with an outcome."""
        return Finding(
            check=self.check,
            promise=self.promise,
            needed=self.needed,
            verdict=outcome.verdict,
            expected=self.expected,
            found=outcome.found,
        )
