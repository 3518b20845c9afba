"""Canaries: objects a probe puts into a bucket to see what becomes of them.

Each has a key below `canary/v1/`, beside the archive and never in it, and a lock of seconds of its
own, so that no default of the bucket locks it for a year. What was locked is left behind and swept
by a later probe, when its lock has ended; a bucket that lets nobody delete keeps it, or its
lifecycle removes it.
"""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Event
from typing import Any

from streams.errors import TransientError
from streams.objects.probe_bucket import Answer, Bucket, RawRequest, Untried
from streams.objects.probe_verdicts import Outcome, judge_not_stored, judge_refusal
from streams.objects.s3_answers import LOCK_MODE, Listing, info_of
from streams.ports import Clock, ObjectInfo, ObjectVersion

__all__ = ["CANARIES", "RETURNING", "Canaries", "Canary", "checksum"]

CANARIES = "canary/v1/"
RETURNING = "returning/"  # among them: what the next run looks for
LOCK_S = 30  # longer than any one check takes; what comes later is no verdict
SWEPT_AFTER = timedelta(minutes=10)  # so long others may be using theirs
POLL_S = 0.1
PUT_TRIES = 4
PUT_PAUSE_S = 0.5
WAIT_S_MAX = 30
DELETED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One version that was stored."""

    key: str
    version_id: str
    body: bytes
    retain_until: datetime

    @property
    def where(self) -> dict[str, str]:
        """What names the version in a request."""
        return {"Key": self.key, "VersionId": self.version_id}


class Canaries:
    """The canaries of one run in one bucket, and the server's time. Used from several threads."""

    def __init__(self, bucket: Bucket, clock: Clock, run: str) -> None:
        """`run` is a name no other run has."""
        self.bucket = bucket
        self.clock = clock
        self.run = run
        self._date: datetime | None = None
        self._learnt_at = 0.0
        self._uploads: list[dict[str, str]] = []
        self._held: list[dict[str, str]] = []

    # --- the server's time ---

    def learn_time(self, answer: Answer) -> None:
        """Take the server's time from an answer."""
        if answer.date is None:
            raise TransientError("the server's answer has no Date")
        self._date, self._learnt_at = answer.date, self.clock.monotonic()

    def now(self) -> datetime:
        """The server's time, rounded up to a second."""
        assert self._date is not None, "learn_time comes first"
        elapsed = timedelta(seconds=self.clock.monotonic() - self._learnt_at)
        return (self._date + elapsed).replace(microsecond=0) + timedelta(seconds=1)

    def wait_until(self, moment: datetime) -> None:
        """Until the server's own clock has passed a moment. Raises Untried if it never does."""
        pause = Event()
        for _ in range(int(WAIT_S_MAX / POLL_S)):
            if self.now() > moment:  # rounded up: within a second of it
                asked = self.bucket.send("get_bucket_versioning")
                if asked.date is not None and asked.date >= moment:
                    return
            pause.wait(POLL_S)
        raise Untried(f"the server's clock did not reach {moment} in {WAIT_S_MAX} s")

    # --- putting ---

    def key(self, name: str) -> str:
        """The key of a canary of this run."""
        return f"{self.bucket.prefix}{CANARIES}{self.run}/{name}"

    def until(self, lock_s: float = LOCK_S) -> datetime:
        """The end of a lock that begins now."""
        return self.now() + timedelta(seconds=lock_s)

    def request(self, name: str, until: datetime, body: bytes | None = None) -> dict[str, Any]:
        """A PutObject as the archive sends it."""
        key = self.key(name)
        body = key.encode() if body is None else body
        return {
            "Key": key,
            "Body": body,
            "IfNoneMatch": "*",
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": checksum(body),
            "ObjectLockMode": LOCK_MODE,
            "ObjectLockRetainUntilDate": until,
            **self.bucket.encryption,
        }

    def raw_put(self, name: str, body: bytes, *, with_checksum: bool = True) -> dict[str, Any]:
        """Key, headers and body of the same, for a raw request."""
        headers = {
            "if-none-match": "*",
            "x-amz-object-lock-mode": LOCK_MODE,
            "x-amz-object-lock-retain-until-date": self.until().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if with_checksum:
            headers["x-amz-checksum-sha256"] = checksum(body)
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
        return {"method": "PUT", "key": self.key(name), "headers": headers, "body": body}

    def put(
        self,
        name: str,
        *,
        lock_s: float = LOCK_S,
        body: bytes | None = None,
        over: bool = False,
        **more: Any,  # noqa: ANN401  # S3's own types
    ) -> Canary:
        """Store one, locked; `over`: as another version, `more` goes with the request.

        Raises Untried if it is refused.
        """
        if over:
            request = self.request(name, self.until(lock_s), body)
            del request["IfNoneMatch"]
            return self.stored(request, self.bucket.send_once("put_object", **request, **more))
        return self.stored(*self.create(name, lock_s, body, **more))

    def create(
        self,
        name: str,
        lock_s: float = LOCK_S,
        body: bytes | None = None,
        **more: Any,  # noqa: ANN401  # S3's own types
    ) -> tuple[dict[str, Any], Answer]:
        """Send a PutObject as the archive does; the request that was answered, and the answer.

        A lost answer leaves open whether something was stored, so every attempt has a name of its
        own. Raises TransientError if there is no answer.
        """
        said = ""
        for number in range(PUT_TRIES):
            own_name = f"{name}-{number}" if number else name
            request = self.request(own_name, self.until(lock_s), body)
            answer = self.bucket.send_once("put_object", **request, **more)
            if answer.accepted or answer.refused:
                return request, answer
            said = answer.said
            Event().wait(PUT_PAUSE_S)
        raise TransientError(f"{self.bucket.name}: no canary could be stored: {said}")

    def stored(self, request: Mapping[str, Any], answer: Answer) -> Canary:
        """The version a PutObject made. Raises Untried if it made none."""
        version_id = answer.fields.get("VersionId")
        if not answer.accepted or version_id in {None, "", "null"}:
            raise Untried(f"no canary could be stored: {answer.said}, version {version_id}")
        return Canary(
            key=request["Key"],
            version_id=str(version_id),
            body=request["Body"],
            retain_until=request["ObjectLockRetainUntilDate"],
        )

    def upload(self, name: str, **headers: Any) -> dict[str, Any]:  # noqa: ANN401  # S3's types
        """A multipart upload of one part, ready to be completed: the request that does it.

        Raises Untried if the server takes no such upload.
        """
        key = self.key(name)
        send = self.bucket.send
        begun = send("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256", **headers)
        if not begun.accepted:
            raise Untried(f"no multipart upload: {begun.said}")
        upload = {"Key": key, "UploadId": begun.fields["UploadId"]}
        self._uploads.append(upload)
        body = key.encode()
        part = send(
            "upload_part", **upload, PartNumber=1, Body=body, ChecksumSHA256=checksum(body)
        )
        if not part.accepted:
            raise Untried(f"no part of an upload: {part.said}")
        parts = [{"PartNumber": 1, "ETag": part.fields["ETag"], "ChecksumSHA256": checksum(body)}]
        return {**upload, "MultipartUpload": {"Parts": parts}}

    def held(self, canary: Canary) -> None:
        """Remember to release its legal hold."""
        self._held.append(canary.where)

    # --- looking ---

    def stands(self, canary: Canary) -> bool:
        """Whether the version still reads as it was stored."""
        answer = self.bucket.send("get_object", **canary.where)
        if not (answer.accepted or answer.refused):
            raise Untried(f"it cannot be read back: {answer.said}")
        return answer.accepted and answer.fields["Body"] == canary.body

    def refusal(self, canary: Canary, answer: Answer) -> Outcome:
        """The verdict on what must be refused, with a look at the version."""
        over = answer.date is not None and answer.date >= canary.retain_until
        return judge_refusal(answer, stands=self.stands(canary), lock_over=over)

    def info(self, canary: Canary) -> ObjectInfo:
        """What HEAD says of the version. Raises Untried if it says nothing."""
        answer = self.bucket.send("head_object", **canary.where, ChecksumMode="ENABLED")
        if not answer.accepted:
            raise Untried(f"the version cannot be asked for: {answer.said}")
        return info_of(answer.fields)

    def versions(self, prefix: str) -> list[ObjectVersion]:
        """Every version and marker below a whole key; oldest first of each key."""
        listing = Listing("")
        start: Mapping[str, str] | None = {}
        while start is not None:
            page = self.bucket.send("list_object_versions", Prefix=prefix, **start)
            if not page.accepted:
                raise Untried(f"versions cannot be listed: {page.said}")
            following = listing.add(page.fields)
            start = None if following == start else following
        return listing.versions()

    def not_stored(self, key: str, answer: Answer) -> Outcome:
        """The verdict on a PUT that must be refused, with a look at its key."""
        return judge_not_stored(answer, versions=len(self.versions(key)))

    def check_signing(self, request: RawRequest) -> None:
        """Send what must be accepted, so that refusals of its like say something.

        Raises Untried if the server refuses even this.
        """
        control = self.bucket.send_raw(request)
        if not control.accepted:
            raise Untried(f"a correct request is refused too: {control.said}")

    # --- leaving ---

    def clean(self, *, bypass: bool = False) -> None:
        """Remove what may be removed: this run's, and what earlier runs had to leave.

        Whatever is refused stays. `bypass`: also what is locked in GOVERNANCE mode.
        """
        send = self.bucket.send
        more = {"BypassGovernanceRetention": True} if bypass else {}
        with suppress(TransientError):
            for upload in self._uploads:
                send("abort_multipart_upload", **upload)
            for where in self._held:
                send("put_object_legal_hold", **where, LegalHold={"Status": "OFF"})
            if old := self._sweepable():
                send("delete_objects", Delete={"Objects": old, "Quiet": True}, **more)

    def _sweepable(self) -> list[dict[str, str]]:
        canaries = f"{self.bucket.prefix}{CANARIES}"
        page = self.bucket.send("list_object_versions", Prefix=canaries).fields
        before = self.now() - SWEPT_AFTER
        return [
            {"Key": entry["Key"], "VersionId": entry["VersionId"]}
            for entry in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if entry["Key"].startswith(self.key(""))
            or (
                entry["LastModified"] < before
                and not entry["Key"].startswith(f"{canaries}{RETURNING}")
            )
        ][:DELETED_AT_ONCE]


def checksum(body: bytes) -> str:
    """The SHA-256 as S3 writes it."""
    return b64encode(sha256(body).digest()).decode()
