"""Servers that sign, in this process: one that speaks AWS KMS, and the reference signing proxy.

`LocalKms` is a stand-in with real cryptography: keys, key states, message types and limits as AWS
documents them, and every request's Signature Version 4 is checked. boto3 talks to it as to AWS,
by `AWS_ENDPOINT_URL_KMS`. `SignerFaults` stands in front of either server and spoils signatures.
"""

import asyncio
import json
import re
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["ACCESS_KEY", "REGION", "SECRET", "Fault", "LocalKms", "SignerFaults", "served"]

ACCESS_KEY, SECRET = "AKIATESTTESTTESTTEST", "kms-secret-0123456789abcdef0123456789abcd"
REGION = "eu-central-1"
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/kms/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
)
# "silence": never an answer. "torn": half an answer. "noise": a page of somebody else's, with
# status 200. "slow": 200 ms. The others spoil the signature in a good answer.
Fault = Literal[
    "", "silence", "503", "429", "torn", "noise", "slow", "one bit", "half a signature", "nothing"
]
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(
    app: web.Application, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve on loopback while the context lasts; gives the URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class SignerFaults:
    """What becomes of requests to sign; `asked` counts them."""

    fault: Fault = ""
    asked: int = 0

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", request.path)
        if not target.endswith((".Sign", "/sign/hash")):
            return await handler(request)
        self.asked += 1
        match self.fault:
            case "silence":
                await asyncio.Event().wait()
            case "503" | "429":
                return web.Response(status=int(self.fault))
            case "noise":
                return web.Response(text="<p>Sorry")
            case "slow":
                await asyncio.sleep(0.2)
            case _:
                pass
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        if self.fault == "torn":
            return await self._torn(request, answer)
        return self._spoiled(answer)

    async def _torn(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        assert isinstance(answer.body, bytes)
        half = web.StreamResponse(headers={"Content-Length": str(len(answer.body))})
        await half.prepare(request)
        await half.write(answer.body[: len(answer.body) // 2])
        assert request.transport is not None
        request.transport.close()
        return half

    def _spoiled(self, answer: web.Response) -> web.Response:
        if self.fault not in {"one bit", "half a signature", "nothing"} or not answer.text:
            return answer
        fields = json.loads(answer.text)
        name = next(name for name in fields if name.lower() == "signature")
        signature = b64decode(fields[name])
        spoiled = {
            "one bit": signature[:-1] + bytes([signature[-1] ^ 1]),
            "half a signature": signature[: len(signature) // 2],
            "nothing": b"",
        }[self.fault]
        fields[name] = b64encode(spoiled).decode()
        return web.json_response(fields, status=answer.status)


class RefusalError(Exception):
    """What KMS answers instead; its code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class KmsKey:
    """One key and its state."""

    arn: str
    spec: str
    usage: str
    private: PrivateKey
    enabled: bool = True


class Algorithm(NamedTuple):
    """Which key spec and message type an algorithm takes."""

    spec: str
    message_type: str


ALGORITHMS = {
    "ED25519_SHA_512": Algorithm("ECC_NIST_EDWARDS25519", "RAW"),
    "ECDSA_SHA_256": Algorithm("ECC_NIST_P256", "RAW or DIGEST"),
}


@dataclass(slots=True)
class LocalKms:
    """`CreateKey`, `CreateAlias`, `UpdateAlias`, `DisableKey`, `GetPublicKey` and `Sign`.

    `denied` are requests the caller may not make.
    """

    keys: dict[str, KmsKey] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    faults: SignerFaults = field(default_factory=SignerFaults)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self.faults.around])
        app.router.add_post("/", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = request.headers["X-Amz-Target"].removeprefix("TrentService.")
        try:
            _check_signature(request, body)
            answer, status = self._answer_to(name, json.loads(body)), 200
        except RefusalError as refusal:
            # AWS repeats the headers a request signed, credentials among them.
            said = f"the canonical string was {dict(request.headers)}"
            answer, status = {"__type": refusal.code, "message": said}, 400
        return web.json_response(answer, status=status, content_type="application/x-amz-json-1.1")

    def _answer_to(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        if name in self.denied:
            raise RefusalError("AccessDeniedException")
        answer: dict[str, Any] = getattr(self, f"_{name}")(asked)
        return answer

    def _CreateKey(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802  # AWS's name
        spec, usage = asked["KeySpec"], asked.get("KeyUsage", "ENCRYPT_DECRYPT")
        private: dict[str, Callable[[], PrivateKey]] = {
            "ECC_NIST_EDWARDS25519": ed25519.Ed25519PrivateKey.generate,
            "ECC_NIST_P256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ECC_NIST_P384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "RSA_2048": lambda: rsa.generate_private_key(65537, 2048),
        }
        key_id = f"00000000-0000-4000-8000-{len(self.keys):012}"
        arn = f"arn:aws:kms:{REGION}:111122223333:key/{key_id}"
        self.keys[key_id] = KmsKey(arn, spec, usage, private[spec]())
        return {"KeyMetadata": {"KeyId": key_id, "Arn": arn}}

    def _CreateAlias(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.aliases[asked["AliasName"]] = asked["TargetKeyId"]
        return {}

    _UpdateAlias = _CreateAlias

    def _DisableKey(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._key(asked).enabled = False
        return {}

    def _GetPublicKey(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        key = self._usable(asked)
        der = key.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return {
            "KeyId": key.arn,
            "KeySpec": key.spec,
            "KeyUsage": key.usage,
            "PublicKey": b64encode(der).decode(),
        }

    def _Sign(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        key, message = self._usable(asked), b64decode(asked["Message"])
        kind = asked.get("MessageType", "RAW")
        algorithm = ALGORITHMS.get(asked["SigningAlgorithm"])
        if key.usage != "SIGN_VERIFY" or algorithm is None or algorithm.spec != key.spec:
            raise RefusalError("InvalidKeyUsageException")
        if kind not in algorithm.message_type.split(" or ") or not 1 <= len(message) <= 4096:
            raise RefusalError("ValidationException")
        digest = message if kind == "DIGEST" else sha256(message).digest()
        if len(digest) != 32:
            raise RefusalError("ValidationException")
        match key.private:
            case ed25519.Ed25519PrivateKey() as private:
                signature = private.sign(message)
            case ec.EllipticCurvePrivateKey() as private:
                signature = private.sign(digest, ec.ECDSA(Prehashed(SHA256())))
            case _:
                raise RefusalError("InvalidKeyUsageException")
        return {"KeyId": key.arn, "Signature": b64encode(signature).decode()}

    def _usable(self, asked: dict[str, Any]) -> KmsKey:
        key = self._key(asked)
        if not key.enabled:
            raise RefusalError("DisabledException")
        return key

    def _key(self, asked: dict[str, Any]) -> KmsKey:
        name = asked["KeyId"].rpartition(":key/")[2]
        try:
            return self.keys[self.aliases.get(name, name)]
        except KeyError:
            raise RefusalError("NotFoundException") from None


def _check_signature(request: web.Request, body: bytes) -> None:
    """The request is signed with the secret of this server's one user (Signature Version 4)."""
    found = AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    if not found:
        raise RefusalError("MissingAuthenticationTokenException")
    access_key, region, headers, signature = found.groups()
    if access_key != ACCESS_KEY:
        raise RefusalError("UnrecognizedClientException")
    signed = AWSRequest(
        method=request.method,
        url=f"http://{request.host}/",
        headers={name: request.headers[name] for name in headers.split(";")},
        data=body,
    )
    signed.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET), "kms", region)
    text = auth.string_to_sign(signed, auth.canonical_request(signed))
    if auth.signature(text, signed) != signature:
        raise RefusalError("InvalidSignatureException")
