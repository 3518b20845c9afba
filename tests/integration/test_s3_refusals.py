"""A bucket that refuses: one clear sentence each, nothing lost, tried again only where that helps.

What the server of our tests cannot be brought to say is said by an honest proxy before it, in the
words of AWS.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from projections.archive.fold import CutRules
from streams.errors import (
    BreakError,
    OutcomeUnknownError,
    SettingsError,
    StoredOtherwiseError,
    TransientError,
)
from streams.objects.s3 import S3ObjectStore
from tests.support.archives import archiver, check_archive, run_archiver, stand_still
from tests.support.local_s3 import READER, LocalS3
from tests.support.lying_s3 import Lie, Reply, Request, lying_s3, without
from tests.support.s3_fixtures import IMPATIENT, S3Server
from tests.support.sealed_log import SealedLog

pytestmark = pytest.mark.integration

RULES = CutRules(records_max=5)
KEY = "archive/v1/test.example/authz.decisions/0/segments/00000000000000000000.avro"
KMS = "x-amz-server-side-encryption"


class Refusing:
    """Answers some requests in S3's words instead of the server, as often as it is asked."""

    def __init__(self, status: int, code: str, method: str = "", times: int = 10**9) -> None:
        self.status, self.code, self.method, self.times = status, code, method, times
        self.count = 0

    def __call__(self, request: Request) -> Request | Reply:
        if not request.method.startswith(self.method) or self.times == 0:
            return request
        self.times -= 1
        self.count += 1
        said = f"<Error><Code>{self.code}</Code><Message>in its own words</Message></Error>"
        return Reply(
            status=self.status, headers={"content-type": "application/xml"}, body=said.encode()
        )


@contextmanager
def refusing(
    server: S3Server, bucket: str, refusal: Callable[[Request], Request | Reply]
) -> Iterator[S3ObjectStore]:
    with lying_s3(server, Lie(request=refusal)) as liar:
        yield liar.store(bucket)


def grown() -> SealedLog:
    log = SealedLog()
    for _ in range(4):
        log.append(5)
        log.checkpoint()
    return log


# Status, code, and what an operator reads. Nothing of it passes by itself: asked once.
REFUSALS = {
    "denied": (403, "AccessDenied", "access is denied"),
    "expired credentials": (400, "ExpiredToken", "the credentials have expired"),
    "credentials that are not known": (403, "InvalidAccessKeyId", "are not known there"),
    "a wrong secret": (403, "SignatureDoesNotMatch", "does not belong to the access key"),
    "a clock that differs": (403, "RequestTimeTooSkewed", "clock differs"),
    "another region": (400, "AuthorizationHeaderMalformed", "set S3_REGION"),
    "moved to another region": (301, "PermanentRedirect", "set S3_REGION"),
    "no bucket": (404, "NoSuchBucket", "no such bucket"),
    "no lock": (400, "InvalidBucketState", "no Object Lock"),
    "full, by quota": (403, "QuotaExceeded", "is full"),
    "full disks": (507, "XMinioStorageFull", "is full"),
    "an encryption key that is gone": (400, "KMS.NotFoundException", "SSE-KMS key"),
    "no conditional writes": (501, "NotImplemented", "conditional writes"),
}


class Before:
    """One proxy, bucket and store for many tests: what is said changes."""

    def __init__(self, server: S3Server) -> None:
        self.server, self.bucket = server, server.make_bucket()
        self.says: Callable[[Request], Request | Reply] = lambda request: request
        self.keys = 0

    def answer(self, request: Request) -> Request | Reply:
        return self.says(request)

    def key(self) -> str:
        self.keys += 1
        return f"archive/{self.keys}"


