"""What an S3 server's answers mean. Pure: answers come as plain mappings."""

from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Literal, NamedTuple

from streams.errors import TransientError
from streams.ports import ObjectInfo, ObjectVersion

__all__ = [
    "LOCK_MODE",
    "Fate",
    "Fault",
    "Listing",
    "Promise",
    "fate_of",
    "info_of",
    "is_locked",
    "reason_of",
]

LOCK_MODE: Literal["COMPLIANCE"] = "COMPLIANCE"
LOCK_TOLERANCE = timedelta(seconds=1)  # servers round
SHA256_BYTES = 32
INSUFFICIENT_STORAGE = 507

ABSENT_CODES = {
    "404",
    "405",
    "InvalidArgument",
    "MethodNotAllowed",
    "NoSuchKey",
    "NoSuchObjectLegalHold",  # SeaweedFS's name of the next
    "NoSuchObjectLockConfiguration",  # of a version: neither retention nor hold
    "NoSuchVersion",
}
NOT_APPLIED_CODES = {
    "ConditionalRequestConflict",
    "OperationAborted",
    "RequestTimeout",
    "Throttling",
    # The body changed on its way; the server noticed.
    "BadDigest",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
}
# Nothing was stored, and an operator has to make room.
FULL_CODES = {"EntityQuotaExceeded", "QuotaExceeded", "XMinioStorageFull"}
FULL = "the bucket or its server is full"
NO_CREDENTIALS = "no credentials: set S3_ACCESS_KEY and S3_SECRET, or those of AWS"
UNKNOWN_CREDENTIALS = "the credentials are not known there"
EXPIRED = "the credentials have expired"
NO_BUCKET = "no such bucket"
OTHER_REGION = "the bucket is in another region: set S3_REGION"
REASONS = {
    "AccessDenied": "access is denied",
    "AuthorizationHeaderMalformed": OTHER_REGION,
    "ExpiredToken": EXPIRED,
    "InvalidAccessKeyId": UNKNOWN_CREDENTIALS,
    "InvalidBucketState": "the bucket has no Object Lock",
    "InvalidRequest": "the bucket takes no locked objects",
    "InvalidToken": UNKNOWN_CREDENTIALS,
    "NoCredentialsError": NO_CREDENTIALS,
    "NotImplemented": "the server does not know such a request (conditional writes?)",
    "NoSuchBucket": NO_BUCKET,
    "ObjectLockConfigurationNotFoundError": "the bucket has no Object Lock",
    "PartialCredentialsError": NO_CREDENTIALS,
    "PermanentRedirect": OTHER_REGION,
    "RecursionError": OTHER_REGION,
    "RequestExpired": EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock differs from the server's",
    "SignatureDoesNotMatch": "the secret does not belong to the access key",
    "TokenRefreshRequired": EXPIRED,
    # HEAD requests are answered without a code.
    "301": OTHER_REGION,
    "403": "access is denied",
    "404": NO_BUCKET,
}


class Fate(Enum):
    """What became of a request that failed, and so what to do."""

    EXISTS = auto()  # refused by If-None-Match
    ABSENT = auto()  # no such object or version
    NOT_APPLIED = auto()  # may pass, and changed nothing
    UNKNOWN = auto()  # may pass, and may have been applied
    REFUSED = auto()  # needs an operator


class Fault(NamedTuple):
    """What a stored version is not. `kind`: `lock`, or `archive` for bytes and encryption."""

    kind: Literal["lock", "archive"]
    detail: str


class Promise(NamedTuple):
    """What a stored version must be.

    Attributes:
        size: in bytes.
        sha256: of the bytes, raw.
        retain_until: the lock's least end.
        key_id: the SSE-KMS key that was asked for, as it was named; None for none.
        held: whether a legal hold was asked for.
    """

    size: int
    sha256: bytes
    retain_until: datetime
    key_id: str | None = None
    held: bool = False

    def is_content(self, answer: Mapping[str, Any]) -> bool:
        """Whether a HEAD answer describes these bytes."""
        return info_of(answer)[:2] == self[:2]

    def broken_by(self, answer: Mapping[str, Any]) -> Fault | None:
        """Which part of the promise a HEAD answer breaks; None if none."""
        info = info_of(answer)
        if not self.is_content(answer):
            return Fault(
                "archive",
                f"expected {self.size} bytes of SHA-256 {self.sha256.hex()}, stored are "
                f"{info.size} of {info.sha256.hex() if info.sha256 else 'no checksum'}",
            )
        if not is_locked(info, self.retain_until):
            return Fault(
                "lock",
                f"expected {LOCK_MODE} until {self.retain_until}, the server says "
                f"{info.lock_mode} until {info.retain_until} (or s3:GetObjectRetention is "
                "missing)",
            )
        if self.held and not info.legal_hold:
            return Fault("lock", "no legal hold is on it (or s3:GetObjectLegalHold is missing)")
        return self._encrypted_otherwise(answer)

    def _encrypted_otherwise(self, answer: Mapping[str, Any]) -> Fault | None:
        if self.key_id is None:
            return None
        if answer.get("ServerSideEncryption") != "aws:kms":
            return Fault("archive", "stored without SSE-KMS, which was asked for")
        used = str(answer.get("SSEKMSKeyId", ""))
        # An alias is told by the key it stands for, and some servers tell no key.
        if used and "alias/" not in self.key_id and _bare(used) != _bare(self.key_id):
            return Fault("archive", f"encrypted with {used}, asked for {self.key_id}")
        return None


