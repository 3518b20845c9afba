"""Whether a worker may start on a bucket: tried, not asked.

A bucket that breaks its promises is refused. One that gives no answer is not: a worker that starts
while its archive is away seals what it may, and the archive's work waits at the gate.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from streams.errors import SettingsError, TransientError
from streams.objects.locations import CheckedStore
from streams.objects.probe import at_start
from streams.objects.probe_bucket import OpenBucket
from streams.ports import Clock, ObjectInfo, ObjectVersion, Published
from streams.telemetry.logs import get_log

__all__ = ["GatedStore", "refuse_pretender"]

TRIED_AGAIN_S = 5.0  # after no answer; until then everybody gets the same one
log = get_log("archive")


class GatedStore:
    """A store nothing is read from or written to before `admit` has let it pass, once.

    Every call raises what `admit` raised: SettingsError for a bucket that is refused,
    TransientError for one that gives no answer. Each is asked for again a little later.
    """

    def __init__(
        self, store: CheckedStore, admit: Callable[[], Awaitable[None]], clock: Clock
    ) -> None:
        self._store = store
        self._admit = admit
        self._clock = clock
        self._lock = asyncio.Lock()
        self._is_admitted = False
        self._failed: SettingsError | TransientError | None = None
        self._failed_at = 0.0

    def __repr__(self) -> str:
        return repr(self._store)

    async def check_bucket(self) -> None:
        """Let it be tried, unless it has passed."""
        await self._open()

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        """As the port says."""
        return await (await self._open()).create(key, body, retain_days=retain_days)

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        """As the port says."""
        return await (await self._open()).get(key, version_id)

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        """As the port says."""
        return await (await self._open()).head(key, version_id)

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        """As the port says."""
        await (await self._open()).extend(key, version_id, until)

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        """As the port says."""
        return await (await self._open()).versions(prefix)

    async def newest(self, key: str) -> Published | None:
        """As the port says."""
        return await (await self._open()).newest(key)

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        """As the port says."""
        return await (await self._open()).replace(key, body, over=over)

    async def close(self) -> None:
        """Idempotent."""
        await self._store.close()

    async def _open(self) -> CheckedStore:
        if self._is_admitted:
            return self._store
        async with self._lock:
            if not self._is_admitted:
                await self._try()
        return self._store

    async def _try(self) -> None:
        if self._failed and self._clock.monotonic() - self._failed_at < TRIED_AGAIN_S:
            raise self._failed
        try:
            await self._admit()
        except (SettingsError, TransientError) as error:
            self._failed, self._failed_at = error, self._clock.monotonic()
            raise
        self._is_admitted, self._failed = True, None


async def refuse_pretender(bucket: OpenBucket, clock: Clock, *, allowed: bool) -> None:
    """Try a bucket with canaries, and close it; takes about a second.

    `allowed`: what it breaks is logged, and that is all.

    Raises:
        SettingsError: it breaks a promise the archive relies on.
        TransientError: no answer.
    """
    try:
        report = await asyncio.to_thread(at_start, bucket, clock)
    finally:
        bucket.close()
    place = f"s3://{bucket.name}/{bucket.prefix}"
    problems = [
        f"{place} only pretends: {f.promise}: {f.found} ({f.check})" for f in report.refused
    ]
    if problems and not allowed:
        raise SettingsError([*problems, "`attestream archive doctor` tells more"])
    for problem in problems:
        log.warning("the archive's bucket is not refused", why=problem)
