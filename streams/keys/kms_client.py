"""AWS KMS as this project asks it, and what its failures mean.

Credentials, region and endpoint are those of the usual AWS chain (`AWS_ENDPOINT_URL_KMS`); the
region of a key ARN wins. boto3 retries nothing here. Its blocking calls have threads of their own,
so that a KMS that hangs holds up nothing else.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

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

from streams.errors import SettingsError, TransientError
from streams.keys.signing import Patience, retried

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

__all__ = ["KmsConnection", "RefusedByKmsError"]

THREADS = 8
T = TypeVar("T")

# An answer that is no answer: base64 or text that cannot be read is a ValueError.
FAILURES = (BotoCoreError, ClientError, ResponseParserError, ValueError)
PASSING = (
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NotConnectedError,
    ResponseParserError,
    ValueError,
)
PASSING_CODES = {
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
NO_CREDENTIALS = "no AWS credentials"
UNKNOWN_CREDENTIALS = "the AWS credentials are not known there"
EXPIRED = "the AWS credentials have expired"
NO_KEY = "there is no such key in that account and region"
REASONS = {
    "DisabledException": "the key is disabled",
    "ExpiredTokenException": EXPIRED,
    "IncompleteSignature": UNKNOWN_CREDENTIALS,
    "InvalidArnException": NO_KEY,
    "InvalidClientTokenId": UNKNOWN_CREDENTIALS,
    "InvalidSignatureException": "the AWS secret does not belong to the access key, or this "
    "machine's clock differs from the server's",
    "KMSInvalidStateException": "the key is disabled, or about to be deleted",
    "MissingAuthenticationTokenException": NO_CREDENTIALS,
    "NoCredentialsError": NO_CREDENTIALS,
    "NoRegionError": "no AWS region: set AWS_DEFAULT_REGION, or name the key by its ARN",
    "NotFoundException": NO_KEY,
    "ParamValidationError": "that is no key id, ARN or alias",
    "PartialCredentialsError": NO_CREDENTIALS,
    "ProfileNotFound": "there is no such AWS profile",
    "RequestExpired": EXPIRED,
    "SSLError": "the server's certificate is not trusted: set AWS_CA_BUNDLE",
    "UnrecognizedClientException": UNKNOWN_CREDENTIALS,
    "ValidationException": "that is no key id, ARN or alias",
}

Failure = BotoCoreError | ClientError | ResponseParserError | ValueError


class RefusedByKmsError(SettingsError):
    """KMS refused a request; `code` is what it answered."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__([sentence])
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsConnection:
    """How one key is asked, and the threads its calls run in.

    Attributes:
        setting: the setting that names the key, for messages.
        key_id: what it says: a key id, key ARN, alias name or alias ARN.
        patience: how long to try.
        reasons: what else a refusal means, by its code.
    """

    setting: str
    key_id: str
    patience: Patience
    reasons: Mapping[str, str]
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="kms")
    )

    async def open(
        self, request: Callable[["KMSClient"], Any], read: Callable[[Any], T]
    ) -> tuple["KMSClient", T]:
        """A client, and what `read` makes of its answer to a first request.

        Where that fails, the connection is closed. Raises as `ask`, and whatever `read` does.
        """
        try:
            client = await self.ask(lambda: _client(self.key_id, self.patience))
            return client, read(await self.ask(lambda: request(client)))
        except BaseException:
            self.close()
            raise

    async def ask(self, request: Callable[[], T]) -> T:
        """Run one request in a thread, again while it fails in a way that may pass.

        Raises:
            SettingsError, TransientError: one sentence, without what the server wrote: that may
                repeat a header of the request.
        """
        loop = asyncio.get_running_loop()

        async def once() -> T:
            try:
                return await loop.run_in_executor(self.threads, request)
            except FAILURES as error:
                raise self._failed(error) from None

        return await retried(once, self.patience)

    def _failed(self, error: Failure) -> SettingsError | TransientError:
        code, status = _answer(error)
        passing = isinstance(error, PASSING) or code in PASSING_CODES or status in {408, 429}
        untrusted = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
        if status >= 500 or (passing and not untrusted):
            said = f"{code}, HTTP {status}" if status else code
            return TransientError(f"AWS KMS {self.key_id} does not answer ({said})")
        reason = ({**REASONS, **self.reasons}).get(code, "the request was refused")
        return RefusedByKmsError(f"{self.setting} {self.key_id}: {reason} ({code})", code)

    def close(self) -> None:
        """A request under way ends by its own time-out."""
        self.threads.shutdown(wait=False, cancel_futures=True)


def _client(key_id: str, patience: Patience) -> "KMSClient":
    """A client that tries each request once. Raises BotoCoreError, SettingsError."""
    session = boto3.session.Session()
    parts = key_id.split(":")
    is_arn = len(parts) >= 6 and parts[0] == "arn"
    config = Config(
        connect_timeout=patience.connect_timeout_s,
        read_timeout=patience.read_timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=THREADS,
    )
    region = parts[3] if is_arn else session.region_name
    try:
        return session.client("kms", region_name=region, config=config)
    except ValueError:
        raise SettingsError(["AWS_ENDPOINT_URL_KMS: not an URL"]) from None


def _answer(error: Failure) -> tuple[str, int]:
    """Code and HTTP status; the exception's name and 0 where there was no answer."""
    if not isinstance(error, ClientError):
        return type(error).__name__, 0
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
