"""A signing proxy for development: the protocol of docs/reference/signing-proxy.md, spelled out.

    python -m streams.keys.reference_proxy --key proxy.pem

NOT for production: its key lies in a file and in this process's memory, which is what a signing
proxy is there to avoid. It listens on loopback only, and says so when it starts.
"""

import hmac
import os
import ssl
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from streams.errors import SettingsError
from streams.keys.local import write_secret

__all__ = ["ReferenceProxy"]

HOST = "127.0.0.1"
ALGORITHM = "ecdsa-p256-sha256"
QUESTION_BYTES_MAX = 16 * 1024
DIGEST = ECDSA(Prehashed(SHA256()))
WARNING = """\
*******************************************************************************
  FOR DEVELOPMENT ONLY. This signing proxy keeps its private key in a file and
  in memory. Whoever reads either can sign checkpoints. Never use it in production.
*******************************************************************************"""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ReferenceProxy:
    """Serves one P-256 key; `key` may be changed while it runs, as a rotation would."""

    def __init__(self, key: EllipticCurvePrivateKey, api_key: str | None = None) -> None:
        self.key = key
        self._api_key = api_key

    def application(self, around: Sequence[Any] = ()) -> web.Application:
        """The three pages; `around` are aiohttp middlewares put in front of them."""
        guarded = [*around, self._authenticated]
        app = web.Application(middlewares=guarded, client_max_size=QUESTION_BYTES_MAX)
        app.router.add_get("/public-key", self._public_key)
        app.router.add_post("/sign/hash", self._sign)
        app.router.add_post("/verify", self._verify)
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {self._api_key}"
        if self._api_key and not hmac.compare_digest(given.encode(), wanted.encode()):
            return _refusal(401, "expected Authorization: Bearer and the API key")
        return await handler(request)

    async def _public_key(self, _request: web.Request) -> web.Response:
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return web.json_response(
            {"kid": self._kid, "alg": ALGORITHM, "public_key": pem.decode("ascii")}
        )

    async def _sign(self, request: web.Request) -> web.Response:
        question = await _question(request)
        digest = _digest(question)
        if digest is None:
            return _refusal(400, "expected digest_hex: the 64 hexadecimal digits of a SHA-256")
        if question.get("kid", self._kid) != self._kid:
            return _refusal(409, f"signs with key {self._kid} now")
        signature = b64encode(self.key.sign(digest, DIGEST)).decode("ascii")
        return web.json_response({"kid": self._kid, "alg": ALGORITHM, "signature": signature})

    async def _verify(self, request: web.Request) -> web.Response:
        question = await _question(request)
        digest, signature = _digest(question), _bytes(question.get("signature"))
        if digest is None or signature is None:
            return _refusal(400, "expected digest_hex, and signature in base64")
        try:
            self.key.public_key().verify(signature, digest, DIGEST)
        except InvalidSignature:
            return web.json_response({"valid": False})
        return web.json_response({"valid": True})

    @property
    def _kid(self) -> str:
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return sha256(der).hexdigest()[:16]


@click.command()
@click.option("--port", type=int, default=8081, show_default=True)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="P-256 private key, PEM; made if there is none.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="Serve HTTPS.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--client-ca",
    type=click.Path(path_type=Path, exists=True),
    help="Demand a client certificate of this authority (mutual TLS).",
)
def main(
    port: int,
    key_file: Path,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
) -> None:
    """A signing proxy for development. Its API key is SIGNING_PROXY_API_KEY, if that is set."""
    click.echo(WARNING, err=True)
    context = _context(tls_cert, tls_key, client_ca) if tls_cert else None
    proxy = ReferenceProxy(_key(key_file), os.environ.get("SIGNING_PROXY_API_KEY"))
    scheme = "https" if context else "http"
    click.echo(f"export SIGNING_PROXY_URL={scheme}://{HOST}:{port}")
    web.run_app(proxy.application(), host=HOST, port=port, ssl_context=context, print=None)


def _key(path: Path) -> EllipticCurvePrivateKey:
    if not path.exists():
        made = generate_private_key(SECP256R1())
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_secret(path, pem)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise SettingsError([f"{path}: not an unencrypted P-256 private key in PEM"])
    return key


def _context(cert: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _question(request: web.Request) -> dict[str, Any]:
    try:
        question = await request.json()
    except ValueError:
        return {}
    return question if isinstance(question, dict) else {}


def _digest(question: dict[str, Any]) -> bytes | None:
    text = question.get("digest_hex")
    if not isinstance(text, str) or len(text) != 64:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _bytes(text: object) -> bytes | None:
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        return None


def _refusal(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)


if __name__ == "__main__":
    main()
