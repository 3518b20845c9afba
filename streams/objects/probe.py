"""The probe: every promise of Object Lock, tried on the real bucket with canaries.

`at_start` is what a worker tries: what the archive needs, and nothing that takes waiting.
`everything` is `attestream archive doctor`. docs/reference/archive-doctor.md has each check.
Blocking: run it in a thread.
"""

import re
import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from streams.objects import probe_access, probe_locks, probe_scratch, probe_writes
from streams.objects.probe_access import KEEPS_LOCKS
from streams.objects.probe_bucket import Bucket
from streams.objects.probe_canaries import Canaries
from streams.objects.probe_checks import Check
from streams.objects.probe_returning import Receipt, leave, returning_check
from streams.objects.probe_verdicts import Finding, Outcome, Report, Verdict
from streams.ports import Clock

__all__ = ["CHECKS", "Memory", "at_start", "everything"]

AT_ONCE = 8
CHECKS: tuple[Check, ...] = (
    *probe_locks.CHECKS,
    *probe_writes.CHECKS,
    *probe_access.CHECKS,
)
NO_SCRATCH = Outcome(Verdict.UNTRIED, "only on a bucket given for it: --scratch-bucket NAME")
USELESS = Outcome(Verdict.UNTRIED, "the bucket keeps no locks at all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is kept between runs, outside the bucket.

    Attributes:
        place: the address of the archive.
        left: what an earlier run left in a bucket.
    """

    place: str
    left: Receipt | None


def at_start(bucket: Bucket, clock: Clock) -> Report:
    """Try what the archive cannot live without; quick.

    Raises:
        TransientError: the bucket does not answer.
        SettingsError: nothing can be sent to it.
    """
    canaries = _canaries(bucket, clock, secrets.token_hex(8))
    checks = [check for check in CHECKS if check.at_start]
    try:
        return _report(_try(canaries, checks))
    finally:
        canaries.clean()


def everything(
    bucket: Bucket, clock: Clock, scratch: Bucket | None, memory: Memory
) -> tuple[Report, Receipt | None]:
    """Try all of it; the report, and what was left for the next run.

    `scratch` is a bucket with Object Lock that may be changed, and lost.

    Raises:
        TransientError: a bucket does not answer.
        SettingsError: nothing can be sent to it.
    """
    run = secrets.token_hex(8)
    canaries = _canaries(bucket, clock, run)
    try:
        findings = _try(canaries, CHECKS)
        findings.append(returning_check(memory.left, memory.place).run(canaries))
        left = leave(canaries, memory.place, memory.left)
    finally:
        canaries.clean()
    if scratch is None:
        findings += [check.finding(NO_SCRATCH) for check in probe_scratch.CHECKS]
    else:
        findings += _try_scratch(_canaries(scratch, clock, run))
    return _report(findings), left


def _canaries(bucket: Bucket, clock: Clock, run: str) -> Canaries:
    canaries = Canaries(bucket, clock, run)
    canaries.learn_time(bucket.send("get_bucket_versioning"))
    return canaries


def _try(canaries: Canaries, checks: Sequence[Check]) -> list[Finding]:
    first = KEEPS_LOCKS.run(canaries)
    if first.verdict is not Verdict.HOLDS:
        return [first, *(check.finding(USELESS) for check in checks)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [first, *pool.map(lambda check: check.run(canaries), checks)]


def _try_scratch(canaries: Canaries) -> list[Finding]:
    first = KEEPS_LOCKS.run(canaries)
    try:
        if first.verdict is not Verdict.HOLDS:
            unusable = Outcome(Verdict.UNTRIED, f"the scratch bucket: {first.found}")
            return [check.finding(unusable) for check in probe_scratch.CHECKS]
        return [check.run(canaries) for check in probe_scratch.CHECKS]
    finally:
        canaries.clean(bypass=True)


def _report(findings: Iterable[Finding]) -> Report:
    return Report(sorted(findings, key=lambda finding: int(re.sub(r"\D", "", finding.check))))
