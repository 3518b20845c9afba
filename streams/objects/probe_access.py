"""Checks of who may ask, what a listing shows, what the lifecycle does, and whose clock it is."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from streams.objects.probe_bucket import Answer, Identity, RawRequest, Untried
from streams.objects.probe_canaries import CANARIES, Canaries
from streams.objects.probe_checks import Check
from streams.objects.probe_verdicts import Outcome, Verdict
from streams.objects.s3_answers import reason_of

__all__ = ["CHECKS", "KEEPS_LOCKS"]

SKEW_S_MAX = 5
OLD_S = 20 * 60
EXPIRED_S = 2 * 60 * 60
PAGES_MAX = 20
REFUSED = "4xx"


def _keeps_locks(c: Canaries) -> Outcome:
    versioning = c.bucket.send("get_bucket_versioning")
    if not versioning.accepted:
        why = reason_of(versioning.code, versioning.status)
        return Outcome(Verdict.BROKEN, f"{why} ({versioning.said})")
    status = versioning.fields.get("Status", "never enabled")
    if status != "Enabled":
        return Outcome(Verdict.BROKEN, f"versioning of the bucket is {status}")
    answer = c.bucket.send("get_object_lock_configuration")
    lock = answer.fields.get("ObjectLockConfiguration", {})
    if lock.get("ObjectLockEnabled") != "Enabled":
        return Outcome(Verdict.BROKEN, f"the bucket has no Object Lock ({answer.said})")
    rule = lock.get("Rule", {}).get("DefaultRetention", {})
    default = " ".join(f"{value} {name}" for name, value in rule.items() if name != "Mode")
    said = f"default {rule.get('Mode')}, {default.lower()}" if rule else "no default retention"
    return Outcome(Verdict.HOLDS, f"versioning and Object Lock are enabled, {said}")


def _wrong_secret(c: Canaries) -> Outcome:
    c.check_signing(RawRequest(**c.raw_put("right-secret", b"by ourselves")))
    how = c.raw_put("wrong-secret", b"by somebody else")
    answer = c.bucket.send_raw(RawRequest(**how, identity=Identity.WRONG_SECRET))
    return c.not_stored(how["key"], answer)


def _anonymous_read(c: Canaries) -> Outcome:
    return _denied(c.bucket.send_raw(_read(c, "anonymous-read", identity=Identity.ANONYMOUS)))


def _anonymous_delete(c: Canaries) -> Outcome:
    canary = c.put("anonymous-delete")
    # A version is kept by its lock already: what must be refused is to hide it.
    request = RawRequest(method="DELETE", key=canary.key, identity=Identity.ANONYMOUS)
    answer = c.bucket.send_raw(request)
    if any(version.is_delete_marker for version in c.versions(canary.key)):
        return Outcome(Verdict.BROKEN, f"{answer.said}, and a delete marker is laid")
    return c.refusal(canary, answer)


def _expired_link(c: Canaries) -> Outcome:
    c.check_signing(_read(c, "link", presigned_s=60))
    return _denied(c.bucket.send_raw(_read(c, "old-link", presigned_s=60, age_s=EXPIRED_S)))


def _old_request(c: Canaries) -> Outcome:
    c.check_signing(_read(c, "request"))
    return _denied(c.bucket.send_raw(_read(c, "old-request", age_s=OLD_S)))


def _read(c: Canaries, name: str, **how: Any) -> RawRequest:  # noqa: ANN401  # RawRequest's
    canary = c.put(name)
    return RawRequest(method="GET", key=canary.key, query={"versionId": canary.version_id}, **how)


def _denied(answer: Answer) -> Outcome:
    if answer.accepted:
        return Outcome(Verdict.BROKEN, answer.said)
    return Outcome(Verdict.HOLDS if answer.refused else Verdict.UNSUPPORTED, answer.said)


class _Pages:
    """What a listing one entry at a time shows."""

    def __init__(self, c: Canaries, names: Sequence[str]) -> None:
        """Store a canary under each of `names`, as its next version where there is one."""
        prefix = c.key(names[0].partition("/")[0]) + "/"
        stored = [
            c.put(name, body=f"{number}".encode(), over=name in names[:number])
            for number, name in enumerate(names)
        ]
        self.stored = [(canary.key, canary.version_id) for canary in stored]
        self.listed: list[tuple[str, str]] = []
        start: Mapping[str, str] | None = {}
        for _ in range(PAGES_MAX):
            if start is None:
                break
            page = c.bucket.send("list_object_versions", Prefix=prefix, MaxKeys=1, **start)
            if not page.accepted:
                raise Untried(f"versions cannot be listed: {page.said}")
            self.listed += [(v["Key"], v["VersionId"]) for v in page.fields.get("Versions", ())]
            start = _following(page.fields)
        self.ends = start is None

    @property
    def found(self) -> str:
        once = len(set(self.listed))
        return (
            f"{len(self.stored)} stored, {once} listed, {len(self.listed) - once} again, "
            f"{'the listing ends' if self.ends else f'no end after {PAGES_MAX} pages'}"
        )


def _following(page: Mapping[str, Any]) -> dict[str, str] | None:
    if not page.get("IsTruncated"):
        return None
    markers = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
    return {name: page[given] for name, given in markers.items() if page.get(given)}


def _listing_ends(c: Canaries) -> Outcome:
    pages = _Pages(c, ["paged/a", "paged/b", "paged/c"])
    whole = pages.ends and set(pages.listed) == set(pages.stored)
    return Outcome(Verdict.HOLDS if whole else Verdict.BROKEN, pages.found)


def _listing_in_order(c: Canaries) -> Outcome:
    pages = _Pages(c, ["listed/a", "listed/a", "listed/a", "listed/b"])
    newest_first = [*reversed(pages.stored[:3]), *pages.stored[3:]]
    verdict = Verdict.HOLDS if pages.listed == newest_first else Verdict.BROKEN
    return Outcome(verdict, pages.found)


def _conditional_delete(c: Canaries) -> Outcome:
    canary = c.put("if-match")
    answer = c.bucket.send("delete_object", Key=canary.key, IfMatch='"00000000"')
    current = c.bucket.send("head_object", Key=canary.key)
    if answer.accepted or not current.accepted:
        return Outcome(Verdict.BROKEN, f"{answer.said}; afterwards a HEAD says {current.said}")
    return Outcome(Verdict.HOLDS if answer.refused else Verdict.UNSUPPORTED, answer.said)


def _lifecycle(c: Canaries) -> Outcome:
    answer = c.bucket.send("get_bucket_lifecycle_configuration")
    if answer.status == 404:
        return Outcome(Verdict.HOLDS, "no lifecycle rules")
    if not answer.accepted:
        raise Untried(f"lifecycle rules cannot be read: {answer.said}")
    archive, canaries = f"{c.bucket.prefix}archive/", f"{c.bucket.prefix}{CANARIES}"
    expiring = [
        str(rule.get("ID", "without a name"))
        for rule in answer.fields.get("Rules", ())
        if rule.get("Status") == "Enabled"
        and ("Expiration" in rule or "NoncurrentVersionExpiration" in rule)
        and _touches(_prefix_of(rule), archive)
        and not _prefix_of(rule).startswith(canaries)
    ]
    if expiring:
        return Outcome(Verdict.BROKEN, f"rules that expire objects: {', '.join(expiring)}")
    return Outcome(Verdict.HOLDS, "no rule expires what is archived")


def _prefix_of(rule: Mapping[str, Any]) -> str:
    chosen = rule.get("Filter", {})
    return str(
        chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or rule.get("Prefix") or ""
    )


def _touches(prefix: str, archive: str) -> bool:
    return archive.startswith(prefix) or prefix.startswith(archive)


def _clock(c: Canaries) -> Outcome:
    before = c.clock.now_ms()
    answer = c.bucket.send("get_bucket_versioning")
    after = c.clock.now_ms()
    if answer.date is None:
        return Outcome(Verdict.BROKEN, "the server's answers have no Date")
    server = answer.date.timestamp()
    # A Date is cut to the second.
    skew = max(before / 1000 - server - 1, server - after / 1000, 0)
    found = f"apart by {skew:.0f} s, server's {answer.date}, ours {_utc(after)}"
    return Outcome(Verdict.HOLDS if skew <= SKEW_S_MAX else Verdict.BROKEN, found)


def _utc(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1000, UTC)


KEEPS_LOCKS = Check(
    check="D1",
    promise="the bucket keeps versions and locks them",
    expected="versioning Enabled, Object Lock Enabled",
    attempt=_keeps_locks,
    needed=True,
    at_start=True,
)
CHECKS = (
    Check(
        check="D12",
        promise="a request signed with a wrong secret is refused",
        expected="4xx, and nothing stored",
        attempt=_wrong_secret,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D12",
        promise="nobody deletes an object without credentials",
        expected="4xx, and no delete marker",
        attempt=_anonymous_delete,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D12",
        promise="nobody reads a version without credentials",
        expected=REFUSED,
        attempt=_anonymous_read,
    ),
    Check(
        check="D12",
        promise="a link that has expired is refused",
        expected=REFUSED,
        attempt=_expired_link,
    ),
    Check(
        check="D12",
        promise="a request signed 20 minutes ago is refused",
        expected=REFUSED,
        attempt=_old_request,
    ),
    Check(
        check="D15",
        promise="a listing of versions ends, and shows all",
        expected="every version, and an end",
        attempt=_listing_ends,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D15",
        promise="a listing shows a key's versions once, newest first",
        expected="newest first, each once",
        attempt=_listing_in_order,
    ),
    Check(
        check="D17",
        promise="a conditional delete is conditional",
        expected="412, and no delete marker",
        attempt=_conditional_delete,
    ),
    Check(
        check="D17",
        promise="no lifecycle rule expires what is archived",
        expected="none",
        attempt=_lifecycle,
    ),
    Check(
        check="D19",
        promise="the server's clock and ours agree",
        expected=f"within {SKEW_S_MAX} s",
        attempt=_clock,
    ),
)
