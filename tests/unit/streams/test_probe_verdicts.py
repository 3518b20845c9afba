"""What a check's answers mean."""

from datetime import UTC, datetime, timedelta

import pytest

from streams.objects.probe_bucket import Answer
from streams.objects.probe_verdicts import (
    Finding,
    Report,
    Verdict,
    judge_lock,
    judge_not_stored,
    judge_race,
    judge_refusal,
)
from streams.ports import ObjectInfo

UNTIL = datetime(2027, 1, 1, tzinfo=UTC)


def said(status: int, code: str = "") -> Answer:
    return Answer(status, code, {}, None)


@pytest.mark.parametrize(
    ("status", "stands", "over", "verdict"),
    [
        (403, True, False, Verdict.HOLDS),
        (400, True, False, Verdict.HOLDS),  # servers differ in which 4xx
        (403, True, True, Verdict.HOLDS),
        (403, False, False, Verdict.BROKEN),  # says no, and deletes
        (403, False, True, Verdict.BROKEN),
        (204, False, False, Verdict.BROKEN),
        (204, True, False, Verdict.BROKEN),  # says yes, and keeps
        (204, False, True, Verdict.UNTRIED),  # nothing was promised any more
        (500, True, False, Verdict.UNSUPPORTED),
        (500, False, False, Verdict.BROKEN),
        (0, True, False, Verdict.UNSUPPORTED),
    ],
)
def test_a_refusal_counts_only_with_what_is_there_afterwards(
    status: int, *, stands: bool, over: bool, verdict: Verdict
) -> None:
    outcome = judge_refusal(said(status), stands=stands, lock_over=over)
    assert outcome.verdict is verdict, outcome.found


@pytest.mark.parametrize(
    ("status", "versions", "verdict"),
    [
        (412, 0, Verdict.HOLDS),
        (412, 1, Verdict.BROKEN),
        (200, 0, Verdict.BROKEN),
        (200, 1, Verdict.BROKEN),
        (500, 0, Verdict.UNSUPPORTED),
        (500, 1, Verdict.BROKEN),
        (0, 0, Verdict.HOLDS),
    ],
)
def test_what_is_stored_decides_over_what_is_said(
    status: int, versions: int, verdict: Verdict
) -> None:
    assert judge_not_stored(said(status), versions=versions).verdict is verdict


@pytest.mark.parametrize(
    ("statuses", "versions", "verdict"),
    [
        ([200, 412, 412], 1, Verdict.HOLDS),
        ([500, 412, 412], 1, Verdict.HOLDS),  # the winner's answer was lost
        ([200, 200, 412], 2, Verdict.BROKEN),
        ([200, 200, 412], 1, Verdict.BROKEN),
        ([200, 412, 412], 2, Verdict.BROKEN),
        ([501, 501, 501], 0, Verdict.UNSUPPORTED),
    ],
)
def test_a_race_has_one_winner_and_one_version(
    statuses: list[int], versions: int, verdict: Verdict
) -> None:
    assert judge_race([said(s) for s in statuses], versions=versions).verdict is verdict


@pytest.mark.parametrize(
    ("mode", "until", "verdict"),
    [
        ("COMPLIANCE", UNTIL, Verdict.HOLDS),
        ("COMPLIANCE", UNTIL + timedelta(milliseconds=400), Verdict.HOLDS),  # servers round
        ("COMPLIANCE", UNTIL - timedelta(seconds=2), Verdict.BROKEN),
        ("COMPLIANCE", UNTIL + timedelta(days=1), Verdict.BROKEN),
        ("COMPLIANCE", None, Verdict.BROKEN),
        ("GOVERNANCE", UNTIL, Verdict.BROKEN),
        (None, None, Verdict.BROKEN),
    ],
)
def test_a_lock_is_that_which_was_asked_for(
    mode: str | None, until: datetime | None, verdict: Verdict
) -> None:
    assert judge_lock(ObjectInfo(1, None, until, mode), "COMPLIANCE", UNTIL).verdict is verdict


def test_only_a_broken_promise_that_is_needed_refuses() -> None:
    findings = [
        Finding(check="D1", promise="p", needed=needed, verdict=verdict, expected="e", found="f")
        for needed in (True, False)
        for verdict in Verdict
    ]
    report = Report(findings)
    assert [(f.needed, f.verdict) for f in report.refused] == [(True, Verdict.BROKEN)]
    assert [(f.needed, f.verdict) for f in report.lies] == [(False, Verdict.BROKEN)]
    assert findings[0].as_json()["verdict"] == "holds"


def test_what_a_server_said_is_told_in_few_words() -> None:
    assert said(412, "PreconditionFailed").said == "412 PreconditionFailed"
    assert said(403, "403").said == "403"
    assert said(0, "TimeoutError").said == "no answer (TimeoutError)"
