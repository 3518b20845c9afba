"""Signing by a proxy: a small service of the operator's own in front of an HSM or a vault.

docs/reference/signing-proxy.md is the protocol. The proxy is sent a SHA-256 and nothing else, so
it serves P-256 keys only: Ed25519 signs the message itself. Its public key is asked for once, when
the signer is opened, and its `kid` is sent along with every digest: a proxy that has turned to
another key meanwhile refuses, or is found out by the check of every signature.
"""

import json
import ssl
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from streams.audit.note import ECDSA_P256
from streams.errors import SettingsError, TransientError
from streams.keys.signing import Patience, prove, require_signable, retried

__all__ = ["ProxyAddress", "ProxySigner"]

ANSWER_BYTES_MAX = 64 * 1024
CONNECTIONS = 8
PASSING_STATUS = {408, 425, 429}
REASONS = {
    401: "the proxy wants another SIGNING_PROXY_API_KEY, or SIGNING_PROXY_CERT_FILE",
    403: "the proxy does not permit signing with this SIGNING_PROXY_API_KEY or certificate",
    404: "the proxy has no such page or no such key any more",
    409: "the proxy signs with another key now: restart, once verifiers know that key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddress:
    """How to reach a proxy: `url` without its pages, a bearer key, files of mutual TLS."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class _Key(NamedTuple):
    """The proxy's key: `public` is DER SubjectPublicKeyInfo."""

    kid: str
    public: bytes


class _Pages:
    """The proxy's three pages."""

    def __init__(self, address: ProxyAddress, patience: Patience) -> None:
        self.url = address.url.rstrip("/")
        self._patience = patience
        headers = {"Authorization": f"Bearer {address.api_key}"} if address.api_key else {}
        connect_s, read_s = patience.connect_timeout_s, patience.read_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_context(address), limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=connect_s + read_s, connect=connect_s),
            headers=headers,
        )

    async def ask(self, path: str, question: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object a page answers: POST with a question, GET without.

        Raises:
            SettingsError: refused. TransientError: no such answer.
        """
        return await retried(lambda: self._once(path, question), self._patience)

    async def close(self) -> None:
        await self._session.close()

    async def _once(self, path: str, question: Mapping[str, str] | None) -> dict[str, Any]:
        method = "GET" if question is None else "POST"
        try:
            async with self._session.request(
                method, self.url + path, json=question, allow_redirects=False
            ) as answer:
                self._require_good(path, answer.status)
                return self._parsed(path, await _body(answer))
        except (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL) as error:
            why = "the address, or its certificate (SIGNING_PROXY_CA_FILE), is not right"
            said = type(error).__name__
            raise SettingsError([f"SIGNING_PROXY_URL {self.url}: {why} ({said})"]) from None
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError
            raise TransientError(
                f"signing proxy {self.url} does not answer ({type(error).__name__})"
            ) from None

    def _require_good(self, path: str, status: int) -> None:
        if status == 200:
            return
        if status >= 500 or status in PASSING_STATUS:
            raise TransientError(f"signing proxy {self.url} does not answer (HTTP {status})")
        reason = REASONS.get(status, "the request was refused")
        raise SettingsError([f"SIGNING_PROXY_URL {self.url}{path}: {reason} (HTTP {status})"])

    def _parsed(self, path: str, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise TransientError(f"signing proxy {self.url}{path}: answered no JSON object")
        return answer


class ProxySigner:
    """Signs with the P-256 key of a signing proxy."""

    def __init__(self, pages: _Pages, key: _Key) -> None:
        self._pages = pages
        self._key = key

    def __repr__(self) -> str:
        return f"signing proxy {self._pages.url}"

    @classmethod
    async def open(cls, address: ProxyAddress, patience: Patience | None = None) -> Self:
        """Ask the proxy for its public key.

        Raises:
            SettingsError: the proxy refuses, serves no P-256 key, or a file of TLS is unusable.
            TransientError: no answer.
        """
        pages = _Pages(address, patience or Patience())
        try:
            return cls(pages, _key(pages.url, await pages.ask("/public-key")))
        except BaseException:
            await pages.close()
            raise

    @property
    def algorithm(self) -> int:
        """C2SP signature type 0x02."""
        return ECDSA_P256

    @property
    def public_key(self) -> bytes:
        """As the port says; as the proxy told it when the signer was opened."""
        return self._key.public

    async def sign(self, message: bytes) -> bytes:
        """As the port says, by one request.

        Raises:
            ValueError: more than 4096 bytes.
            SettingsError: refused.
            TransientError: no answer, or one without a signature.
        """
        require_signable(message)
        question = {"digest_hex": sha256(message).hexdigest(), "kid": self._key.kid}
        answer = await self._pages.ask("/sign/hash", question)
        try:
            return b64decode(answer["signature"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise TransientError(f"{self!r}: answered without a signature") from None

    async def check(self) -> None:
        """As the port of opened signers says; the proxy's own opinion is asked too."""
        message, signature = await prove(self)
        for text, expected in ((message, True), (message + b"!", False)):
            question = {
                "digest_hex": sha256(text).hexdigest(),
                "signature": b64encode(signature).decode(),
                "kid": self._key.kid,
            }
            answer = await self._pages.ask("/verify", question)
            if answer.get("valid") is not expected:
                raise SettingsError(
                    [f"SIGNING_PROXY_URL {self._pages.url}/verify: wrong about a signature"]
                )

    async def close(self) -> None:
        """Close the connections."""
        await self._pages.close()


def _context(address: ProxyAddress) -> ssl.SSLContext:
    cafile = str(address.ca_file) if address.ca_file else None
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError):
        raise SettingsError(["SIGNING_PROXY_CA_FILE: not a PEM file of certificates"]) from None
    if address.cert_file and address.key_file:
        try:
            context.load_cert_chain(address.cert_file, address.key_file, password="")
        except (OSError, ValueError):
            wanted = "expected a PEM certificate and its unencrypted key"
            raise SettingsError(
                [f"SIGNING_PROXY_CERT_FILE, SIGNING_PROXY_KEY_FILE: {wanted}"]
            ) from None
    return context


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(ANSWER_BYTES_MAX):
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError
    return bytes(body)


def _key(url: str, answer: Mapping[str, Any]) -> _Key:
    kid, pem = answer.get("kid"), answer.get("public_key")
    if not isinstance(kid, str) or not isinstance(pem, str):
        raise TransientError(f"signing proxy {url}/public-key: answered without a key")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        why = "expected a P-256 key: of the keys of checkpoints it alone signs digests"
        raise SettingsError([f"SIGNING_PROXY_URL {url}: key {kid!r}: {why}"])
    return _Key(kid, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
