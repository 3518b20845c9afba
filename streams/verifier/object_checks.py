"""What a listing and a HEAD say of one object, against what was promised of it. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from streams.ports import ObjectInfo, ObjectVersion

__all__ = ["checksum_fault", "lock_fault", "shadow_fault"]

LOCK_MODE = "COMPLIANCE"


def shadow_fault(versions: Sequence[ObjectVersion]) -> str:
    """What was laid over an object; empty for nothing. The oldest version stays the object."""
    if any(version.is_delete_marker for version in versions):
        return f"{versions[0].key} is hidden by a delete marker"
    if len(versions) > 1:
        return f"{versions[0].key} has {len(versions)} versions"
    return ""


def checksum_fault(version: ObjectVersion, info: ObjectInfo, digest: str) -> str:
    """How a version's checksum, by the store, differs from `digest` (hex); empty if it does not.

    A store that keeps no checksum says nothing; nor does an empty `digest`.
    """
    if info.sha256 is None or not digest or info.sha256.hex() == digest:
        return ""
    said = f"the store says that {version.key} has the SHA-256 {info.sha256.hex()}"
    return f"{said}, and it should have {digest}"


def lock_fault(
    version: ObjectVersion, info: ObjectInfo, promised: Iterable[datetime | None]
) -> str:
    """How a version's lock falls short of every date it was promised until; empty if it does not.

    A None promises nothing.
    """
    until = info.retain_until
    if info.lock_mode != LOCK_MODE or until is None:
        return f"{version.key} has no {LOCK_MODE} lock (or s3:GetObjectRetention is missing)"
    least = max((date for date in promised if date is not None), default=until)
    return f"{version.key} is locked until {until}, not {least}" if until < least else ""
