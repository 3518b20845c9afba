"""What a worker does with a bucket that breaks its promises."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.objects.probe_bucket import Answer, RawRequest, Untried
from streams.objects.probe_canaries import Canaries
from streams.objects.probe_checks import Check
from streams.objects.probe_verdicts import Outcome, Verdict
from streams.settings import load_settings


@dataclass
class NoBucket:
    """Refuses everything."""

    name: str = "bucket"
    prefix: str = ""
    encryption: dict[str, str] = field(default_factory=dict)

    def send(self, operation: str, **parameters: Any) -> Answer:
        return Answer(403, f"{operation} denied", parameters, None)

    def send_once(self, operation: str, **parameters: Any) -> Answer:
        return self.send(operation, **parameters)

    def send_raw(self, request: RawRequest) -> Answer:
        return self.send(request.method)


def check(attempt: Any) -> Check:
    return Check(check="D1", promise="p", expected="e", attempt=attempt, needed=True)


@pytest.mark.parametrize(
    ("error", "found"),
    [(Untried("why"), "why"), (KeyError("ETag"), "the server's answer has no 'ETag'")],
)
def test_a_check_that_cannot_be_made_is_no_verdict(error: Exception, found: str) -> None:
    def attempt(_canaries: Canaries) -> Outcome:
        raise error

    finding = check(attempt).run(Canaries(NoBucket(), SystemClock(), "run"))
    assert (finding.verdict, finding.found) == (Verdict.UNTRIED, found)


def test_a_pretender_is_allowed_in_development_only() -> None:
    allowed = {"ATTESTREAM_ALLOW_UNLOCKED_ARCHIVE": "1"}
    assert load_settings(allowed).allow_unlocked_archive
    assert not load_settings({}).allow_unlocked_archive
    with pytest.raises(SettingsError) as refused:
        load_settings(allowed | {"ATTESTREAM_ENV": "production"})
    problems = [p for p in refused.value.problems if "UNLOCKED" in p]
    assert problems == [
        "ATTESTREAM_ALLOW_UNLOCKED_ARCHIVE is for development: refused in production"
    ]
