"""The S3 server tests run on, and fresh buckets in it."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from streams.objects import S3Connection
from streams.objects.s3 import Patience, S3ObjectStore
from tests.support.local_s3 import ACCESS_KEY, SECRET, LocalS3, NoS3Error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Server", "locked_bucket", "s3_server"]

IMPATIENT = Patience(attempts=4, first_delay_s=0.02, connect_timeout_s=2, read_timeout_s=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server. Nothing in it is touched but buckets a test made itself."""

    endpoint: str
    access_key: str
    secret: str

    @property
    def connection(self) -> S3Connection:
        return S3Connection(endpoint=self.endpoint, access_key=self.access_key, secret=self.secret)

    def client(self) -> "S3Client":
        """A client of its own, for what only a test does to a bucket."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self, *, locked: bool = True) -> str:
        name = f"test-{secrets.token_hex(8)}"
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        return name

    def store(self, bucket: str, prefix: str = "deployment") -> S3ObjectStore:
        return S3ObjectStore(self.connection, bucket, prefix, IMPATIENT)

    def at(self, endpoint: str) -> "S3Server":
        """The same server behind another address."""
        return replace(self, endpoint=endpoint)


@pytest.fixture(scope="session")
def s3_local() -> Iterator[LocalS3]:
    """A server of our own, which a test may kill and start again."""
    folder = Path(tempfile.mkdtemp(prefix="attestream-s3-"))
    try:
        with LocalS3(folder) as local:
            yield local
    except NoS3Error as error:
        pytest.exit(str(error), returncode=3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """S3_ENDPOINT where it is set, else a server of our own."""
    if endpoint := os.environ.get("S3_ENDPOINT"):
        return S3Server(
            endpoint=endpoint,
            access_key=os.environ.get("S3_ACCESS_KEY", ""),
            secret=os.environ.get("S3_SECRET", ""),
        )
    local: LocalS3 = request.getfixturevalue("s3_local")
    return S3Server(endpoint=local.endpoint, access_key=ACCESS_KEY, secret=SECRET)


@pytest.fixture
def locked_bucket(s3_server: S3Server) -> str:
    """The name of a fresh bucket with Object Lock."""
    return s3_server.make_bucket()
