"""Signing by AWS KMS: the private key never leaves it.

Ed25519 keys (key spec ECC_NIST_EDWARDS25519) sign the message itself, `ED25519_SHA_512` with
MessageType RAW: the pre-hashed variant KMS also offers makes signatures no note verifier accepts.
P-256 keys (ECC_NIST_P256) sign its SHA-256, `ECDSA_SHA_256` with MessageType DIGEST.

The public key is asked for once, when the signer is opened. Signing names the key by the ARN of
that answer: an alias that is turned to another key later changes nothing until a restart.
"""

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

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
from streams.keys.kms_client import KmsConnection
from streams.keys.signing import Patience, prove, require_signable

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

__all__ = ["KmsSigner"]

SETTING = "AUDIT_SIGNING_KMS_KEY_ID"
NOT_FOR_SIGNING = "the key does not sign: expected an asymmetric key of usage SIGN_VERIFY"
REASONS = {
    "AccessDeniedException": "access is denied: allow kms:GetPublicKey and kms:Sign on the key",
    "InvalidKeyUsageException": NOT_FOR_SIGNING,
    "UnsupportedOperationException": NOT_FOR_SIGNING,
}


class _Key(NamedTuple):
    """A key as KMS tells it: `public` as the port of signers says."""

    arn: str
    algorithm: int
    public: bytes


class KmsSigner:
    """Signs with one asymmetric key of AWS KMS."""

    def __init__(self, connection: KmsConnection, client: "KMSClient", key: _Key) -> None:
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
        connection = KmsConnection(
            setting=SETTING, key_id=key_id, patience=patience or Patience(), reasons=REASONS
        )
        client, key = await connection.open(
            lambda client: client.get_public_key(KeyId=key_id), partial(_key, key_id)
        )
        return cls(connection, client, key)

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
        self._connection.close()
        self._client.close()


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