@pytest.fixture(scope="module")
def before(s3_server: S3Server) -> Iterator[tuple[Before, S3ObjectStore]]:
    made = Before(s3_server)
    with refusing(s3_server, made.bucket, made.answer) as store:
        yield made, store


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_put_that_only_an_operator_can_mend_is_sent_once_and_said_in_one_sentence(
    before: tuple[Before, S3ObjectStore], name: str
) -> None:
    proxy, store = before
    key, (status, code, said) = proxy.key(), REFUSALS[name]
    proxy.says = refusal = Refusing(status, code, "PUT")
    with pytest.raises(SettingsError, match=said) as found:
        await store.create(key, b"bytes", retain_days=1)
    (problem,) = found.value.problems
    assert problem.startswith(f"s3://{proxy.bucket}/deployment/: ")
    assert proxy.server.secret not in problem
    assert refusal.count == 1
    assert await store.versions(key) == []


@pytest.mark.parametrize(
    "name", sorted(REFUSALS.keys() - {"no conditional writes", "no lock", "no bucket"})
)
async def test_a_listing_that_is_refused_is_said_in_one_sentence(
    before: tuple[Before, S3ObjectStore], name: str
) -> None:
    proxy, store = before
    status, code, said = REFUSALS[name]
    proxy.says = refusal = Refusing(status, code)
    for asked in (store.versions(""), store.head("a", "v1"), store.get("a", "v1")):
        refusal.count = 0
        with pytest.raises(SettingsError, match=said) as found:
            await asked
        assert len(found.value.problems) == 1
        assert refusal.count <= 3 or "S3_REGION" in said


PASSING = {
    "slow down": (503, "SlowDown"),
    "busy": (503, "ServiceUnavailable"),
    "an error inside": (500, "InternalError"),
    "too many": (429, "TooManyRequests"),
    "a request that timed out": (400, "RequestTimeout"),
    "a conflict": (409, "ConditionalRequestConflict"),
    "an operation aborted": (409, "OperationAborted"),
}


@pytest.mark.parametrize("name", PASSING)
async def test_what_may_pass_is_tried_again_and_stored_once(
    before: tuple[Before, S3ObjectStore], name: str
) -> None:
    proxy, store = before
    key = proxy.key()
    proxy.says = refusal = Refusing(*PASSING[name], method="PUT", times=2)
    version_id = await store.create(key, b"bytes", retain_days=1)
    assert refusal.count == 2
    assert [v.version_id for v in await store.versions(key)] == [version_id]


async def test_what_does_not_pass_is_not_tried_for_ever(
    before: tuple[Before, S3ObjectStore],
) -> None:
    proxy, store = before
    proxy.says = refusal = Refusing(503, "SlowDown", "PUT")
    with pytest.raises(OutcomeUnknownError, match="SlowDown in its own words"):
        await store.create(proxy.key(), b"bytes", retain_days=1)
    assert refusal.count == IMPATIENT.attempts


@pytest.mark.parametrize(
    "name",
    [
        "no bucket",
        "expired credentials",
        pytest.param("denied", marks=pytest.mark.long),
        pytest.param("full disks", marks=pytest.mark.long),
    ],
)
async def test_an_archiver_that_is_refused_loses_nothing_and_goes_on_when_it_is_mended(
    s3_server: S3Server, locked_bucket: str, name: str
) -> None:
    log, direct = grown(), s3_server.store(locked_bucket)
    status, code, said = REFUSALS[name]
    allowed = 4

    def from_the_fifth_put(request: Request) -> Request | Reply:
        nonlocal allowed
        if request.method == "PUT" and allowed > 0:
            allowed -= 1
            return request
        return request if allowed else Refusing(status, code)(request)

    with refusing(s3_server, locked_bucket, from_the_fifth_put) as store:
        projection = archiver(store, RULES)
        with pytest.raises(SettingsError, match=said):
            await stand_still(projection, log)
        await projection.close()
    await run_archiver(direct, log, RULES)
    await check_archive(direct, log, size=log.size)


async def test_who_may_only_read_archives_nothing(
    s3_local: LocalS3, s3_server: S3Server, locked_bucket: str
) -> None:
    server = s3_server.at(s3_local.endpoint)
    bucket = locked_bucket if server == s3_server else server.make_bucket()
    reader = replace(server, access_key=READER[0], secret=READER[1]).store(bucket)
    with pytest.raises(SettingsError, match="access is denied"):
        await run_archiver(reader, grown(), RULES)


