"""Where S3 credentials come from when none are set, and how a bucket is addressed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from streams.archive_root import open_objects
from streams.errors import SettingsError, TransientError
from streams.objects import S3Connection
from streams.objects.s3 import S3ObjectStore
from streams.settings import load_settings
from tests.support.lying_s3 import Lie, Request, lying_s3
from tests.support.s3_fixtures import IMPATIENT, S3Server

pytestmark = pytest.mark.integration

TOKEN = "x-amz-security-token"
UNTIL = "2036-01-01T00:00:00Z"
AWS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_DEFAULT_REGION", "AWS_REGION"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Issued(list[str]):
    """The session tokens S3 was sent, none where there was none; it does not see them."""

    def __call__(self, request: Request) -> Request:
        self.append(request.headers.get(TOKEN, ""))
        kept = {name: value for name, value in request.headers.items() if name != TOKEN}
        return replace(request, headers=kept)


async def accepted(server: S3Server, bucket: str) -> list[str]:
    """Ask for a bucket with no credentials set; the session tokens that were sent."""
    issued = Issued()
    with lying_s3(server, Lie(request=issued)) as s3:
        connection = S3Connection(endpoint=s3.endpoint)
        store = S3ObjectStore(connection, bucket, "", IMPATIENT)
        await store.check_bucket()
        await store.create("a", b"bytes", retain_days=1)
        await store.close()
    return issued


@contextmanager
def answering(pages: Mapping[str, str]) -> Iterator[str]:
    """A server of fixed answers, by the beginning of the path; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            found = [body for path, body in pages.items() if self.path.startswith(path)]
            self.send_response(200 if found else 404)
            body = found[0].encode() if found else b""
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, format: str, *_arguments: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def keys_of(server: S3Server, token: str) -> str:
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": server.access_key,
            "SecretAccessKey": server.secret,
            "Token": token,
            "Expiration": UNTIL,
            "LastUpdated": UNTIL,
        }
    )


async def test_of_the_environment(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of the session")
    assert set(await accepted(s3_server, locked_bucket)) == {"of the session"}


async def test_of_a_profile(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = tmp_path / "credentials"
    files.write_text(
        f"[archiver]\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files))
    monkeypatch.setenv("AWS_PROFILE", "archiver")
    assert set(await accepted(s3_server, locked_bucket)) == {""}


async def test_of_a_web_identity(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = (
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<AssumeRoleWithWebIdentityResult><Credentials>"
        f"<AccessKeyId>{s3_server.access_key}</AccessKeyId>"
        f"<SecretAccessKey>{s3_server.secret}</SecretAccessKey>"
        f"<SessionToken>of the web</SessionToken><Expiration>{UNTIL}</Expiration>"
        "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
    (tmp_path / "token").write_text("an identity")
    with answering({"/": answer}) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/archiver")
        assert set(await accepted(s3_server, locked_bucket)) == {"of the web"}


async def test_of_a_container(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering({"/": keys_of(s3_server, "of the container")}) as pages:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{pages}/role")
        assert set(await accepted(s3_server, locked_bucket)) == {"of the container"}


async def test_of_an_instance(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = "/latest/meta-data/iam/security-credentials/"
    pages = {
        f"{roles}archiver": keys_of(s3_server, "of the instance"),
        roles: "archiver",
        "/latest/api/token": "imds",
    }
    with answering(pages) as imds:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds)
        assert set(await accepted(s3_server, locked_bucket)) == {"of the instance"}


async def test_an_identity_that_cannot_be_had_now_may_be_had_later(
    s3_server: S3Server, locked_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("an identity")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/archiver")
    connection = S3Connection(endpoint=s3_server.endpoint)
    patience = replace(IMPATIENT, attempts=1)
    with pytest.raises(TransientError):
        await S3ObjectStore(connection, locked_bucket, "", patience).check_bucket()


async def test_a_profile_that_is_not_there_is_said() -> None:
    with pytest.raises(SettingsError, match="no-such-profile"):
        S3ObjectStore(S3Connection(profile="no-such-profile"), "bucket", "", IMPATIENT)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"S3_REGION": "eu-central-1"}, "https://my-archive.s3.eu-central-1.amazonaws.com/log/a"),
        ({"S3_ENDPOINT": "https://s3.example:9000"}, "https://s3.example:9000/my-archive/log/a"),
        (
            {"S3_ENDPOINT": "https://s3.example", "S3_PATH_STYLE": "false"},
            "https://my-archive.s3.example/log/a",
        ),
        (
            {"S3_REGION": "eu-central-1", "S3_PATH_STYLE": "true"},
            "https://s3.eu-central-1.amazonaws.com/my-archive/log/a",
        ),
    ],
)
async def test_the_bucket_stands_in_the_path_where_an_endpoint_needs_it(
    environ: dict[str, str], url: str
) -> None:
    given = {"ATTESTREAM_ARCHIVE": "s3://my-archive/log", "S3_ACCESS_KEY": "id", "S3_SECRET": "s"}
    store: Any = open_objects(load_settings(given | environ))
    asked: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append(request.url.partition("?")[0])
        empty = SimpleNamespace(stream=lambda **_: iter(()))
        return AWSResponse(request.url, 404, HTTPHeaders(), empty)

    store._client.meta.events.register("before-send.s3", answer)
    assert await store.head("a", "v1") is None
    assert asked == [url]
    await store.close()
