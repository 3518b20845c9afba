"""AWS Signature Version 4 for S3 requests that no client library would send.

A probe has to send what is altered on its way, too old, or signed with another's secret, and so
signs by itself. Pure: the time is an argument. Source: AWS, "Authenticating Requests (AWS
Signature Version 4)" in the Amazon S3 API Reference; its examples are this module's test vectors.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

__all__ = ["Keys", "presigned_query", "query_text", "signed_headers"]

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Whose signature, and for which region. `token` goes with temporary credentials."""

    access_key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    region: str

    def with_secret(self, secret: str) -> "Keys":
        """The same access key with another secret."""
        return replace(self, secret=secret)

    def scope(self, day: str) -> str:
        """What the signature is good for."""
        return f"{day}/{self.region}/s3/aws4_request"

    def sign(self, at: str, canonical: str) -> str:
        """Hexadecimal signature of a canonical request at an ISO basic time."""
        key = f"AWS4{self.secret}".encode()
        for part in self.scope(at[:8]).split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        digest = sha256(canonical.encode()).hexdigest()
        text = "\n".join((ALGORITHM, at, self.scope(at[:8]), digest))
        return hmac.digest(key, text.encode(), "sha256").hex()


def signed_headers(
    keys: Keys, at: datetime, line: tuple[str, str, str], headers: Mapping[str, str]
) -> dict[str, str]:
    """`headers` and those that sign them.

    `line` is method, path as sent (percent-encoded), and query as sent. `headers` must have
    `host` and `x-amz-content-sha256`; names are lower case.
    """
    time = _basic(at)
    every = {**headers, "x-amz-date": time}
    if keys.token:
        every["x-amz-security-token"] = keys.token
    names = ";".join(sorted(every))
    canonical = _canonical(line, every, every["x-amz-content-sha256"])
    every["authorization"] = (
        f"{ALGORITHM} Credential={keys.access_key}/{keys.scope(time[:8])},"
        f"SignedHeaders={names},Signature={keys.sign(time, canonical)}"
    )
    return every


def presigned_query(
    keys: Keys, at: datetime, line: tuple[str, str, Mapping[str, str]], valid_s: int, host: str
) -> str:
    """The query of a presigned URL, good for `valid_s` seconds; the query is unquoted."""
    method, path, query = line
    time = _basic(at)
    every = {
        **query,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{keys.access_key}/{keys.scope(time[:8])}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(valid_s),
        "X-Amz-SignedHeaders": "host",
    }
    if keys.token:
        every["X-Amz-Security-Token"] = keys.token
    text = query_text(every)
    signature = keys.sign(time, _canonical((method, path, text), {"host": host}, UNSIGNED))
    return f"{text}&X-Amz-Signature={signature}"


def query_text(query: Mapping[str, str]) -> str:
    """A query as it is both sent and signed."""
    return "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items()))


def _canonical(line: tuple[str, str, str], headers: Mapping[str, str], payload: str) -> str:
    method, path, query = line
    lines = [f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers)]
    return "\n".join((method, path, query, "".join(lines), ";".join(sorted(headers)), payload))


def _basic(at: datetime) -> str:
    return at.strftime("%Y%m%dT%H%M%SZ")
