"""Why a snapshot cannot be used, in one sentence."""

from streams.errors import AttestreamError

__all__ = ["SnapshotRefusedError", "UnknownKeyError"]


class SnapshotRefusedError(AttestreamError):
    """A snapshot is damaged, incomplete, of another version or of another history.

    It is not used, and the projection is rebuilt from leaf 0: nothing is lost but time.
    """


class UnknownKeyError(SnapshotRefusedError):
    """None of the keys at hand opens a snapshot's data key: nothing is known about it."""
