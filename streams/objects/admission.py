"""Whether a worker may start on a bucket: tried, not asked."""

import asyncio

from streams.errors import SettingsError
from streams.objects.probe import at_start
from streams.objects.probe_bucket import OpenBucket
from streams.ports import Clock
from streams.telemetry.logs import get_log

__all__ = ["refuse_pretender"]

log = get_log("archive")


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
