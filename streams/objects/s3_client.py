"""The S3 client as this project uses it, and what its failures mean.

boto3 retries nothing: of two hidden attempts the first may have been applied, and the second would
then answer 412.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NotConnectedError
from botocore.parsers import ResponseParserError

from streams.objects.locations import S3Connection
from streams.objects.s3_answers import Fate, fate_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = [
    "FAILURES",
    "Failure",
    "Patience",
    "answer_of",
    "fate_of_failure",
    "make_client",
    "open_session",
    "said_by",
]

DEFAULT_REGION = "us-east-1"  # where an endpoint of one's own has no regions

# RecursionError: botocore asks a bucket for its region, and one that only ever redirects again.
Failure = BotoCoreError | ClientError | ResponseParserError | RecursionError
FAILURES = (BotoCoreError, ClientError, ResponseParserError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try: `attempts` requests, `first_delay_s` after the first, then doubled."""

    attempts: int = 7
    first_delay_s: float = 0.1
    connect_timeout_s: float = 10
    read_timeout_s: float = 60
    connections: int = 10

    def delays(self) -> Iterator[float]:
        """Seconds to wait after each attempt but the last."""
        return (self.first_delay_s * 2**n for n in range(self.attempts - 1))


def open_session(connection: S3Connection) -> boto3.session.Session:
    """Where credentials come from. Raises BotoCoreError for a profile that is not there."""
    return boto3.session.Session(
        aws_access_key_id=connection.access_key,
        aws_secret_access_key=connection.secret,
        profile_name=connection.profile,
    )


def make_client(
    session: boto3.session.Session, connection: S3Connection, patience: Patience
) -> "S3Client":
    """A client that tries each request once. Raises BotoCoreError or ValueError."""
    region = connection.region or session.region_name
    return session.client(
        "s3",
        endpoint_url=connection.endpoint,
        region_name=region or (DEFAULT_REGION if connection.endpoint else None),
        config=Config(
            s3={"addressing_style": connection.addressing_style},
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=patience.connect_timeout_s,
            read_timeout=patience.read_timeout_s,
            max_pool_connections=patience.connections,
            # A stored body that differs is judged by manifests, not refused by the client.
            response_checksum_validation="when_required",
        ),
    )


def fate_of_failure(error: Failure) -> Fate:
    """What became of the request that failed so."""
    match error:
        case ClientError():
            return fate_of(*answer_of(error))
        case SSLError() | HTTPClientError() | IncompleteReadError() | ResponseParserError():
            return Fate.UNKNOWN
        case NotConnectedError() | CredentialRetrievalError() | MetadataRetrievalError():
            return Fate.NOT_APPLIED
        case _:
            return Fate.REFUSED


def answer_of(error: Failure) -> tuple[str, int]:
    """Code and HTTP status; the exception's name and 0 where there was no answer."""
    if not isinstance(error, ClientError):
        return type(error).__name__, 0
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def said_by(error: Failure) -> str:
    """A failure for people: the server's own words where there are some."""
    if not isinstance(error, ClientError):
        return str(error)
    code, status = answer_of(error)
    message = error.response.get("Error", {}).get("Message", "")
    return f"{error.operation_name}: {status} {code} {message}".rstrip()
