"""Signing by AWS KMS: the private key never leaves it.

Ed25519 keys (key spec ECC_NIST_EDWARDS25519) sign the message itself, `ED25519_SHA_512` with
MessageType RAW: the pre-hashed variant KMS also offers makes signatures no note verifier accepts.
P-256 keys (ECC_NIST_P256) sign its SHA-256, `ECDSA_SHA_256` with MessageType DIGEST.

The public key is asked for once, when the signer is opened. Signing names the key by the ARN of
that answer: an alias that is turned to another key later changes nothing until a restart.
Credentials, region and endpoint are those of the usual AWS chain (`AWS_ENDPOINT_URL_KMS`); the
region of a key ARN wins. boto3 retries nothing here. Its blocking calls have threads of their own,
so that a KMS that hangs holds up nothing else.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar

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
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from streams.audit.note import ECDSA_P256, ED25519
from streams.errors import SettingsError, TransientError
from streams.keys.signing import Patience, prove, require_signable, retried

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

__all__ = ["KmsSigner"]

SETTING = "AUDIT_SIGNING_KMS_KEY_ID"
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
NOT_FOR_SIGNING = "the key does not sign: expected an asymmetric key of usage SIGN_VERIFY"
REASONS = {
    "AccessDeniedException": "access is denied: allow kms:GetPublicKey and kms:Sign on the key",
    "DisabledException": "the key is disabled",
    "ExpiredTokenException": EXPIRED,
    "IncompleteSignature": UNKNOWN_CREDENTIALS,
    "InvalidArnException": NO_KEY,
    "InvalidClientTokenId": UNKNOWN_CREDENTIALS,
    "InvalidKeyUsageException": NOT_FOR_SIGNING,
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
    "UnsupportedOperationException": NOT_FOR_SIGNING,
    "ValidationException": "that is no key id, ARN or alias",
}

Failure = BotoCoreError | ClientError | ResponseParserError | ValueError


class _Key(NamedTuple):
    """A key as KMS tells it: `public` as the port of signers says."""

    arn: str
    algorithm: int
    public: bytes


@dataclass(frozen=True, slots=True)
class _Connection:
    """A client of KMS and the threads its calls run in."""

    key_id: str
    patience: Patience
    threads: ThreadPoolExecutor

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
        reason = REASONS.get(code, "the request was refused")
        return SettingsError([f"{SETTING} {self.key_id}: {reason} ({code})"])


class KmsSigner:
    """Signs with one asymmetric key of AWS KMS."""

    def __init__(self, connection: _Connection, client: "KMSClient", key: _Key) -> None:
        self._connection = connection
        self._client = client
        self._key = key

    def __repr__(self) -> str:
        kind = "Ed25519" if self._key.algorithm == ED25519 else "P-256"
        return f"AWS KMS {kind} key {self._key.arn}"

    @classmethod
    async def open(cls, key_id: str, patience: Patience | None = None) -> Self:
        """Ask KMS for the public key of a key id, key ARN, alias name or alias ARN.

        Raises:
            SettingsError: no credentials, access denied, no such key, disabled, or not a key
                that can sign checkpoints.
            TransientError: no answer.
        """
        patience = patience or Patience()
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kms")
        connection = _Connection(key_id, patience, threads)
        try:
            client = await connection.ask(lambda: _client(key_id, patience))
            answer = await connection.ask(lambda: client.get_public_key(KeyId=key_id))
            return cls(connection, client, _key(key_id, answer))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise

    @property
    def algorithm(self) -> int:
        """C2SP signature type 0x01 or 0x02, as the key is."""
        return self._key.algorithm

    @property
    def public_key(self) -> bytes:
        """As the port says; from GetPublicKey when the signer was opened."""
        return self._key.public

    async def sign(self, message: bytes) -> bytes:
        """As the port says, by one `Sign` request.

        Raises:
            ValueError: more than 4096 bytes.
            SettingsError: access denied, or the key can no longer be used.
            TransientError: no answer.
        """
        require_signable(message)
        is_raw = self._key.algorithm == ED25519
        kind: Literal["RAW", "DIGEST"] = "RAW" if is_raw else "DIGEST"
        body = message if is_raw else sha256(message).digest()
        answer: Any = await self._connection.ask(
            lambda: self._client.sign(
                KeyId=self._key.arn,
                Message=body,
                MessageType=kind,
                SigningAlgorithm="ED25519_SHA_512" if is_raw else "ECDSA_SHA_256",
            )
        )
        signature = answer.get("Signature")
        if not isinstance(signature, bytes):
            raise TransientError(f"{self!r}: answered without a signature")
        return signature

    async def check(self) -> None:
        """As the port of opened signers says."""
        await prove(self)

    async def close(self) -> None:
        """Let go of connections; a request under way ends by its own time-out."""
        self._connection.threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def _client(key_id: str, patience: Patience) -> "KMSClient":
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


def _key(key_id: str, answer: Any) -> _Key:  # noqa: ANN401  # what a server said
    usage, spec = answer.get("KeyUsage"), answer.get("KeySpec")
    if usage != "SIGN_VERIFY":
        raise SettingsError([f"{SETTING} {key_id}: {NOT_FOR_SIGNING}, found {usage}"])
    arn, public = answer.get("KeyId"), answer.get("PublicKey")
    try:
        key = load_der_public_key(public)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise TransientError(f"AWS KMS {key_id}: answered without a public key") from None
    match key:
        case Ed25519PublicKey():
            return _Key(arn, ED25519, key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        case EllipticCurvePublicKey(curve=SECP256R1()):
            # Verifiers accept one DER spelling of a key.
            der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return _Key(arn, ECDSA_P256, der)
        case _:
            wanted = "expected ECC_NIST_EDWARDS25519 or ECC_NIST_P256"
            raise SettingsError([f"{SETTING} {key_id}: key spec {spec}, {wanted}"])


def _answer(error: Failure) -> tuple[str, int]:
    """Code and HTTP status; the exception's name and 0 where there was no answer."""
    if not isinstance(error, ClientError):
        return type(error).__name__, 0
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
