"""The returning canary: what an earlier run left locked must still be there.

A receipt of it is kept outside the bucket, by whoever runs the probe: a server that loses
everything loses its own memory of it too.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Self

from streams.objects.probe_bucket import Untried
from streams.objects.probe_canaries import CANARIES, RETURNING, Canaries
from streams.objects.probe_checks import Check
from streams.objects.probe_verdicts import TOLERANCE, Outcome, Verdict
from streams.objects.s3_answers import LOCK_MODE, info_of

__all__ = ["Receipt", "leave", "returning_check"]

RETURNS_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was left where. `place` is the address of the archive it was left in."""

    place: str
    key: str
    version_id: str
    sha256: str
    retain_until: datetime

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return {**asdict(self), "retain_until": self.retain_until.isoformat()}

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> Self:
        """Read `as_json`. Raises ValueError, TypeError or KeyError if it is something else."""
        until = datetime.fromisoformat(given["retain_until"])
        return cls(**{**given, "retain_until": until})


def returning_check(remembered: Receipt | None, place: str) -> Check:
    """The check of what an earlier run left."""

    def attempt(c: Canaries) -> Outcome:
        if remembered is None:
            raise Untried("nothing was left by an earlier run: run it again")
        if remembered.place != place:
            raise Untried(f"what is remembered was left in {remembered.place}")
        return _look(c, remembered)

    return Check(
        check="D18",
        promise="what an earlier run left is still there, and locked",
        expected="the same version, SHA-256, mode and date",
        attempt=attempt,
        needed=True,
    )


def _look(c: Canaries, left: Receipt) -> Outcome:
    where = {"Key": left.key, "VersionId": left.version_id}
    head = c.bucket.send("head_object", **where, ChecksumMode="ENABLED")
    over = c.now() > left.retain_until + TOLERANCE
    if head.refused and over:
        raise Untried(f"{head.said}: it is gone, and its lock had ended at {left.retain_until}")
    if not head.accepted:
        verdict = Verdict.BROKEN if head.refused else Verdict.UNSUPPORTED
        return Outcome(verdict, f"{head.said}, locked until {left.retain_until}")
    body = c.bucket.send("get_object", **where).fields.get("Body", b"")
    if sha256(body).hexdigest() != left.sha256:
        return Outcome(Verdict.BROKEN, "the version has other bytes now")
    info = info_of(head.fields)
    kept = info.retain_until is not None and info.retain_until >= left.retain_until - TOLERANCE
    if not over and not (info.lock_mode == LOCK_MODE and kept):
        found = f"{info.lock_mode or 'no lock'} until {info.retain_until}"
        return Outcome(Verdict.BROKEN, f"{found}, left with {LOCK_MODE} until {left.retain_until}")
    return Outcome(Verdict.HOLDS, f"version {left.version_id}, locked until {left.retain_until}")


def leave(c: Canaries, place: str, before: Receipt | None) -> Receipt | None:
    """Leave one for the next run, None if none can be stored; `before` may go when it may."""
    request = c.request("", c.now() + RETURNS_WITHIN)
    request["Key"] = f"{c.bucket.prefix}{CANARIES}{RETURNING}{c.run}"
    try:
        canary = c.stored(request, c.bucket.send("put_object", **request))
    except Untried:
        return None
    if before is not None and before.place == place and before.retain_until < c.now():
        c.bucket.send("delete_object", Key=before.key, VersionId=before.version_id)
    return Receipt(
        place=place,
        key=canary.key,
        version_id=canary.version_id,
        sha256=sha256(canary.body).hexdigest(),
        retain_until=canary.retain_until,
    )
