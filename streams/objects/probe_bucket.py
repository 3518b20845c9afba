"""A bucket as the probe sees it: requests out, answers back as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

__all__ = ["Answer", "Bucket", "Identity", "OpenBucket", "RawRequest", "Untried"]


class Untried(Exception):
    """A check could not be made; the message says why. No verdict on the bucket."""


class Answer(NamedTuple):
    """What a server said. `status` 0: nothing; `fields` are empty unless it accepted."""

    status: int
    code: str
    fields: Mapping[str, Any]
    date: datetime | None

    @property
    def accepted(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Any 4xx: servers differ in which."""
        return 400 <= self.status < 500

    @property
    def said(self) -> str:
        """Status and code, for people."""
        if not self.status:
            return f"no answer ({self.code})"
        return (
            str(self.status)
            if self.code in {"", str(self.status)}
            else f"{self.status} {self.code}"
        )


class Identity(Enum):
    """Who sends a raw request."""

    OWN = auto()
    WRONG_SECRET = auto()  # the archive's access key, another's secret
    ANONYMOUS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """A request as no client library sends it.

    Attributes:
        payload: what the signature says of the body: the SHA-256 of this.
        payload_kind: instead of a SHA-256, one of the constants of Signature Version 4.
        is_cut: only half of the body is sent, then the connection is closed.
        age_s: how long ago it was signed.
        presigned_s: signed in the query, and good for so many seconds from then.
    """

    method: str
    key: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    payload: bytes | None = None
    payload_kind: str = ""
    is_cut: bool = False
    identity: Identity = Identity.OWN
    age_s: int = 0
    presigned_s: int = 0


class Bucket(Protocol):
    """One bucket, and the prefix the archive has in it. Used from several threads at once."""

    @property
    def name(self) -> str:
        """The bucket's own name."""

    @property
    def prefix(self) -> str:
        """Of every key: empty, or ends in a slash."""

    @property
    def encryption(self) -> Mapping[str, str]:
        """What the archive asks for with every object; empty if nothing."""

    def send(self, operation: str, **parameters: Any) -> Answer:  # noqa: ANN401  # S3's own types
        """One S3 operation by its name in Python; what may pass is tried again.

        Raises TransientError if no answer comes, SettingsError if nothing can be sent.
        """

    def send_once(self, operation: str, **parameters: Any) -> Answer:  # noqa: ANN401
        """As `send`, never tried again; no answer has status 0."""

    def send_raw(self, request: RawRequest) -> Answer:
        """One HTTP request, never tried again; no answer has status 0."""


class OpenBucket(Bucket, Protocol):
    """The bucket of an archive."""

    def on(self, name: str) -> Bucket:
        """Another bucket of the same server, without a prefix."""

    def close(self) -> None:
        """Idempotent."""
