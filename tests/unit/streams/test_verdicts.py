"""Verdicts that last: what is kept, in one spelling, and what answers them."""

import pytest

from streams.audit.operations import EpochForked, GapAccepted
from streams.audit.trust import TrustHistory
from streams.errors import (
    BreakError,
    HangingTransactionError,
    IdentityError,
    PolicyError,
    RollbackError,
    SourceChangedError,
    SourceGapError,
    VerificationError,
)
from streams.verdicts import Verdict

ORIGIN = "audit.example.com/authz.decisions/0"
GAP = Verdict("gap", "retention took records", 3, bytes(range(32)), 2**60)


def test_a_verdict_is_read_as_it_was_written() -> None:
    assert Verdict.parse(GAP.render()) == GAP
    assert b'"offset":"1152921504606846976"' in GAP.render()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        GAP.render() + b" ",
        GAP.render().replace(b"v1", b"v2"),
        GAP.render().replace(b'"3"', b'"03"'),
        GAP.render().replace(b'"3"', b"3"),
        GAP.render().replace(b'"size"', b'"Size"'),
    ],
)
def test_what_is_no_verdict_is_no_reason_to_go_on(data: bytes) -> None:
    with pytest.raises(VerificationError, match="unreadable"):
        Verdict.parse(data)


@pytest.mark.parametrize("kind", [RollbackError, SourceChangedError, SourceGapError])
def test_evidence_that_can_vanish_is_kept_once_the_log_is_known(
    kind: type[VerificationError],
) -> None:
    found = kind("a sentence")
    assert Verdict.of(found) is None
    found.reached = (7, 3, bytes(32))
    assert Verdict.of(found) == Verdict(kind.reason, "a sentence", 3, bytes(32), 7)


@pytest.mark.parametrize(
    "found",
    [
        IdentityError("another topic"),
        PolicyError("compact"),
        HangingTransactionError("hangs"),
        BreakError("altered", 0, "a byte"),
    ],
    ids=lambda found: type(found).__name__,
)
def test_evidence_that_stays_where_it_is_is_not_kept(found: VerificationError) -> None:
    found.reached = (7, 3, bytes(32))
    assert Verdict.of(found) is None


@pytest.mark.parametrize(
    ("origin", "size", "expected", "is_answer"),
    [
        (ORIGIN, 3, 2**60, True),
        (ORIGIN, 4, 2**60, False),
        (ORIGIN, 3, 2**60 - 1, False),
        (ORIGIN[:-1] + "1", 3, 2**60, False),
    ],
)
def test_a_gap_is_answered_by_its_own_note_alone(
    origin: str, size: int, expected: int, *, is_answer: bool
) -> None:
    history = TrustHistory()
    history.apply(GapAccepted(origin=origin, size=size, expected=expected, left=2**61))
    assert GAP.is_answered(ORIGIN, history) is is_answer
    assert not GAP._replace(reason="rollback").is_answered(ORIGIN, history)


def test_a_fork_answers_whatever_stopped_the_log_it_ends() -> None:
    history = TrustHistory()
    history.apply(
        EpochForked(
            origin=ORIGIN,
            size=3,
            root=bytes(32),
            epoch=1,
            cluster_id="cluster",
            topic_id="topic",
            offset=0,
        )
    )
    assert GAP.is_answered(ORIGIN, history)
    assert not GAP.is_answered(f"{ORIGIN}/e1", history)


def test_the_same_finding_in_other_words_is_the_same() -> None:
    assert GAP.is_as(GAP._replace(sentence="retention took records, and then more"))
    assert not GAP.is_as(GAP._replace(offset=GAP.offset + 1))
    assert not GAP.is_as(GAP._replace(reason="rollback"))
