"""Verdicts that outlive the process that reached them (formats §8).

What a verdict rests on may be gone at the next start: retention passes a source that was cut, a
group forgets its position. So a verdict of those kinds is kept beside the claim of its log, and
every later start waits until a note of the operator answers it. Pure; `streams.anchors` stores.
"""

import json
from typing import NamedTuple

import rfc8785

from streams.audit.trust import TrustHistory
from streams.errors import SourceGapError, VerificationError

__all__ = ["StandingVerdictError", "Verdict"]

FORMAT = "attestream.verdict/v1"


class Verdict(NamedTuple):
    """Why a log was stopped, and where it stood.

    Attributes:
        reason: the label of `attestream_partition_stopped`.
        sentence: what was expected and found, for people.
        size: leaves of the log, those included that a restart would restore first.
        root: its root at that size.
        offset: the next source offset to seal.
    """

    reason: str
    sentence: str
    size: int
    root: bytes
    offset: int

    @classmethod
    def of(cls, found: VerificationError) -> "Verdict | None":
        """What is to be kept of an error, None where its evidence stays where it is."""
        if not found.is_lasting or found.reached is None:
            return None
        offset, size, root = found.reached
        return cls(found.reason, str(found), size, root, offset)

    def is_as(self, other: "Verdict") -> bool:
        """The same finding, in whatever words."""
        mine = (self.reason, self.size, self.root, self.offset)
        return mine == (other.reason, other.size, other.root, other.offset)

    def is_answered(self, origin: str, history: TrustHistory) -> bool:
        """Whether a sealed note of the operator answers it.

        A gap can be accepted, by the log's size and the offset it wanted, and the log goes on.
        A fork answers everything: the log has ended, and its next epoch goes on.
        """
        if history.fork(origin) is not None:
            return True
        accepted = history.accepted_gap(origin, self.size, self.offset)
        return self.reason == SourceGapError.reason and accepted is not None

    def render(self) -> bytes:
        """RFC 8785 JSON; numbers are text, since they may pass 2^53."""
        members = {
            "format": FORMAT,
            "reason": self.reason,
            "sentence": self.sentence,
            "size": str(self.size),
            "root": self.root.hex(),
            "offset": str(self.offset),
        }
        return rfc8785.dumps(members)

    @classmethod
    def parse(cls, data: bytes) -> "Verdict":
        """The inverse of `render`.

        Raises:
            VerificationError: not a verdict. What stands there is no reason to go on.
        """
        try:
            members = json.loads(data)
            verdict = cls(
                str(members["reason"]),
                str(members["sentence"]),
                int(members["size"]),
                bytes.fromhex(members["root"]),
                int(members["offset"]),
            )
            if verdict.render() != data:
                raise ValueError("not the one spelling of its members")  # noqa: TRY301
        except (ValueError, TypeError, KeyError) as error:
            raise VerificationError(f"a stored verdict is unreadable: {error}") from error
        return verdict


class StandingVerdictError(VerificationError):
    """An earlier verdict that no operator has answered."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.sentence)
        self.reason = verdict.reason
        self.verdict = verdict
