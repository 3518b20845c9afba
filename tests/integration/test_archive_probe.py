"""Each check of the probe, on a real server that lies in exactly that way."""

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streams.clock import SystemClock
from streams.errors import TransientError
from streams.objects import probe_scratch
from streams.objects.locations import open_probed
from streams.objects.probe import CHECKS, at_start
from streams.objects.probe_bucket import OpenBucket
from streams.objects.probe_canaries import Canaries
from streams.objects.probe_checks import Check
from streams.objects.probe_returning import Receipt, leave, returning_check
from streams.objects.probe_verdicts import Finding, Verdict
from tests.support.local_s3 import READER, LocalS3
from tests.support.lying_s3 import Lie, Reply, Request, lying_s3, without
from tests.support.s3_fixtures import S3Server

pytestmark = [pytest.mark.integration]

CLOCK = SystemClock()


class Later(SystemClock):
    """A monotonic clock that can be put on."""

    by = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.by


MODE, DATE = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    """One bucket for all: every run has canaries of its own."""
    return s3_server.make_bucket()


def opened(server: S3Server, bucket: str) -> OpenBucket:
    found = open_probed(f"s3://{bucket}/log", server.connection, CLOCK)
    assert found is not None
    return found


def canaries_in(server: S3Server, bucket: str) -> Canaries:
    canaries = Canaries(opened(server, bucket), CLOCK, secrets.token_hex(4))
    canaries.learn_time(canaries.bucket.send("get_bucket_versioning"))
    return canaries


def check(number: str, words: str = "") -> Check:
    checks = (*CHECKS, *probe_scratch.CHECKS)
    (found,) = [c for c in checks if c.check == number and words in c.promise]
    return found


def only(
    lie: Callable[[Request], Request | Reply], when: Callable[[Request], bool]
) -> Callable[[Request], Request | Reply]:
    """The lie where `when` says so."""
    return lambda request: lie(request) if when(request) else request


def header(name: str, value: str) -> Callable[[Request], Request]:
    def changed(request: Request) -> Request:
        if name not in request.headers:
            return request
        return replace(request, headers={**request.headers, name: value})

    return changed


