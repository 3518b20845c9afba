"""Legal holds: put with the writer's credentials, released with others, by the command."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from streams.cli.archive import archive
from streams.errors import SettingsError, StoredOtherwiseError
from streams.objects import S3Connection
from streams.objects.s3 import S3ObjectStore
from tests.support.local_s3 import READER
from tests.support.lying_s3 import Lie, Reply, lying_s3, without
from tests.support.s3_fixtures import IMPATIENT, S3Server

pytestmark = pytest.mark.integration

KEYS = ["archive/v1/a/segments/1", "archive/v1/a/segments/2", "archive/v1/b/segments/1"]
OTHER_HAND = ("other-hand", "another-secret")


@pytest.fixture
async def bucket(s3_server: S3Server, locked_bucket: str) -> str:
    """A bucket of three objects, the first under a newer version and a delete marker."""
    store = s3_server.store(locked_bucket)
    for key in KEYS:
        await store.create(key, b"bytes", retain_days=1)
    client = s3_server.client()
    client.put_object(Bucket=locked_bucket, Key=f"deployment/{KEYS[0]}", Body=b"over it")
    client.delete_object(Bucket=locked_bucket, Key=f"deployment/{KEYS[0]}")
    return locked_bucket


async def ran(server: S3Server, bucket: str, *arguments: str, **environ: str) -> Result:
    settings = {
        "ATTESTREAM_ARCHIVE": f"s3://{bucket}/deployment",
        "ATTESTREAM_HOME": "",
        "KAFKA_BOOTSTRAP_SERVERS": "",
        "S3_ENDPOINT": server.endpoint,
        "S3_ACCESS_KEY": server.access_key,
        "S3_SECRET": server.secret,
    }
    runner = CliRunner(env=settings | environ)
    return await asyncio.to_thread(runner.invoke, archive, arguments)


def held(server: S3Server, bucket: str) -> set[tuple[str, bytes]]:
    """Name and bytes of every version that is held."""
    client, found = server.client(), set()
    for version in client.list_object_versions(Bucket=bucket)["Versions"]:
        where: Any = {
            "Bucket": bucket,
            "Key": version["Key"],
            "VersionId": version["VersionId"],
        }
        if client.head_object(**where).get("ObjectLockLegalHoldStatus") == "ON":
            name = version["Key"].removeprefix("deployment/")
            found.add((name, client.get_object(**where)["Body"].read()))
    return found


async def test_a_hold_is_put_on_every_version_and_released_with_other_credentials(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await ran(s3_server, bucket, "hold", "archive/v1/a", "archive/v1/a/segments/2")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].endswith("versions held")
    a = {(KEYS[0], b"bytes"), (KEYS[0], b"over it"), (KEYS[1], b"bytes")}
    assert held(s3_server, bucket) == a
    lines = (await ran(s3_server, bucket, "list", "archive/v1/", "--json")).output.splitlines()
    listed = [json.loads(line) for line in lines]
    assert sum(one["legal_hold"] for one in listed) == 3
    assert "held  version" in (await ran(s3_server, bucket, "list", KEYS[1])).output
    files = tmp_path / "credentials"
    files.write_text(
        f"[audit-admin]\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files))
    nobody = {"S3_ACCESS_KEY": "not-known", "S3_SECRET": "there"}
    done = await ran(
        s3_server,
        bucket,
        *("release", "archive/v1/a/segments/2", "--json"),
        S3_RELEASE_PROFILE="audit-admin",
        **nobody,
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["legal_hold"] is False
    assert held(s3_server, bucket) == a - {(KEYS[1], b"bytes")}


async def test_the_writers_credentials_release_nothing(s3_server: S3Server, bucket: str) -> None:
    assert (await ran(s3_server, bucket, "hold", KEYS[2])).exit_code == 0
    done = await ran(s3_server, bucket, "release", KEYS[2])
    assert (done.exit_code, "S3_RELEASE_PROFILE" in done.output) == (2, True)
    same = {"S3_RELEASE_ACCESS_KEY": s3_server.access_key, "S3_RELEASE_SECRET": s3_server.secret}
    done = await ran(s3_server, bucket, "release", KEYS[2], **same)
    assert (done.exit_code, "holds nothing" in done.output) == (2, True)
    assert held(s3_server, bucket) == {(KEYS[2], b"bytes")}


async def test_a_held_version_outlives_its_lock_until_it_is_released(
    s3_server: S3Server, locked_bucket: str
) -> None:
    client = s3_server.client()
    answer = client.put_object(Bucket=locked_bucket, Key="deployment/k", Body=b"bytes")
    version_id, store = answer["VersionId"], s3_server.store(locked_bucket)
    where: Any = {"Bucket": locked_bucket, "Key": "deployment/k", "VersionId": version_id}
    await store.set_hold("k", version_id, on=True)
    with pytest.raises(ClientError):
        client.delete_object(**where)
    await store.set_hold("k", version_id, on=False)
    client.delete_object(**where)
    assert await store.versions("") == []


async def test_every_object_is_created_with_a_hold_where_that_is_set(
    s3_server: S3Server, locked_bucket: str
) -> None:
    connection = replace(s3_server.connection, legal_hold=True)
    store = S3ObjectStore(connection, locked_bucket, "deployment", IMPATIENT)
    version_id = await store.create(KEYS[0], b"bytes", retain_days=1)
    info = await store.head(KEYS[0], version_id)
    assert info is not None
    assert info.legal_hold
    with lying_s3(s3_server, Lie(request=without("x-amz-object-lock-legal-hold"))) as liar:
        lied = S3ObjectStore(
            replace(connection, endpoint=liar.endpoint), locked_bucket, "deployment", IMPATIENT
        )
        with pytest.raises(StoredOtherwiseError, match="no legal hold is on it"):
            await lied.create(KEYS[1], b"bytes", retain_days=1)


async def test_a_hold_that_is_only_said_to_be_put_is_found_out(
    s3_server: S3Server, bucket: str
) -> None:
    said = Lie(
        request=lambda r: Reply(status=200) if r.method == "PUT" and "legal-hold" in r.asks else r
    )
    with lying_s3(s3_server, said) as liar:
        done = await ran(liar, bucket, "hold", KEYS[2])
    assert done.exit_code == 1, done.output
    assert "was accepted, and the server says" in done.output


async def test_what_cannot_be_held_is_said(s3_server: S3Server, bucket: str) -> None:
    done = await ran(s3_server, bucket, "hold", "no/such/name")
    assert (done.exit_code, "no object's name begins with" in done.output) == (2, True)
    done = await ran(s3_server, bucket, "hold", KEYS[0], ATTESTREAM_ARCHIVE="/a/directory")
    assert (done.exit_code, "a directory has no legal holds" in done.output) == (2, True)
    done = await ran(s3_server, bucket, "hold", KEYS[0], S3_ACCESS_KEY=OTHER_HAND[0])
    assert (done.exit_code, "the credentials are not known there" in done.output) == (2, True)
    with pytest.raises(SettingsError, match="no version"):
        await s3_server.store(bucket).set_hold(KEYS[0], "0" * 32, on=True)
    reader = S3Connection(endpoint=s3_server.endpoint, access_key=READER[0], secret=READER[1])
    version_id = (await s3_server.store(bucket).versions(KEYS[2]))[0].version_id
    if s3_server.secret.startswith("attestream"):
        with pytest.raises(SettingsError, match="access is denied"):
            await S3ObjectStore(reader, bucket, "deployment", IMPATIENT).set_hold(
                KEYS[2], version_id, on=True
            )
