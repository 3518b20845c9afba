"""The S3 adapter on a real server: locks, lost answers, and what operators get wrong."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streams.errors import (
    ObjectExistsError,
    OutcomeUnknownError,
    SettingsError,
    TransientError,
    VerificationError,
)
from streams.objects.s3 import S3ObjectStore
from tests.support.flaky_http import Loss, flaky_proxy
from tests.support.local_s3 import READER, LocalS3
from tests.support.s3_fixtures import IMPATIENT, S3Server

pytestmark = pytest.mark.integration

KEY = "archive/v1/test.example/authz.decisions/0/segments/00000000000000000000.avro"
OBJECT = f"deployment/{KEY}"


class Losing:
    """Loses the first `times` PUTs in one way."""

    def __init__(self, loss: Loss, times: int = 1, method: str = "PUT") -> None:
        self.loss = loss
        self.times = times
        self.method = method

    def __call__(self, request: str) -> Loss:
        if not request.startswith(self.method) or self.times == 0:
            return ""
        self.times -= 1
        return self.loss


async def test_a_locked_version_cannot_be_deleted_shortened_or_unlocked(
    s3_server: S3Server, locked_bucket: str
) -> None:
    version_id = await s3_server.store(locked_bucket).create(KEY, b"bytes", retain_days=1)
    client = s3_server.client()
    where: Any = {"Bucket": locked_bucket, "Key": OBJECT, "VersionId": version_id}
    soon = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=1)
    attacks: list[Callable[[], object]] = [
        lambda: client.delete_object(**where),
        lambda: client.delete_object(**where, BypassGovernanceRetention=True),
        lambda: client.put_object_retention(
            **where, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": soon}
        ),
        lambda: client.put_object_retention(
            **where,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": soon},
            BypassGovernanceRetention=True,
        ),
    ]
    for attack in attacks:
        with pytest.raises(ClientError):
            await asyncio.to_thread(attack)
    answer = client.delete_objects(
        Bucket=locked_bucket, Delete={"Objects": [{"Key": OBJECT, "VersionId": version_id}]}
    )
    assert answer.get("Errors")
    assert await s3_server.store(locked_bucket).get(KEY, version_id) == b"bytes"


async def test_the_oldest_version_is_the_object_whatever_is_laid_over_it(
    s3_server: S3Server, locked_bucket: str
) -> None:
    store, client = s3_server.store(locked_bucket), s3_server.client()
    version_id = await store.create(KEY, b"true", retain_days=1)
    client.put_object(Bucket=locked_bucket, Key=OBJECT, Body=b"fake")
    client.delete_object(Bucket=locked_bucket, Key=OBJECT)
    assert await store.get(KEY) == b"true"
    versions = await store.versions(KEY)
    assert versions[0].version_id == version_id
    assert [v.is_delete_marker for v in versions] == [False, False, True]
    # `If-None-Match` alone would succeed here, over the delete marker.
    with pytest.raises(ObjectExistsError):
        await store.create(KEY, b"fake", retain_days=1)


async def test_a_listing_of_many_pages_is_whole(s3_server: S3Server, locked_bucket: str) -> None:
    client = s3_server.client()
    for number in range(40):
        client.put_object(Bucket=locked_bucket, Key=f"deployment/n/{number % 20:02}", Body=b"x")

    def four_at_a_time(params: dict[str, object], **_: object) -> None:
        params["MaxKeys"] = 4

    store = s3_server.store(locked_bucket)
    store._client.meta.events.register(
        "provide-client-params.s3.ListObjectVersions", four_at_a_time
    )
    versions = await store.versions("n/")
    assert [v.key for v in versions] == [f"n/{i // 2:02}" for i in range(40)]
    assert len({v.version_id for v in versions}) == 40


async def test_a_listing_that_does_not_advance_is_not_followed_for_ever(
    s3_server: S3Server, locked_bucket: str
) -> None:
    def never_ending(parsed: dict[str, object], **_: object) -> None:
        parsed |= {"IsTruncated": True, "NextKeyMarker": "a", "NextVersionIdMarker": "1"}

    store = s3_server.store(locked_bucket)
    store._client.meta.events.register("after-call.s3.ListObjectVersions", never_ending)
    with pytest.raises(VerificationError, match="never ends"):
        await store.versions("")


async def test_an_answer_that_is_no_answer_may_pass(
    s3_server: S3Server, locked_bucket: str
) -> None:
    async with flaky_proxy(s3_server.endpoint, Losing("noise", 2, "GET")) as endpoint:
        assert await s3_server.at(endpoint).store(locked_bucket).versions("") == []


@pytest.mark.parametrize("loss", ["request", "answer", "503", "body"])
async def test_a_create_survives_one_loss(
    s3_server: S3Server, locked_bucket: str, loss: Loss
) -> None:
    for method in ("PUT", "GET", "HEAD"):
        key = f"{KEY}.{method}"
        async with flaky_proxy(s3_server.endpoint, Losing(loss, method=method)) as endpoint:
            store = s3_server.at(endpoint).store(locked_bucket)
            version_id = await store.create(key, b"bytes", retain_days=1)
        direct = s3_server.store(locked_bucket)
        assert [v.version_id for v in await direct.versions(key)] == [version_id]
        assert await direct.get(key) == b"bytes"


async def test_behind_a_lost_answer_another_object_is_not_taken_for_ours(
    s3_server: S3Server, locked_bucket: str
) -> None:
    direct = s3_server.store(locked_bucket)

    def other_first(request: str) -> Loss:
        if request.startswith("PUT") and not requests:
            requests.append(request)
            s3_server.client().put_object(Bucket=locked_bucket, Key=OBJECT, Body=b"theirs")
            return "request"
        return ""

    requests: list[str] = []
    async with flaky_proxy(s3_server.endpoint, other_first) as endpoint:
        with pytest.raises(ObjectExistsError):
            await s3_server.at(endpoint).store(locked_bucket).create(KEY, b"ours", retain_days=1)
    assert await direct.get(KEY) == b"theirs"


async def test_when_no_answer_comes_the_outcome_is_unknown(
    s3_server: S3Server, locked_bucket: str
) -> None:
    async with flaky_proxy(s3_server.endpoint, Losing("answer", 99)) as endpoint:
        with pytest.raises(OutcomeUnknownError):
            await s3_server.at(endpoint).store(locked_bucket).create(KEY, b"ours", retain_days=1)
    assert await s3_server.store(locked_bucket).get(KEY) == b"ours"


async def test_a_version_that_cannot_be_read_back_is_an_unknown_outcome(
    s3_server: S3Server, locked_bucket: str
) -> None:
    async with flaky_proxy(s3_server.endpoint, Losing("503", 99, "HEAD")) as endpoint:
        with pytest.raises(OutcomeUnknownError, match="not read back"):
            await s3_server.at(endpoint).store(locked_bucket).create(KEY, b"ours", retain_days=1)


async def test_a_server_that_is_not_there_may_come_back(
    s3_server: S3Server, locked_bucket: str
) -> None:
    nowhere = s3_server.at("http://127.0.0.1:9").store(locked_bucket)
    for asked in (nowhere.get(KEY), nowhere.versions(""), nowhere.check_bucket()):
        with pytest.raises(TransientError):
            await asked
    with pytest.raises(TransientError):
        await nowhere.create(KEY, b"bytes", retain_days=1)


async def test_what_only_an_operator_can_change_is_said_once(
    s3_server: S3Server, locked_bucket: str
) -> None:
    plain = s3_server.make_bucket(locked=False)
    mistakes = {
        "no such bucket": s3_server.store("no-such-bucket-anywhere"),
        "versioning of the bucket is not enabled": s3_server.store(plain),
        "the secret does not belong": replace(s3_server, secret="wrong").store(locked_bucket),
        "the credentials are not known": replace(s3_server, access_key="x").store(locked_bucket),
    }
    for said, store in mistakes.items():
        with pytest.raises(SettingsError, match=said) as found:
            await store.check_bucket()
        assert s3_server.secret not in str(found.value)
        assert len(found.value.problems) == 1
    with pytest.raises(SettingsError, match="takes no locked objects"):
        await s3_server.store(plain).create(KEY, b"bytes", retain_days=1)
    assert await s3_server.store(plain).versions("") == []


async def test_a_bucket_with_versions_but_no_lock_is_refused(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket(locked=False)
    s3_server.client().put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    with pytest.raises(SettingsError, match="no Object Lock"):
        await s3_server.store(bucket).check_bucket()


async def test_who_may_only_read_is_told_so(s3_local: LocalS3, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    reader = replace(
        s3_server.at(s3_local.endpoint), access_key=READER[0], secret=READER[1]
    ).store(bucket)
    with pytest.raises(SettingsError, match="access is denied"):
        await reader.create(KEY, b"bytes", retain_days=1)


async def test_no_credentials_at_all_are_said(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    connection = replace(s3_server.connection, access_key=None, secret=None)
    with pytest.raises(SettingsError, match="no credentials: set S3_ACCESS_KEY"):
        await S3ObjectStore(connection, locked_bucket, "", IMPATIENT).check_bucket()


async def test_credentials_of_the_environment_are_used(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    connection = replace(s3_server.connection, access_key=None, secret=None)
    await S3ObjectStore(connection, locked_bucket, "", IMPATIENT).check_bucket()