class Listing:
    """All versions under a prefix, gathered from the pages of ListObjectVersions.

    Servers list the newest version of a key first; some repeat an entry from page to page.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._found: dict[tuple[str, str], tuple[bytes, tuple[Any, ...], ObjectVersion]] = {}
        self._answer: Mapping[str, Any] = {}

    def add(self, page: Mapping[str, Any]) -> Mapping[str, str] | None:
        """Take one page; the request for the next one, None after the last."""
        self._answer = page
        entries = [(e, False) for e in page.get("Versions", ())]
        entries += [(e, True) for e in page.get("DeleteMarkers", ())]
        for entry, is_marker in entries:
            key, version_id = entry["Key"], entry["VersionId"]
            age = (entry["LastModified"], entry.get("IsLatest", False), -len(self._found))
            version = ObjectVersion(
                key.removeprefix(self._prefix), version_id, entry.get("Size", 0), is_marker
            )
            self._found.setdefault((key, version_id), (key.encode(), age, version))
        if not page.get("IsTruncated"):
            return None
        markers = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
        return {name: page[given] for name, given in markers.items() if page.get(given)}

    def versions(self) -> list[ObjectVersion]:
        """By key, the oldest version of a key first."""
        return [version for _, _, version in sorted(self._found.values())]

    def oldest(self, key: str) -> str | None:
        """Id of the oldest version of a key, which is the object; None where there is none."""
        return next(
            (v.version_id for v in self.versions() if v.key == key and not v.is_delete_marker),
            None,
        )

    @property
    def server_time(self) -> datetime:
        """The server's clock at its last answer, rounded up to the next second.

        Raises:
            TransientError: no Date in it; retention is never counted from another clock.
        """
        date = self._answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(date) + timedelta(seconds=1)
        except ValueError as error:
            raise TransientError(f"the server's answer has no Date: {date!r}") from error


def fate_of(code: str, status: int) -> Fate:
    """What an error answer says of its request."""
    if status == 412 or code == "PreconditionFailed":
        return Fate.EXISTS
    if code in ABSENT_CODES:
        return Fate.ABSENT
    if code in NOT_APPLIED_CODES or status == 429:
        return Fate.NOT_APPLIED
    if _is_full(code, status):
        return Fate.REFUSED
    return Fate.UNKNOWN if status >= 500 and status != 501 else Fate.REFUSED


def reason_of(code: str, status: int) -> str:
    """What an operator has to change, in a few words."""
    if code.startswith("KMS."):
        return "the SSE-KMS key cannot be used"
    if _is_full(code, status):
        return FULL
    return REASONS.get(code) or REASONS.get(str(status)) or "the request was refused"


def _is_full(code: str, status: int) -> bool:
    return code in FULL_CODES or status == INSUFFICIENT_STORAGE


def info_of(answer: Mapping[str, Any]) -> ObjectInfo:
    """What a HEAD answer says of a version."""
    until: datetime | None = answer.get("ObjectLockRetainUntilDate")
    return ObjectInfo(
        answer["ContentLength"],
        _sha256(answer.get("ChecksumSHA256", "")),
        until.astimezone(UTC) if until else None,
        answer.get("ObjectLockMode"),
        answer.get("ObjectLockLegalHoldStatus") == "ON",
    )


def is_locked(info: ObjectInfo | None, until: datetime) -> bool:
    """Whether a version is locked until then at least."""
    return (
        info is not None
        and info.lock_mode == LOCK_MODE
        and info.retain_until is not None
        and info.retain_until >= until - LOCK_TOLERANCE
    )


def _bare(key_id: str) -> str:
    """A KMS key's id without its ARN."""
    return key_id.replace("/", ":").rpartition(":")[2]


def _sha256(text: str) -> bytes | None:
    # A multipart upload's is of the parts' checksums, and ends in their number.
    try:
        digest = b64decode(text, validate=True)
    except ValueError:
        return None
    return digest if len(digest) == SHA256_BYTES else None
