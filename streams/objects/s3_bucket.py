"""The bucket behind the probe: boto3 as the archive uses it, and raw HTTP for what it never sends.

Every answer is a plain value, a refusal too. Answers of 5xx and lost connections are tried again,
but where the caller counts requests.
"""

import http.client
import os
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from re import search
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from streams.errors import SettingsError, TransientError
from streams.objects.locations import S3Connection
from streams.objects.probe_bucket import Answer, Identity, RawRequest
from streams.objects.s3_answers import Fate, reason_of
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
from streams.objects.signature_v4 import Keys, presigned_query, query_text, signed_headers
from streams.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Bucket", "open_bucket"]

# Some checks run at once, some send many requests at once.
PROBING = Patience(attempts=4, first_delay_s=0.2, read_timeout_s=20, connections=64)
NOT_IMPLEMENTED = 501
CODE = rb"<Code>([^<]+)</Code>"
RAW_TIMEOUT_S = 20
LOST = (OSError, http.client.HTTPException)


class S3Bucket:
    """`Bucket` over a real server."""

    def __init__(
        self, client: "S3Client", keys: Keys, name: str, prefix: str, clock: Clock
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self.name = name
        self.prefix = prefix
        self.encryption: Mapping[str, str] = {}

    def on(self, name: str) -> "S3Bucket":
        """Another bucket of the same server, without a prefix."""
        return S3Bucket(self._client, self._keys, name, "", self._clock)

    def close(self) -> None:
        """Idempotent."""
        self._client.close()

    def send(self, operation: str, **parameters: Any) -> Answer:  # noqa: ANN401  # as the port says
        """As the port says."""
        delays = PROBING.delays()
        while True:
            try:
                return self._send(operation, parameters)
            except FAILURES as error:
                code, status = answer_of(error)
                delay = next(delays, None)
                if fate_of_failure(error) is Fate.REFUSED and not status:
                    raise SettingsError(
                        [f"{self.name}: {reason_of(code, status)} ({said_by(error)})"]
                    ) from error
                if _is_final(status) or (status and delay is None):
                    return _answered(error)
                if delay is None:
                    raise TransientError(f"{self.name}: {said_by(error)}") from error
            time.sleep(delay)

    def send_once(self, operation: str, **parameters: Any) -> Answer:  # noqa: ANN401
        """As the port says."""
        try:
            return self._send(operation, parameters)
        except FAILURES as error:
            return _answered(error)

    def _send(self, operation: str, parameters: dict[str, Any]) -> Answer:
        response = getattr(self._client, operation)(Bucket=self.name, **parameters)
        if "Body" in response:
            response["Body"] = response["Body"].read()
        metadata = response["ResponseMetadata"]
        return Answer(
            metadata["HTTPStatusCode"], "", response, _date(metadata["HTTPHeaders"].get("date"))
        )

    def send_raw(self, request: RawRequest) -> Answer:
        """As the port says."""
        url = urlsplit(
            self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": request.key}
            )
        )
        query, headers = self._signed(request, url)
        connection = _connect(url)
        try:
            connection.putrequest(
                request.method, f"{url.path}?{query}", skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            body = request.body[: len(request.body) // 2] if request.is_cut else request.body
            connection.endheaders(body or None)
            if request.is_cut:
                return Answer(0, "the body was cut", {}, None)
            return _raw_answer(connection.getresponse())
        except LOST as error:
            return Answer(0, type(error).__name__, {}, None)
        finally:
            connection.close()

    def _signed(self, request: RawRequest, url: SplitResult) -> tuple[str, dict[str, str]]:
        """Query and headers of a raw request."""
        at = _utc(self._clock) - timedelta(seconds=request.age_s)
        query = query_text(request.query)
        headers = {"host": url.netloc, **request.headers}
        if request.body:
            headers["content-length"] = str(len(request.body))
        if request.identity is Identity.ANONYMOUS:
            return query, headers
        keys = self._keys
        if request.identity is Identity.WRONG_SECRET:
            keys = keys.with_secret(keys.secret[::-1] + "0")
        if request.presigned_s:
            line = (request.method, url.path, request.query)
            return presigned_query(keys, at, line, request.presigned_s, url.netloc), headers
        payload = request.body if request.payload is None else request.payload
        headers["x-amz-content-sha256"] = request.payload_kind or sha256(payload).hexdigest()
        return query, signed_headers(keys, at, (request.method, url.path, query), headers)


def open_bucket(connection: S3Connection, bucket: str, prefix: str, clock: Clock) -> S3Bucket:
    """The bucket of an archive, to be probed. Nothing is sent yet.

    Raises:
        SettingsError: the connection cannot be used, or there are no credentials.
    """
    try:
        session = open_session(connection)
        client = make_client(session, connection, PROBING)
        credentials = session.get_credentials()
    except (BotoCoreError, ValueError) as error:
        raise SettingsError([f"s3://{bucket}: {error}"]) from error
    if credentials is None:
        raise SettingsError([f"s3://{bucket}: {reason_of('NoCredentialsError', 0)}"])
    frozen = credentials.get_frozen_credentials()
    keys = Keys(
        access_key=str(frozen.access_key),
        secret=str(frozen.secret_key),
        token=frozen.token,
        region=client.meta.region_name,
    )
    prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
    opened = S3Bucket(client, keys, bucket, prefix, clock)
    if key_id := connection.sse_kms_key_id:
        opened.encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
    return opened


def _is_final(status: int) -> bool:
    return 0 < status < 500 or status == NOT_IMPLEMENTED


def _answered(error: Failure) -> Answer:
    code, status = answer_of(error)
    headers = {}
    if isinstance(error, ClientError):
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return Answer(status, code, {}, _date(headers.get("date")))


def _date(text: str | None) -> datetime | None:
    with suppress(ValueError):
        return parsedate_to_datetime(text) if text else None
    return None


def _connect(url: SplitResult) -> http.client.HTTPConnection:
    assert url.hostname is not None
    if url.scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port, timeout=RAW_TIMEOUT_S)
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    return http.client.HTTPSConnection(
        url.hostname, url.port, timeout=RAW_TIMEOUT_S, context=context
    )


def _raw_answer(response: http.client.HTTPResponse) -> Answer:
    body = response.read()
    code = search(CODE, body)
    return Answer(
        response.status,
        code[1].decode("utf-8", "replace") if code and response.status >= 300 else "",
        {"Body": body},
        _date(response.headers.get("date")),
    )


def _utc(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
