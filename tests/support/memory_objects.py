"""An object store in memory that keeps the laws of one with Object Lock, and its weaknesses.

Versions cannot be changed or removed. Anybody may lay a newer version or a delete marker over
them, as in S3: `overlay` and `mark_deleted`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from streams.errors import ObjectExistsError, SettingsError
from streams.ports import ObjectInfo, ObjectVersion, Published

__all__ = ["EPOCH", "MemoryObjectStore"]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class _Version(NamedTuple):
    version_id: str
    body: bytes | None  # None: a delete marker
    retain_until: datetime | None


@dataclass(slots=True)
class MemoryObjectStore:
    """`ObjectStore` and `PublicStore`. `now` is the server's clock."""

    now: Callable[[], datetime] = lambda: EPOCH
    _versions: dict[str, list[_Version]] = field(default_factory=dict)
    _count: int = 0

    async def check_bucket(self) -> None:
        pass

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        if any(v.body is not None for v in self._versions.get(key, ())):
            raise ObjectExistsError(key)
        return self._add(key, body, self.now() + timedelta(days=retain_days))

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        return next(
            (
                v.body
                for v in self._versions.get(key, ())
                if v.body is not None and version_id in (None, v.version_id)
            ),
            None,
        )

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        for v in self._versions.get(key, ()):
            if v.version_id == version_id and v.body is not None:
                mode = "COMPLIANCE" if v.retain_until else None
                return ObjectInfo(len(v.body), sha256(v.body).digest(), v.retain_until, mode)
        return None

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        versions = self._versions.get(key, [])
        for at, v in enumerate(versions):
            if v.version_id == version_id and v.body is not None:
                later = max(until, v.retain_until or until)
                versions[at] = v._replace(retain_until=later)
                return
        raise SettingsError([f"{key}: no version {version_id}"])

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        return [
            ObjectVersion(key, v.version_id, len(v.body or b""), v.body is None)
            for key in sorted(self._versions, key=str.encode)
            if key.startswith(prefix)
            for v in self._versions[key]
        ]

    async def newest(self, key: str) -> Published | None:
        last = self._versions.get(key, [_Version("", None, None)])[-1]
        return None if last.body is None else Published(last.body, last.version_id)

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        standing = await self.newest(key)
        if standing is not None and standing.body == body:
            return standing.tag
        if (standing.tag if standing else None) != over:
            raise ObjectExistsError(key)
        return self._add(key, body, None)

    async def delete(self, key: str, version_id: str) -> bool:
        versions = self._versions.get(key, [])
        for version in versions:
            if version.version_id == version_id:
                if version.retain_until is not None and version.retain_until > self.now():
                    return False
                versions.remove(version)
                if not versions:
                    del self._versions[key]
        return True

    async def close(self) -> None:
        pass

    def overlay(self, key: str, body: bytes) -> str:
        """A newer version over an object, without a lock."""
        return self._add(key, body, None)

    def lose(self, key: str) -> None:
        """All versions, as only the owner of the disks can."""
        del self._versions[key]

    def mark_deleted(self, key: str) -> None:
        self._add(key, None, None)

    def _add(self, key: str, body: bytes | None, retain_until: datetime | None) -> str:
        self._count += 1
        version_id = f"v{self._count}"
        self._versions.setdefault(key, []).append(_Version(version_id, body, retain_until))
        return version_id
