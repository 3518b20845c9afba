"""Errors, sorted by what must happen next (docs/ARCHITECTURE.md, "Errors")."""

__all__ = [
    "AttestreamError",
    "BreakError",
    "FencedError",
    "ForkedError",
    "HangingTransactionError",
    "IdentityError",
    "MissingExtraError",
    "NotOwnerError",
    "ObjectExistsError",
    "OutcomeUnknownError",
    "PolicyError",
    "RollbackError",
    "SettingsError",
    "SourceChangedError",
    "SourceGapError",
    "SourceUnreadableError",
    "StoredOtherwiseError",
    "TransientError",
    "VerificationError",
]


class AttestreamError(Exception):
    """Root of every error this project raises on purpose."""


class SettingsError(AttestreamError):
    """The operator's settings are wrong: exit 2 before the first byte, all problems listed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MissingExtraError(AttestreamError):
    """A command needs an optional dependency that is not installed."""


class SourceUnreadableError(AttestreamError):
    """What was to be verified cannot be read at all: exit 3."""


class TransientError(AttestreamError):
    """The network or a server failed in a way that may pass; adapters retried already."""


class OutcomeUnknownError(AttestreamError):
    """A write that may have happened: drop the client and read durable state again."""


class FencedError(AttestreamError):
    """The transactional producer was fenced or its transaction expired: drop it, ask the group."""


class NotOwnerError(AttestreamError):
    """The group refused: another member owns the partition. Let go without a page."""


class ObjectExistsError(AttestreamError):
    """Something else stands under that name than a conditional write expected."""


class VerificationError(AttestreamError):
    """Evidence is wrong: stop, page, never retry, never skip.

    Attributes:
        reason: the label of `attestream_partition_stopped`; never changes for a kind of fault.
        is_lasting: its evidence may be gone at the next start, so that it is kept until an
            operator answers. The others are found again where they were.
        reached: next source offset, size and root of the log it was found at, once the log is
            known to be the claimed one.
    """

    reason = "broken"
    is_lasting = False
    reached: tuple[int, int, bytes] | None = None


class BreakError(VerificationError):
    """The place where a log fails verification (formats §9).

    Attributes:
        kind: one of the break kinds of formats §9.
        index: the leaf index the break is named by.
        detail: one sentence with what was expected and found.
    """

    def __init__(self, kind: str, index: int, detail: str) -> None:
        super().__init__(f"{kind} at index {index}: {detail}")
        self.kind = kind
        self.index = index
        self.detail = detail


class StoredOtherwiseError(VerificationError):
    """A store keeps an object otherwise than it was asked to, and has said so itself.

    Attributes:
        kind: the break kind of formats §9: `lock`, or `archive` for other bytes.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class RollbackError(VerificationError):
    """The log is shorter than, or differs from, what was signed, posted or anchored before."""

    reason = "rollback"
    is_lasting = True


class SourceChangedError(VerificationError):
    """What was sealed of the source is not what the source holds now."""

    reason = "source_changed"
    is_lasting = True


class SourceGapError(VerificationError):
    """The source no longer keeps the next record to seal."""

    reason = "gap"
    is_lasting = True


class IdentityError(VerificationError):
    """A topic, or the log itself, is another one than was claimed."""

    reason = "identity"


class PolicyError(VerificationError):
    """A topic is cleaned up in a way that destroys the order or the history."""

    reason = "policy"


class HangingTransactionError(VerificationError):
    """A transaction of a predecessor neither ends nor is aborted."""

    reason = "hanging_transaction"


class ForkedError(VerificationError):
    """The operator ended this log with a fork."""

    reason = "forked"
