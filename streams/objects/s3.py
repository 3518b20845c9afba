"""The object store as an S3 bucket with Object Lock.

An object is created by one PutObject: `If-None-Match: *`, its SHA-256, COMPLIANCE and a
retain-until that counts from the server's clock; then read back by version id, and refused where
size, checksum, lock, encryption or hold is not what was asked for. Retention is of a *version*:
whoever may write can lay a newer version or a delete marker over an object, so everything is read
by version, and the oldest version is the object. Only what is derived and public (`newest`,
`replace`) is written without a lock and read as it stands; it is replaced on its ETag
(`If-Match`).

Blocking calls run in threads of the store's own: a server that answers nobody holds up no other
work of the process.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal, TypeVar

from botocore.exceptions import BotoCoreError

from streams.errors import (
    AttestreamError,
    ObjectExistsError,
    OutcomeUnknownError,
    SettingsError,
    StoredOtherwiseError,
    TransientError,
    VerificationError,
)
from streams.objects.locations import S3Connection
from streams.objects.s3_answers import (
    LOCK_MODE,
    Fate,
    Fault,
    Listing,
    Promise,
    info_of,
    is_locked,
    reason_of,
)
from streams.objects.s3_client import (
    FAILURES,
    Failure,
    Patience,
    answer_of,
    fate_of_failure,
    make_client,
    open_session,
    said_by,
)
from streams.ports import ObjectInfo, ObjectVersion, Published

__all__ = ["Patience", "S3ObjectStore"]

T = TypeVar("T")


class S3ObjectStore:
    """`ObjectStore` and `PublicStore` over `s3://bucket/prefix`."""

    def __init__(
        self, connection: S3Connection, bucket: str, prefix: str, patience: Patience | None = None
    ) -> None:
        """Make the client; nothing is sent yet.

        Raises:
            SettingsError: the connection cannot be used (an unknown profile, a bad endpoint).
        """
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._patience = patience or Patience()
        self._key_id = connection.sse_kms_key_id
        self._is_held = connection.legal_hold
        self._encryption = _encryption(self._key_id)
        self._threads = ThreadPoolExecutor(self._patience.connections, "s3")
        try:
            self._client = make_client(open_session(connection), connection, self._patience)
        except (BotoCoreError, ValueError) as error:
            raise SettingsError([f"{self._place}: {error}"]) from error

    def __repr__(self) -> str:
        return f"S3ObjectStore({self._place!r})"

    @property
    def _place(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    async def check_bucket(self) -> None:
        """Whether the bucket says it keeps versions and locks them.

        Raises:
            SettingsError: it does not, or it cannot be asked.
            TransientError: no answer.
        """
        versioning = await self._ask(
            lambda: self._client.get_bucket_versioning(Bucket=self._bucket)
        )
        if versioning is None or versioning.get("Status") != "Enabled":
            raise SettingsError([f"{self._place}: versioning of the bucket is not enabled"])
        lock = await self._ask(
            lambda: self._client.get_object_lock_configuration(Bucket=self._bucket)
        )
        if not lock or lock["ObjectLockConfiguration"].get("ObjectLockEnabled") != "Enabled":
            raise SettingsError([f"{self._place}: the bucket has no Object Lock"])

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        """As the port says.

        Raises:
            StoredOtherwiseError: the server stored something else than it was sent, or without
                the lock. The version stands; nothing is written to this bucket any more.
            SettingsError: denied, expired credentials, no such bucket, no Object Lock.
        """
        name = self._prefix + key
        # Its own look at the versions first: `If-None-Match` succeeds over a delete marker.
        listing = await self._list(name)
        if listing.oldest(key) is not None:
            raise ObjectExistsError(f"{self._place}{key} exists")
        until = listing.server_time + timedelta(days=retain_days)
        digest = await self._in_thread(lambda: sha256(body).digest())
        promise = Promise(len(body), digest, until, self._key_id, self._is_held)
        version_id = await self._create(name, body, promise)
        # Now the version stands, locked, whatever becomes of us.
        try:
            await self._verify(name, version_id, promise)
        except TransientError as error:
            raise OutcomeUnknownError(f"{name} was written but not read back: {error}") from error
        return version_id

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        """As the port says."""
        if version_id is None:
            version_id = (await self._list(self._prefix + key)).oldest(key)
            if version_id is None:
                return None
        return await self._ask(lambda: self._download(self._prefix + key, version_id))

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        """As the port says."""
        answer = await self._head(self._prefix + key, version_id)
        return None if answer is None else info_of(answer)

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        """As the port says."""
        where: Any = {"Bucket": self._bucket, "Key": self._prefix + key, "VersionId": version_id}
        lock: Any = {"Mode": LOCK_MODE, "RetainUntilDate": until}
        if is_locked(await self.head(key, version_id), until):
            return
        await self._ask(lambda: self._client.put_object_retention(**where, Retention=lock))
        info = await self.head(key, version_id)
        if not is_locked(info, until):
            said = f"{info.lock_mode} until {info.retain_until}" if info else "no such version"
            raise StoredOtherwiseError(
                "lock", f"{self._place}{key}: asked for {LOCK_MODE} until {until}, it is {said}"
            )

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        """As the port says.

        Raises:
            VerificationError: the server's listing runs in a circle.
        """
        return (await self._list(self._prefix + prefix)).versions()

    async def newest(self, key: str) -> Published | None:
        """As the port says; the tag is the ETag."""

        def download() -> Published:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return Published(answer["Body"].read(), answer.get("ETag", ""))

        published = await self._ask(download)
        if published is not None and not published.tag:
            raise TransientError(f"{self._place}{key}: an answer without ETag")
        return published

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        """As the port says."""
        condition = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over}
        answer, _ = await self._put(self._prefix + key, body, sha256(body).digest(), condition)
        if answer is not None:
            if not answer.get("ETag"):
                raise OutcomeUnknownError(f"{self._place}{key}: an answer without ETag")
            return str(answer["ETag"])
        standing = await self.newest(key)
        if standing is None or standing.body != body:
            raise ObjectExistsError(f"{self._place}{key} is not what was to be replaced")
        return standing.tag

    async def set_hold(self, key: str, version_id: str, *, on: bool) -> None:
        """As `HoldingStore` says."""
        where: Any = {"Bucket": self._bucket, "Key": self._prefix + key, "VersionId": version_id}
        status: Literal["ON", "OFF"] = "ON" if on else "OFF"
        put, get = self._client.put_object_legal_hold, self._client.get_object_legal_hold
        if await self._ask(lambda: put(**where, LegalHold={"Status": status})) is None:
            raise SettingsError([f"{self._place}{key}: no version {version_id}"])
        found = await self._ask(lambda: get(**where))
        said = found["LegalHold"].get("Status") if found else None
        if (said == "ON") is not on:
            raise StoredOtherwiseError(
                "lock",
                f"{self._place}{key} version {version_id}: legal hold {status} was accepted, and "
                f"the server says {said}",
            )

    async def delete(self, key: str, version_id: str) -> bool:
        """As `disposal.DisposableStore` says: True where the version is gone."""
        try:
            await self._ask(
                lambda: self._client.delete_object(
                    Bucket=self._bucket, Key=self._prefix + key, VersionId=version_id
                )
            )
        except SettingsError as error:
            # Object Lock refuses so, and so does a policy: either keeps the version.
            if isinstance(error.__cause__, FAILURES) and answer_of(error.__cause__)[1] == 403:
                return False
            raise
        return True

    async def close(self) -> None:
        """Idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._client.close)

    async def _create(self, name: str, body: bytes, promise: Promise) -> str:
        """Create the version; its id. Handles the answer that was lost on the way."""
        terms: dict[str, Any] = {
            "IfNoneMatch": "*",
            "ObjectLockMode": LOCK_MODE,
            "ObjectLockRetainUntilDate": promise.retain_until,
        }
        if self._is_held:
            terms["ObjectLockLegalHoldStatus"] = "ON"
        answer, may_be_ours = await self._put(name, body, promise.sha256, terms)
        if answer is None:
            return await self._ours(name, promise, may_be_ours=may_be_ours)
        return self._version_id(answer)

    async def _put(
        self,
        name: str,
        body: bytes,
        digest: bytes,
        terms: Any,  # noqa: ANN401  # see _encryption
    ) -> tuple[Mapping[str, Any] | None, bool]:
        """The answer to a conditional PutObject, None where the condition does not hold.

        Beside it whether an attempt of ours, whose answer was lost, may have been applied.
        """
        checksum = b64encode(digest).decode()

        def put() -> Mapping[str, Any]:
            return self._client.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
                **terms,
                **self._encryption,
            )

        may_be_ours = False
        delays = self._patience.delays()
        while True:
            try:
                return await self._in_thread(put), may_be_ours
            except FAILURES as error:
                fate = fate_of_failure(error)
                if fate is Fate.EXISTS or (fate is Fate.ABSENT and "IfMatch" in terms):
                    return None, may_be_ours
                if fate in {Fate.REFUSED, Fate.ABSENT}:
                    raise self._refused(error) from error
                may_be_ours |= fate is Fate.UNKNOWN
                if (delay := next(delays, None)) is None:
                    kind = OutcomeUnknownError if may_be_ours else TransientError
                    raise kind(f"{self._place}: {said_by(error)}") from error
            await asyncio.sleep(delay)

    def _version_id(self, answer: Mapping[str, Any]) -> str:
        version_id = answer.get("VersionId")
        if not version_id or version_id == "null":
            raise SettingsError([f"{self._place}: versioning of the bucket is not enabled"])
        return str(version_id)

    async def _ours(self, name: str, promise: Promise, *, may_be_ours: bool) -> str:
        """The version an earlier attempt wrote, if what stands are our bytes."""
        key = name.removeprefix(self._prefix)
        version_id = (await self._list(name)).oldest(key) if may_be_ours else None
        answer = await self._head(name, version_id) if version_id else None
        if version_id is None or answer is None or not promise.is_content(answer):
            raise ObjectExistsError(f"s3://{self._bucket}/{name} exists")
        return version_id

    async def _verify(self, name: str, version_id: str, promise: Promise) -> None:
        answer = await self._head(name, version_id)
        fault = promise.broken_by(answer) if answer else await self._absent(name, version_id)
        if fault:
            raise StoredOtherwiseError(
                fault.kind,
                f"s3://{self._bucket}/{name} version {version_id} was written and read back: "
                f"{fault.detail}; `attestream archive doctor` tries the bucket",
            )

    async def _absent(self, name: str, version_id: str) -> Fault:
        """Of a version that was written a moment ago and is not found."""
        # A bucket that is gone is no lie of the server: the listing tells them apart.
        listing = await self._list(name)
        if any(version.version_id == version_id for version in listing.versions()):
            raise TransientError(f"version {version_id} is listed, and not found")
        return Fault("archive", "it is not there")

    async def _list(self, name: str) -> Listing:
        listing = Listing(self._prefix)
        start: Any = {}
        while start is not None:
            page = await self._page(name, start)
            following = listing.add(page)
            if following == start:
                raise VerificationError(f"{self._place}: a listing of versions that never ends")
            start = following
        return listing

    async def _page(self, name: str, start: Any) -> Mapping[str, Any]:  # noqa: ANN401  # see _encryption
        page = await self._ask(
            lambda: self._client.list_object_versions(Bucket=self._bucket, Prefix=name, **start)
        )
        if page is None:
            raise SettingsError([f"{self._place}: no such bucket"])
        return page

    async def _head(self, name: str, version_id: str) -> Mapping[str, Any] | None:
        head = self._client.head_object
        try:
            return await self._ask(
                lambda: head(
                    Bucket=self._bucket, Key=name, VersionId=version_id, ChecksumMode="ENABLED"
                )
            )
        except SettingsError:
            # The answer to a HEAD has no body to say why; that to a listing has.
            await self._list(name)
            raise

    def _download(self, name: str, version_id: str) -> bytes:
        answer = self._client.get_object(Bucket=self._bucket, Key=name, VersionId=version_id)
        return answer["Body"].read()

    async def _ask(self, request: Callable[[], T]) -> T | None:
        """A request that changes nothing: None where there is no such object or version."""
        delays = self._patience.delays()
        while True:
            try:
                return await self._in_thread(request)
            except FAILURES as error:
                fate = fate_of_failure(error)
                if fate is Fate.ABSENT:
                    return None
                if fate in {Fate.REFUSED, Fate.EXISTS}:
                    raise self._refused(error) from error
                if (delay := next(delays, None)) is None:
                    raise TransientError(f"{self._place}: {said_by(error)}") from error
            await asyncio.sleep(delay)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _refused(self, error: Failure) -> AttestreamError:
        return SettingsError([f"{self._place}: {reason_of(*answer_of(error))} ({said_by(error)})"])


def _encryption(key_id: str | None) -> Any:  # noqa: ANN401  # the stubs' own keyword types
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id} if key_id else {}
