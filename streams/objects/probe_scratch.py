"""Checks that change a bucket, or might lose it: only ever tried on one that was given for them.

One at a time, the deletion of the bucket last. Whatever was set is set back.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from streams.objects.probe_bucket import Answer, Untried
from streams.objects.probe_canaries import Canaries, Canary, checksum
from streams.objects.probe_checks import Check
from streams.objects.probe_verdicts import Outcome, Verdict, judge_lock
from streams.ports import ObjectInfo

__all__ = ["CHECKS"]

# Not COMPLIANCE: a default lasts a day at least, and what it locked is removed afterwards.
DEFAULT_MODE = "GOVERNANCE"
POLICY_TRIES = 10
POLICY_PAUSE_S = 0.3
SHOWN = f"HEAD shows {DEFAULT_MODE} and a date"


@contextmanager
def _default_retention(c: Canaries) -> Iterator[None]:
    """While it lasts the bucket has a default retention of one day."""
    before = c.bucket.send("get_object_lock_configuration").fields.get("ObjectLockConfiguration")
    rule = {"DefaultRetention": {"Mode": DEFAULT_MODE, "Days": 1}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    answer = c.bucket.send("put_object_lock_configuration", ObjectLockConfiguration=lock)
    if not answer.accepted:
        raise Untried(f"no default retention could be set: {answer.said}")
    try:
        yield
    finally:
        lock = before or {"ObjectLockEnabled": "Enabled"}
        c.bucket.send("put_object_lock_configuration", ObjectLockConfiguration=lock)


def _stamped(
    store: Callable[[Canaries], tuple[str, Answer]],
) -> Callable[[Canaries], Outcome]:
    def attempt(c: Canaries) -> Outcome:
        with _default_retention(c):
            key, answer = store(c)
            if not answer.accepted:
                raise Untried(f"nothing could be stored: {answer.said}")
            return judge_lock(_info(c, key, answer), DEFAULT_MODE, None)

    return attempt


def _info(c: Canaries, key: str, answer: Answer) -> ObjectInfo:
    version = str(answer.fields.get("VersionId"))
    return c.info(Canary(key=key, version_id=version, body=b"", retain_until=c.now()))


def _unlocked_put(c: Canaries) -> tuple[str, Answer]:
    key = c.key("default")
    body = key.encode()
    return key, c.bucket.send("put_object", Key=key, Body=body, ChecksumSHA256=checksum(body))


def _unlocked_upload(c: Canaries) -> tuple[str, Answer]:
    complete = c.upload("default-upload")
    return complete["Key"], c.bucket.send("complete_multipart_upload", **complete)


def _unlocked_copy(c: Canaries) -> tuple[str, Answer]:
    source = c.put("copied")
    key = c.key("default-copy")
    where = {"Bucket": c.bucket.name, **source.where}
    return key, c.bucket.send("copy_object", Key=key, CopySource=where)


def _versioning_stays(c: Canaries) -> Outcome:
    suspend = {"Status": "Suspended"}
    answer = c.bucket.send("put_bucket_versioning", VersioningConfiguration=suspend)
    status = c.bucket.send("get_bucket_versioning").fields.get("Status")
    if answer.accepted or status != "Enabled":
        enable = {"Status": "Enabled"}
        c.bucket.send("put_bucket_versioning", VersioningConfiguration=enable)
        return Outcome(Verdict.BROKEN, f"{answer.said}, and versioning is {status}")
    verdict = Verdict.HOLDS if answer.refused else Verdict.UNSUPPORTED
    return Outcome(verdict, f"{answer.said}, and versioning is {status}")


def _policy_obeyed(c: Canaries) -> Outcome:
    resource = f"arn:aws:s3:::{c.bucket.name}/{c.key('denied')}/*"
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    before = c.bucket.send("get_bucket_policy").fields.get("Policy")
    answer = c.bucket.send("put_bucket_policy", Policy=policy)
    if not answer.accepted:
        raise Untried(f"no policy could be set: {answer.said}")
    try:
        return _denied(c)
    finally:
        if before:
            c.bucket.send("put_bucket_policy", Policy=before)
        else:
            c.bucket.send("delete_bucket_policy")


def _denied(c: Canaries) -> Outcome:
    pause = Event()
    answer = None
    # A policy takes a moment to be known everywhere.
    for number in range(POLICY_TRIES):
        answer = c.bucket.send("put_object", **c.request(f"denied/{number}", c.until()))
        if answer.refused:
            return Outcome(Verdict.HOLDS, answer.said)
        pause.wait(POLICY_PAUSE_S)
    assert answer is not None
    return Outcome(Verdict.BROKEN, f"{answer.said}, for {POLICY_TRIES * POLICY_PAUSE_S:.0f} s")


def _bucket_stays(c: Canaries) -> Outcome:
    canary = c.put("last")
    c.bucket.send("delete_object", Key=canary.key)
    return c.refusal(canary, c.bucket.send("delete_bucket"))


CHECKS = (
    Check(
        check="D5",
        promise="the bucket's default retention is given to a PUT",
        expected=SHOWN,
        attempt=_stamped(_unlocked_put),
    ),
    Check(
        check="D5",
        promise="the bucket's default retention is given to a multipart upload",
        expected=SHOWN,
        attempt=_stamped(_unlocked_upload),
    ),
    Check(
        check="D5",
        promise="the bucket's default retention is given to a copy",
        expected=SHOWN,
        attempt=_stamped(_unlocked_copy),
    ),
    Check(
        check="D7",
        promise="versioning cannot be suspended under Object Lock",
        expected="4xx, and versioning Enabled",
        attempt=_versioning_stays,
        needed=True,
    ),
    Check(
        check="D13",
        promise="a policy that denies is obeyed, by the archive's own credentials too",
        expected="4xx",
        attempt=_policy_obeyed,
    ),
    Check(
        check="D8",
        promise="a bucket that holds a locked version cannot be deleted",
        expected="4xx, and the version still reads as before",
        attempt=_bucket_stays,
        needed=True,
    ),
)