async def test_a_plain_bucket_takes_nothing(s3_server: S3Server) -> None:
    plain = s3_server.store(s3_server.make_bucket(locked=False))
    with pytest.raises(SettingsError, match="takes no locked objects"):
        await run_archiver(plain, grown(), RULES)
    assert await plain.versions("") == []


LIES = {
    "drops the lock": (without("x-amz-object-lock"), "lock", "expected COMPLIANCE until"),
    "drops the checksum": (without("x-amz-checksum", "x-amz-sdk"), "archive", "no checksum"),
}


@pytest.mark.parametrize("name", LIES)
async def test_an_archiver_stops_at_a_server_that_keeps_a_segment_otherwise(
    s3_server: S3Server, locked_bucket: str, name: str
) -> None:
    lie, kind, said = LIES[name]
    with refusing(s3_server, locked_bucket, lie) as store:
        projection = archiver(store, RULES)
        with pytest.raises(BreakError, match=said) as found:
            await stand_still(projection, grown())
        await projection.close()
    assert (found.value.kind, found.value.index) == (kind, 0)
    assert len(await s3_server.store(locked_bucket).versions("")) == 1


def encrypting(told: str) -> Lie:
    """A server that takes a key's name, and tells another or none."""

    def reply(_request: Request, answer: Reply) -> Reply:
        said = {KMS: "aws:kms", f"{KMS}-aws-kms-key-id": told} if told else {}
        return replace(answer, headers={**answer.headers, **said})

    return Lie(request=without(KMS), reply=reply)


@pytest.mark.parametrize(
    ("told", "said"),
    [("", "without SSE-KMS"), ("arn:aws:kms:x:1:key/other", "encrypted with arn:aws:kms:x:1")],
)
async def test_a_server_that_encrypts_otherwise_than_asked_is_found_out(
    s3_server: S3Server, locked_bucket: str, told: str, said: str
) -> None:
    asked: list[str] = []
    lie = encrypting(told)

    def listening(request: Request) -> Request | Reply:
        if request.method == "PUT":
            asked.append(request.headers[f"{KMS}-aws-kms-key-id"])
        return lie.request(request)

    with lying_s3(s3_server, replace(lie, request=listening)) as liar:
        connection = replace(liar.connection, sse_kms_key_id="the-key")
        store = S3ObjectStore(connection, locked_bucket, "deployment", IMPATIENT)
        with pytest.raises(StoredOtherwiseError, match=said):
            await store.create(KEY, b"bytes", retain_days=1)
    assert asked == ["the-key"]


async def test_a_server_that_encrypts_as_asked_is_believed(
    s3_server: S3Server, locked_bucket: str
) -> None:
    with lying_s3(s3_server, encrypting("arn:aws:kms:x:1:key/the-key")) as liar:
        connection = replace(liar.connection, sse_kms_key_id="the-key")
        store = S3ObjectStore(connection, locked_bucket, "deployment", IMPATIENT)
        assert await store.create(KEY, b"bytes", retain_days=1)


async def test_a_server_that_never_answers_keeps_no_other_work_waiting(
    s3_server: S3Server, locked_bucket: str
) -> None:
    # More calls hang than asyncio has threads for everybody.
    over = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await over.wait()
        writer.close()

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    patience = replace(IMPATIENT, attempts=1, read_timeout_s=0.3)
    connection = replace(s3_server.connection, endpoint=endpoint)
    store = S3ObjectStore(connection, locked_bucket, "", patience)
    calls = [asyncio.create_task(store.get(f"{n}")) for n in range(40)]
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    await asyncio.to_thread(lambda: None)
    assert asyncio.get_running_loop().time() - began < 0.2
    for call in calls[:10]:
        with pytest.raises(TransientError):
            await call
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await store.close()
    over.set()
    silent.close()
    await asyncio.sleep(0.1)