def lasting(seconds: int) -> Callable[[Request], Request]:
    """Every lock lasts so long, whatever was asked for."""

    def changed(request: Request) -> Request:
        until = datetime.fromtimestamp(CLOCK.now_ms() // 1000 + seconds, UTC)
        return header(DATE, until.strftime("%Y-%m-%dT%H:%M:%SZ"))(request)

    return changed


def is_delete(request: Request) -> bool:
    return request.method == "DELETE" and "versionId" in request.asks


def deletes_and_says_no(request: Request, reply: Reply) -> Reply:
    if is_delete(request) and request.path.endswith("/delete"):
        return Reply(status=403)
    return reply


def changes_and_says_no(request: Request, reply: Reply) -> Reply:
    return Reply(status=403) if "retention" in request.asks else reply


def circular(request: Request, reply: Reply) -> Reply:
    if "versions" not in request.asks or request.asks.get("max-keys") != "1":
        return reply
    body = reply.body.replace(b"<IsTruncated>false", b"<IsTruncated>true")
    return replace(reply, body=body)


def other_bytes(request: Request, reply: Reply) -> Reply:
    if request.method == "GET" and request.path.endswith("/stored"):
        return replace(reply, body=reply.body[::-1])
    return reply


LIES: dict[str, tuple[Lie, set[str]]] = {
    "drops locks": (Lie(request=without("x-amz-object-lock")), {"D2", "D3", "D4", "D6"}),
    "drops the locks of uploads": (
        Lie(request=only(without("x-amz-object-lock"), lambda r: r.method == "POST")),
        {"D6"},
    ),
    "shortens locks": (Lie(request=lasting(10)), {"D2", "D6"}),
    "lengthens locks": (Lie(request=lasting(600)), {"D2", "D6"}),
    "weakens locks": (Lie(request=header(MODE, "GOVERNANCE")), {"D2", "D3", "D4", "D6"}),
    "drops conditions": (Lie(request=without("if-none-match")), {"D10"}),
    "drops checksums": (
        Lie(request=without("x-amz-checksum", "x-amz-sdk-checksum")),
        {"D2", "D11"},
    ),
    "says deleted, and is not": (
        Lie(request=only(lambda _: Reply(status=204), is_delete)),
        {"D3"},
    ),
    "says refused, and deletes": (
        Lie(
            request=only(without("x-amz-object-lock"), lambda r: r.path.endswith("/delete")),
            reply=deletes_and_says_no,
        ),
        {"D3"},
    ),
    "says the lock is changed": (
        Lie(request=only(lambda _: Reply(status=200), lambda r: "retention" in r.asks)),
        {"D4"},
    ),
    "says refused, and changes the lock": (
        Lie(
            request=only(without("x-amz-object-lock"), lambda r: r.path.endswith("/shorten")),
            reply=changes_and_says_no,
        ),
        {"D4"},
    ),
    "takes any signature": (Lie(takes_any_signature=True), {"D12"}),
    "lists for ever": (Lie(reply=circular), {"D15"}),
    "reads other bytes": (Lie(reply=other_bytes), {"D2"}),
}


def verdicts(canaries: Canaries, checks: Sequence[Check]) -> dict[str, list[Finding]]:
    """What was found, by verdict."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda check: check.run(canaries), checks))
    return {v.value: [f for f in found if f.verdict is v] for v in Verdict}


@pytest.mark.parametrize("name", LIES)
def test_a_worker_refuses_a_server_that(s3_server: S3Server, bucket: str, name: str) -> None:
    lie, caught = LIES[name]
    with lying_s3(s3_server, lie) as liar:
        tried = [c for c in CHECKS if c.at_start and c.check in caught | {"D2"}]
        found = verdicts(canaries_in(liar, bucket), tried)
    assert {f.check for f in found["broken"]} == caught, found
    assert not found["untried"]


def test_an_honest_bucket_is_not_accused_and_keeps_only_short_locks(
    s3_server: S3Server, bucket: str
) -> None:
    honest = open_probed(f"s3://{bucket}/honest", s3_server.connection, CLOCK)
    assert honest is not None
    report = at_start(honest, CLOCK)
    assert {f.verdict for f in report.findings} == {Verdict.HOLDS}, report.findings
    assert {f.check for f in report.findings} >= {"D1", "D2", "D3", "D4", "D6", "D10", "D12"}
    client = s3_server.client()
    for version in client.list_object_versions(Bucket=bucket, Prefix="honest/")["Versions"]:
        assert version["Key"].startswith("honest/canary/v1/")
        lock = client.get_object_retention(
            Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"]
        )["Retention"]
        assert lock["RetainUntilDate"] - version["LastModified"] < timedelta(minutes=1)


def test_canaries_of_earlier_runs_are_swept_and_nothing_else(s3_server: S3Server) -> None:
    bucket, client = s3_server.make_bucket(), s3_server.client()
    canaries = canaries_in(s3_server, bucket)
    earlier = ["log/canary/v1/earlier/a", "log/canary/v1/returning/b"]
    others = ["log/archive/v1/a", "log/canary/v10", "canary/v1/c"]
    for key in [*earlier, *others, canaries.key("mine")]:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    canaries.put("locked")
    canaries.clean()
    kept = {canaries.key("locked"), *earlier, *others}
    assert {v["Key"] for v in client.list_object_versions(Bucket=bucket)["Versions"]} == kept
    clock = Later()
    late = Canaries(opened(s3_server, bucket), clock, "another")
    late.learn_time(late.bucket.send("get_bucket_versioning"))
    clock.by = 601.0
    late.clean()
    left = {v["Key"] for v in client.list_object_versions(Bucket=bucket)["Versions"]}
    assert left == kept - {"log/canary/v1/earlier/a"}


TORN = Lie(keeps_torn=True)
UNCONDITIONAL = Lie(request=without("if-none-match"))
UNHELD = Lie(request=without("x-amz-object-lock-legal-hold"))
HOUR_AHEAD = Lie(reply=lambda _, reply: dated(reply, timedelta(hours=1)))
SUSPENDING = Lie(
    request=only(
        lambda _: Reply(status=200), lambda r: r.method == "PUT" and r.query == "versioning"
    )
)


def dated(reply: Reply, apart: timedelta) -> Reply:
    moment = datetime.fromtimestamp(CLOCK.now_ms() // 1000, UTC) + apart
    return replace(reply, headers={**reply.headers, "date": format_datetime(moment, usegmt=True)})


@pytest.mark.parametrize(
    ("number", "words", "lie"),
    [
        ("D7", "suspended", SUSPENDING),
        ("D9", "legal hold", UNHELD),
        ("D10", "writers of one name", UNCONDITIONAL),
        ("D11", "cut short", TORN),
        ("D19", "clock", HOUR_AHEAD),
    ],
)
def test_the_doctor_sees_a_server_that_lies_about(
    s3_server: S3Server, bucket: str, number: str, words: str, lie: Lie
) -> None:
    with lying_s3(s3_server, lie) as liar:
        finding = check(number, words).run(canaries_in(liar, bucket))
    assert finding.verdict is Verdict.BROKEN, finding.found


def test_a_bucket_deleted_over_a_locked_version_is_seen(s3_server: S3Server) -> None:
    scratch = s3_server.make_bucket()
    deleted = only(
        lambda _: Reply(status=204), lambda r: r.method == "DELETE" and r.path.count("/") == 1
    )
    with lying_s3(s3_server, Lie(request=deleted)) as liar:
        finding = check("D8").run(canaries_in(liar, scratch))
    assert finding.verdict is Verdict.BROKEN, finding.found


def test_what_a_bucket_was_set_to_is_set_back(s3_server: S3Server) -> None:
    scratch, client = s3_server.make_bucket(), s3_server.client()
    canaries = canaries_in(s3_server, scratch)
    found = [c.run(canaries) for c in probe_scratch.CHECKS if c.check != "D8"]
    assert Verdict.UNTRIED not in {f.verdict for f in found}
    lock = client.get_object_lock_configuration(Bucket=scratch)["ObjectLockConfiguration"]
    assert "Rule" not in lock
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        client.get_bucket_policy(Bucket=scratch)


def test_a_lifecycle_that_expires_the_archive_is_named(s3_server: S3Server) -> None:
    bucket, client = s3_server.make_bucket(), s3_server.client()
    canaries = canaries_in(s3_server, bucket)

    def found(prefix: str) -> Finding:
        rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": prefix}}
        rules: Any = {"Rules": [{**rule, "Expiration": {"Days": 30}}]}
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
        return check("D17", "lifecycle").run(canaries)

    assert found("log/canary/").verdict is Verdict.HOLDS
    assert found("elsewhere/").verdict is Verdict.HOLDS
    for prefix in ("", "log/", "log/archive/v1/"):
        assert found(prefix).verdict is Verdict.BROKEN
        assert "tidy" in found(prefix).found


def test_what_an_earlier_run_left_must_still_be_there(s3_server: S3Server, bucket: str) -> None:
    canaries = canaries_in(s3_server, bucket)
    left = leave(canaries, "place", None)
    assert left is not None
    assert Receipt.of_json(left.as_json()) == left

    def look(receipt: Receipt | None, seen: Canaries = canaries) -> tuple[Verdict, str]:
        finding = returning_check(receipt, "place").run(seen)
        return finding.verdict, finding.found

    assert look(left)[0] is Verdict.HOLDS
    assert look(None)[0] is Verdict.UNTRIED
    assert look(replace(left, place="elsewhere"))[0] is Verdict.UNTRIED
    assert look(replace(left, sha256="0" * 64)) == (
        Verdict.BROKEN,
        "the version has other bytes now",
    )
    gone = replace(left, key=left.key + "x")
    assert look(gone)[0] is Verdict.BROKEN
    # What is gone after its lock was free to go.
    ended = left.retain_until - timedelta(hours=1)
    assert look(replace(gone, retain_until=ended))[0] is Verdict.UNTRIED
    unlocked = Lie(
        reply=lambda _, r: replace(
            r, headers={k: v for k, v in r.headers.items() if k not in {MODE, DATE}}
        )
    )
    with lying_s3(s3_server, unlocked) as liar:
        verdict, found = look(left, canaries_in(liar, bucket))
    assert verdict is Verdict.BROKEN
    assert "no lock" in found


def test_a_plain_bucket_promises_nothing(s3_server: S3Server) -> None:
    report = at_start(opened(s3_server, s3_server.make_bucket(locked=False)), CLOCK)
    (refused,) = report.refused
    assert (refused.check, refused.found) == ("D1", "versioning of the bucket is never enabled")
    assert {f.verdict for f in report.findings[1:]} == {Verdict.UNTRIED}


def test_who_may_not_write_is_told_so(s3_local: LocalS3, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    reader = replace(s3_server.at(s3_local.endpoint), access_key=READER[0], secret=READER[1])
    report = at_start(opened(reader, bucket), CLOCK)
    assert "403 AccessDenied" in report.refused[0].found


def test_answers_that_are_lost_accuse_nobody(s3_server: S3Server, bucket: str) -> None:
    lost: set[str] = set()

    def once_each(request: Request, reply: Reply) -> Reply:
        # Applied, and the answer of the first of its kind is an error.
        kind = f"{request.method} {request.path.removesuffix('-1')} {request.query}"
        if kind in lost:
            return reply
        lost.add(kind)
        return Reply(status=503)

    with lying_s3(s3_server, Lie(reply=once_each)) as liar:
        found = verdicts(
            canaries_in(liar, bucket), [c for c in CHECKS if c.check in {"D2", "D3", "D4", "D11"}]
        )
    assert not found["broken"]
    assert len(lost) > 20


def test_answers_without_a_date_are_no_answers(s3_server: S3Server, bucket: str) -> None:
    undated = Lie(reply=lambda _, reply: replace(reply, headers={**reply.headers, "date": ""}))
    with lying_s3(s3_server, undated) as liar, pytest.raises(TransientError, match="no Date"):
        at_start(opened(liar, bucket), CLOCK)
