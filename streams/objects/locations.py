"""Where an archive is: `s3://bucket/prefix`, or a directory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from streams.errors import MissingExtraError, SettingsError
from streams.objects.directory import DirectoryObjectStore
from streams.objects.probe_bucket import OpenBucket
from streams.ports import Clock, ObjectStore, PublicStore

__all__ = [
    "CheckedStore",
    "HoldingStore",
    "S3Connection",
    "open_holds",
    "open_object_store",
    "open_probed",
]

S3_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Connection:
    """How to reach an S3 server.

    Attributes:
        endpoint: URL of a server other than AWS; such are addressed by path.
        region: None leaves it to the AWS settings of the environment.
        access_key: None leaves credentials to the usual AWS chain.
        secret: goes with `access_key`.
        profile: of the AWS configuration, instead of `access_key`; None: what the chain says.
        sse_kms_key_id: encrypt at rest with this KMS key.
        path_style: None means: where an endpoint is set.
        legal_hold: put a legal hold on every object that is created.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret: str | None = field(default=None, repr=False)
    profile: str | None = None
    sse_kms_key_id: str | None = None
    path_style: bool | None = None
    legal_hold: bool = False

    @property
    def addressing_style(self) -> Literal["path", "virtual", "auto"]:
        """Where the bucket stands: in the path, in the host name, or where AWS wants it."""
        if self.path_style is None:
            return "auto" if self.endpoint is None else "path"
        return "path" if self.path_style else "virtual"


class CheckedStore(ObjectStore, PublicStore, Protocol):
    """Both faces of one place, which can be asked at start whether it will do."""

    async def check_bucket(self) -> None:
        """Raises SettingsError if it will not, TransientError if it does not answer."""


class HoldingStore(CheckedStore, Protocol):
    """A store that knows legal holds."""

    async def set_hold(self, key: str, version_id: str, *, on: bool) -> None:
        """Put a legal hold on a version, or release it; durable, and seen to be so, on return.

        Raises SettingsError if it may not, TransientError, StoredOtherwiseError.
        """


def open_object_store(url: str, s3: S3Connection) -> CheckedStore:
    """The store an archive's address names. Nothing is read or written yet.

    Raises:
        SettingsError: no such kind of address, or a connection that cannot be used.
        MissingExtraError: a bucket, and boto3 is not installed.
    """
    if "://" not in url:
        return DirectoryObjectStore(Path(url))
    found = S3_URL.fullmatch(url)
    if not found:
        raise SettingsError([f"expected s3://bucket/prefix or a directory, got {url!r}"])
    with _s3_extra(url):
        from streams.objects.s3 import S3ObjectStore  # noqa: PLC0415  # optional dependency
    return S3ObjectStore(s3, found["bucket"], found["prefix"] or "")


def open_holds(url: str, s3: S3Connection) -> HoldingStore:
    """The bucket an archive's address names, to put legal holds or to release them.

    Raises:
        SettingsError: a directory, or a connection that cannot be used.
        MissingExtraError: boto3 is not installed.
    """
    found = S3_URL.fullmatch(url)
    if not found:
        raise SettingsError(
            [f"{url}: a directory has no legal holds; set ATTESTREAM_ARCHIVE=s3://bucket/prefix"]
        )
    with _s3_extra(url):
        from streams.objects.s3 import S3ObjectStore  # noqa: PLC0415  # optional dependency
    return S3ObjectStore(s3, found["bucket"], found["prefix"] or "")


def open_probed(url: str, s3: S3Connection, clock: Clock) -> OpenBucket | None:
    """The bucket an archive's address names, to be probed; None for a directory.

    A directory promises nothing that could be tried.

    Raises:
        SettingsError: a connection that cannot be used, or no credentials.
        MissingExtraError: a bucket, and boto3 is not installed.
    """
    found = S3_URL.fullmatch(url)
    if not found:
        return None
    with _s3_extra(url):
        from streams.objects.s3_bucket import open_bucket  # noqa: PLC0415  # optional dependency
    return open_bucket(s3, found["bucket"], found["prefix"] or "", clock)


@contextmanager
def _s3_extra(url: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in {"boto3", "botocore"}:
            raise
        raise MissingExtraError(
            f"{url}: the S3 client is not installed: pip install 'attestream[s3]'"
        ) from error
