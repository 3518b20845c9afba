"""Checks of the lock itself: that it is stored, and that nothing ends it before its date."""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

from streams.objects.probe_bucket import Answer, RawRequest
from streams.objects.probe_canaries import Canaries, Canary
from streams.objects.probe_checks import Check
from streams.objects.probe_verdicts import (
    TOLERANCE,
    Outcome,
    Verdict,
    judge_lock,
    judge_not_stored,
)
from streams.objects.s3_answers import LOCK_MODE, Promise

__all__ = ["CHECKS"]

SHORT_S = 3  # a lock whose end is waited for
REFUSED = "4xx, and the version still reads as before"


def _stored_as_sent(c: Canaries) -> Outcome:
    request, answer = c.create("stored")
    if not answer.accepted:
        return Outcome(Verdict.BROKEN, f"a canary was not stored: {answer.said}")
    canary = c.stored(request, answer)
    head = c.bucket.send("head_object", **canary.where, ChecksumMode="ENABLED")
    if not head.accepted:
        return Outcome(Verdict.BROKEN, f"stored, and HEAD by version says {head.said}")
    promise = Promise(
        len(canary.body),
        sha256(canary.body).digest(),
        canary.retain_until,
        c.bucket.encryption.get("SSEKMSKeyId"),
    )
    if fault := promise.broken_by(head.fields):
        return Outcome(Verdict.BROKEN, fault.detail)
    until = head.fields["ObjectLockRetainUntilDate"]
    if until > canary.retain_until + TOLERANCE:
        return Outcome(Verdict.BROKEN, f"locked until {until}, asked for {canary.retain_until}")
    if not c.stands(canary):
        return Outcome(Verdict.BROKEN, "other bytes are read back")
    return Outcome(Verdict.HOLDS, f"{LOCK_MODE} until {until}, {len(canary.body)} bytes, SHA-256")


def _kept_from_delete(name: str, **how: Any) -> Callable[[Canaries], Outcome]:  # noqa: ANN401
    def attempt(c: Canaries) -> Outcome:
        canary = c.put(name)
        return c.refusal(canary, c.bucket.send("delete_object", **canary.where, **how))

    return attempt


def _kept_from_batch(c: Canaries) -> Outcome:
    canary = c.put("batch")
    # A delete marker is never locked: the batch is of one that goes and one that must not.
    marker = c.bucket.send("delete_object", Key=canary.key).fields.get("VersionId")
    objects = [canary.where]
    if marker:
        objects.insert(0, {"Key": canary.key, "VersionId": marker})
    answer = c.bucket.send("delete_objects", Delete={"Objects": objects})
    errors = answer.fields.get("Errors", ())
    for error in errors:
        if error.get("VersionId") == canary.version_id:
            answer = Answer(403, str(error.get("Code", "")), {}, answer.date)
    return c.refusal(canary, answer)


def _kept_retention(
    name: str, change: Callable[[Canaries, Canary], dict[str, Any]]
) -> Callable[[Canaries], Outcome]:
    """A change of the retention must be refused, and the retention stay as it was."""

    def attempt(c: Canaries) -> Outcome:
        canary = c.put(name)
        before = c.info(canary)
        answer = c.bucket.send("put_object_retention", **canary.where, **change(c, canary))
        outcome = c.refusal(canary, answer)
        after = c.info(canary)
        if after != before and outcome.verdict is not Verdict.UNTRIED:
            now = judge_lock(after, LOCK_MODE, canary.retain_until)
            return Outcome(Verdict.BROKEN, f"{answer.said}, and now {now.found}")
        return outcome

    return attempt


def _shorter(c: Canaries, _canary: Canary) -> dict[str, Any]:
    until = c.until(SHORT_S)
    return {"Retention": {"Mode": LOCK_MODE, "RetainUntilDate": until}}


def _governed(_c: Canaries, canary: Canary) -> dict[str, Any]:
    return {"Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": canary.retain_until}}


def _governed_with_bypass(c: Canaries, canary: Canary) -> dict[str, Any]:
    return {**_governed(c, canary), "BypassGovernanceRetention": True}


def _emptied(_c: Canaries, _canary: Canary) -> dict[str, Any]:
    return {"Retention": {}, "BypassGovernanceRetention": True}


def _multipart_lock(c: Canaries) -> Outcome:
    until = c.until()
    complete = c.upload(
        "multipart",
        ObjectLockMode=LOCK_MODE,
        ObjectLockRetainUntilDate=until,
        **c.bucket.encryption,
    )
    answer = c.bucket.send("complete_multipart_upload", **complete)
    body = complete["Key"].encode()
    stored = {"Key": complete["Key"], "Body": body, "ObjectLockRetainUntilDate": until}
    return judge_lock(c.info(c.stored(stored, answer)), LOCK_MODE, until)


