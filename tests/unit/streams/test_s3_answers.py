"""What answers of S3 servers mean, the lying and the broken ones among them."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from streams.errors import TransientError
from streams.objects.s3_answers import Fate, Listing, Promise, fate_of, info_of, reason_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BODY = b"bytes"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:eu-central-1:111122223333:key/{KEY_ID}"
PROMISE = Promise(len(BODY), sha256(BODY).digest(), NOON, KEY_ID, held=True)
KEPT = {
    "ContentLength": len(BODY),
    "ChecksumSHA256": b64encode(PROMISE.sha256).decode(),
    "ObjectLockMode": "COMPLIANCE",
    "ObjectLockRetainUntilDate": NOON,
    "ObjectLockLegalHoldStatus": "ON",
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": KEY_ARN,
}
OTHER = b64encode(bytes(32)).decode()


def entry(key: str, version_id: str, at: datetime = NOON, **more: Any) -> dict[str, Any]:
    return {"Key": key, "VersionId": version_id, "LastModified": at, "Size": 1, **more}


def listed(*pages: Mapping[str, Any]) -> list[tuple[str, str]]:
    listing = Listing("p/")
    for page in pages:
        listing.add(page)
    return [(v.key, v.version_id) for v in listing.versions()]


@pytest.mark.parametrize(
    ("code", "status", "fate"),
    [
        ("PreconditionFailed", 412, Fate.EXISTS),
        ("412", 412, Fate.EXISTS),
        ("ConditionalRequestConflict", 409, Fate.NOT_APPLIED),
        ("NoSuchVersion", 404, Fate.ABSENT),
        ("404", 404, Fate.ABSENT),
        ("MethodNotAllowed", 405, Fate.ABSENT),
        ("NoSuchBucket", 404, Fate.REFUSED),
        ("AccessDenied", 403, Fate.REFUSED),
        ("ExpiredToken", 400, Fate.REFUSED),
        ("PermanentRedirect", 301, Fate.REFUSED),
        ("KMS.DisabledException", 400, Fate.REFUSED),
        ("InternalError", 500, Fate.UNKNOWN),
        ("SlowDown", 503, Fate.UNKNOWN),
        ("XMinioStorageFull", 507, Fate.REFUSED),
        ("InsufficientStorage", 507, Fate.REFUSED),
        ("QuotaExceeded", 403, Fate.REFUSED),
        ("BadDigest", 400, Fate.NOT_APPLIED),
        ("TooManyRequests", 429, Fate.NOT_APPLIED),
    ],
)
def test_each_error_has_one_fate(code: str, status: int, fate: Fate) -> None:
    assert fate_of(code, status) is fate


def test_what_an_operator_must_change_is_said() -> None:
    assert reason_of("NoSuchBucket", 404) == "no such bucket"
    assert reason_of("403", 403) == "access is denied"
    assert reason_of("301", 301).endswith("set S3_REGION")
    assert reason_of("KMS.DisabledException", 400) == "the SSE-KMS key cannot be used"
    assert reason_of("QuotaExceeded", 403) == "the bucket or its server is full"
    assert reason_of("Unheard", 418) == "the request was refused"


def test_a_version_stored_as_asked_breaks_no_promise() -> None:
    assert PROMISE.broken_by(KEPT) is None
    later = KEPT | {"ObjectLockRetainUntilDate": NOON + timedelta(days=1)}
    assert PROMISE._replace(key_id=None, held=False).broken_by(later) is None


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"ContentLength": 4}, "archive", "stored are 4"),
        ({"ChecksumSHA256": OTHER}, "archive", "stored are 5 of 0000"),
        ({"ChecksumSHA256": ""}, "archive", "no checksum"),
        ({"ChecksumSHA256": OTHER + "-2"}, "archive", "no checksum"),
        ({"ObjectLockMode": "GOVERNANCE"}, "lock", "GOVERNANCE"),
        ({"ObjectLockMode": None}, "lock", "GetObjectRetention is missing"),
        ({"ObjectLockRetainUntilDate": None}, "lock", "until None"),
        ({"ObjectLockRetainUntilDate": NOON - timedelta(seconds=2)}, "lock", "expected COMPL"),
        ({"ObjectLockLegalHoldStatus": "OFF"}, "lock", "no legal hold"),
        ({"ObjectLockLegalHoldStatus": None}, "lock", "GetObjectLegalHold is missing"),
        ({"ServerSideEncryption": "AES256"}, "archive", "without SSE-KMS"),
        ({"SSEKMSKeyId": KEY_ARN + "c"}, "archive", "asked for 1234abcd"),
    ],
)
def test_a_version_stored_otherwise_is_called_by_what_is_wrong(
    change: dict[str, Any], kind: str, said: str
) -> None:
    fault = PROMISE.broken_by(KEPT | change)
    assert fault is not None
    assert fault.kind == kind
    assert said in fault.detail


@pytest.mark.parametrize("asked", [KEY_ID, KEY_ARN, "alias/archive", "arn:aws:kms:x:1:alias/a"])
@pytest.mark.parametrize("told", [KEY_ID, KEY_ARN, None])
def test_a_key_is_the_same_under_each_of_its_names(asked: str, told: str | None) -> None:
    answer = {k: v for k, v in (KEPT | {"SSEKMSKeyId": told}).items() if v is not None}
    assert PROMISE._replace(key_id=asked).broken_by(answer) is None


def test_a_retention_is_told_in_utc() -> None:
    assert info_of(KEPT).retain_until == NOON
    assert info_of({"ContentLength": 0}).retain_until is None


def test_versions_come_oldest_first_and_markers_among_them() -> None:
    page = {
        "Versions": [
            entry("p/b", "b2", IsLatest=False),
            entry("p/b", "b1", IsLatest=False),
            entry("p/a", "a1", NOON - timedelta(hours=1)),
        ],
        "DeleteMarkers": [entry("p/b", "b3", IsLatest=True)],
    }
    assert listed(page) == [("a", "a1"), ("b", "b1"), ("b", "b2"), ("b", "b3")]


def test_an_entry_repeated_from_page_to_page_counts_once() -> None:
    first = {
        "Versions": [entry("p/a", "a2"), entry("p/a", "a1")],
        "IsTruncated": True,
        "NextKeyMarker": "p/a",
        "NextVersionIdMarker": "a1",
    }
    second = {"Versions": [entry("p/a", "a1"), entry("p/b", "b1")]}
    assert listed(first, second) == [("a", "a1"), ("a", "a2"), ("b", "b1")]
    assert Listing("p/").add(first) == {"KeyMarker": "p/a", "VersionIdMarker": "a1"}
    assert Listing("p/").add(second) is None


def test_the_oldest_version_is_the_object_whatever_lies_over_it() -> None:
    listing = Listing("")
    listing.add(
        {
            "Versions": [entry("a", "fake"), entry("a", "true"), entry("ab", "other")],
            "DeleteMarkers": [entry("a", "gone", NOON - timedelta(hours=1)), entry("c", "only")],
        }
    )
    assert listing.oldest("a") == "true"
    assert listing.oldest("c") is None
    assert listing.oldest("absent") is None


def test_retention_counts_from_the_servers_clock_or_not_at_all() -> None:
    listing = Listing("")
    headers = {"date": "Sat, 21 Nov 2026 12:00:00 GMT"}
    listing.add({"ResponseMetadata": {"HTTPHeaders": headers}})
    assert listing.server_time == NOON + timedelta(seconds=1)
    listing.add({"ResponseMetadata": {"HTTPHeaders": {}}})
    with pytest.raises(TransientError, match="no Date"):
        listing.server_time  # noqa: B018
