"""`LogHead`: where one log stood when the roster was written (formats §5)."""

from dataclasses import dataclass

from schemas.errors import InvalidEventError

__all__ = ["LogHead", "check_head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """The newest checkpoint of a log, verbatim, and the SHA-256 of its newest manifest, if any."""

    origin: str
    note: str
    manifest_sha256: bytes | None = None


def check_head(head: LogHead) -> None:
    """Raise InvalidEventError where a head names no log, or is of another one."""
    if not head.origin or not head.note.startswith(f"{head.origin}\n"):
        raise InvalidEventError("log head: the note is a checkpoint of the origin")
    if head.manifest_sha256 is not None and len(head.manifest_sha256) != 32:
        raise InvalidEventError("manifest_sha256: is not 32 bytes")