def _held_after_its_lock(c: Canaries) -> Outcome:
    canary = c.put("held", lock_s=SHORT_S, ObjectLockLegalHoldStatus="ON")
    c.held(canary)
    c.wait_until(canary.retain_until)
    answer = c.bucket.send("delete_object", **canary.where)
    stands = c.stands(canary)
    if stands and answer.refused:
        return Outcome(Verdict.HOLDS, f"{answer.said}, and the version is still there")
    if stands and not answer.accepted:
        return Outcome(Verdict.UNSUPPORTED, answer.said)
    return Outcome(
        Verdict.BROKEN, f"{answer.said}; the version is {'' if stands else 'not '}there"
    )


def _free_after_its_lock(c: Canaries) -> Outcome:
    canary = c.put("free", lock_s=SHORT_S)
    c.wait_until(canary.retain_until)
    answer = c.bucket.send("delete_object", **canary.where)
    if answer.refused:
        why = "the lock lasts longer than asked for, or nothing may be deleted here"
        return Outcome(Verdict.UNSUPPORTED, f"{answer.said}: {why}")
    if c.stands(canary):
        return Outcome(Verdict.BROKEN, f"{answer.said}, and the version is still there")
    return Outcome(Verdict.HOLDS, f"{answer.said}, {SHORT_S} s after it was stored")


def _past_date(c: Canaries) -> Outcome:
    request = c.request("past", c.now() - timedelta(minutes=1))
    return c.not_stored(request["Key"], c.bucket.send("put_object", **request))


def _mode_without_date(c: Canaries) -> Outcome:
    request = c.request("no-date", c.until())
    del request["ObjectLockRetainUntilDate"]
    return c.not_stored(request["Key"], c.bucket.send("put_object", **request))


def _lock_without_checksum(c: Canaries) -> Outcome:
    c.check_signing(RawRequest(**c.raw_put("with-checksum", b"with")))
    request = RawRequest(**c.raw_put("no-checksum", b"without", with_checksum=False))
    outcome = judge_not_stored(c.bucket.send_raw(request), versions=len(c.versions(request.key)))
    if outcome.verdict is Verdict.BROKEN:
        return Outcome(Verdict.UNSUPPORTED, f"{outcome.found}: the archive always sends one")
    return outcome


CHECKS = (
    Check(
        check="D2",
        promise="a locked object is stored as it was sent",
        expected="HEAD by version shows COMPLIANCE, the date, size and SHA-256; the same bytes",
        attempt=_stored_as_sent,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D3",
        promise="a locked version cannot be deleted",
        expected=REFUSED,
        attempt=_kept_from_delete("delete"),
        needed=True,
        at_start=True,
    ),
    Check(
        check="D3",
        promise="a locked version cannot be deleted by who may bypass governance",
        expected=REFUSED,
        attempt=_kept_from_delete("bypass", BypassGovernanceRetention=True),
        needed=True,
        at_start=True,
    ),
    Check(
        check="D3",
        promise="a locked version cannot be deleted in a batch",
        expected=REFUSED,
        attempt=_kept_from_batch,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D4",
        promise="a lock cannot be shortened",
        expected="4xx, and mode and date as before",
        attempt=_kept_retention("shorten", _shorter),
        needed=True,
        at_start=True,
    ),
    Check(
        check="D4",
        promise="a lock cannot be weakened to GOVERNANCE",
        expected="4xx, and mode and date as before",
        attempt=_kept_retention("weaken", _governed),
        needed=True,
        at_start=True,
    ),
    Check(
        check="D4",
        promise="a lock cannot be weakened by who may bypass governance",
        expected="4xx, and mode and date as before",
        attempt=_kept_retention("weaken-bypass", _governed_with_bypass),
        needed=True,
        at_start=True,
    ),
    Check(
        check="D4",
        promise="a lock cannot be removed",
        expected="4xx, and mode and date as before",
        attempt=_kept_retention("remove", _emptied),
        needed=True,
        at_start=True,
    ),
    Check(
        check="D6",
        promise="a lock asked for is kept through a multipart upload",
        expected="HEAD after completion shows COMPLIANCE and the date",
        attempt=_multipart_lock,
        needed=True,
        at_start=True,
    ),
    Check(
        check="D9",
        promise="a legal hold holds when the lock has ended",
        expected=REFUSED,
        attempt=_held_after_its_lock,
        needed=True,
    ),
    Check(
        check="D9",
        promise="a lock ends on its date",
        expected="the version can be deleted then",
        attempt=_free_after_its_lock,
    ),
    Check(
        check="D14",
        promise="a lock that ends in the past is refused",
        expected="4xx, and nothing stored",
        attempt=_past_date,
    ),
    Check(
        check="D14",
        promise="a lock mode without a date is refused",
        expected="4xx, and nothing stored",
        attempt=_mode_without_date,
    ),
    Check(
        check="D14",
        promise="a lock without a checksum is refused",
        expected="4xx, and nothing stored",
        attempt=_lock_without_checksum,
    ),
)
