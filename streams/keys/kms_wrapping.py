"""Data keys wrapped by a symmetric AWS KMS key, which never leaves it.

A data key is wrapped for one subject: the encryption context, which KMS authenticates and writes
into its own log of who unwrapped what. The key is named by its ARN, asked for once; only what that
very key wrapped is unwrapped, whatever a stored object says.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self, TypeVar

from streams.errors import SettingsError, TransientError
from streams.keys.kms_client import KmsConnection, RefusedByKmsError
from streams.keys.signing import Patience
from streams.keys.wrapping import KeyRefusedError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

__all__ = ["KmsWrappingKey"]

SETTING = "VECTOR_INDEX_KMS_KEY_ID"
CONTEXT = "attestream"
ID_DIGITS = 16
NOT_FOR_WRAPPING = "the key does not wrap: expected a symmetric key of usage ENCRYPT_DECRYPT"
REASONS = {
    "AccessDeniedException": "access is denied: allow kms:DescribeKey, kms:Encrypt and "
    "kms:Decrypt on the key",
    "InvalidKeyUsageException": NOT_FOR_WRAPPING,
    "UnsupportedOperationException": NOT_FOR_WRAPPING,
}
NOT_ITS_OWN = {"IncorrectKeyException", "InvalidCiphertextException"}
T = TypeVar("T")


class KmsWrappingKey:
    """`WrappingKey` over one key of AWS KMS."""

    def __init__(self, connection: KmsConnection, client: "KMSClient", arn: str) -> None:
        self._connection = connection
        self._client = client
        self._arn = arn
        self._key_id = "kms-" + sha256(arn.encode()).hexdigest()[:ID_DIGITS]

    def __repr__(self) -> str:
        return f"AWS KMS key {self._arn}"

    @classmethod
    async def open(cls, key_id: str, patience: Patience | None = None) -> Self:
        """Ask KMS which key a key id, key ARN, alias name or alias ARN names.

        Raises:
            SettingsError: no credentials, access denied, no such key, or not one that wraps.
            TransientError: no answer.
        """
        connection = KmsConnection(
            setting=SETTING, key_id=key_id, patience=patience or Patience(), reasons=REASONS
        )
        client, arn = await connection.open(
            lambda client: client.describe_key(KeyId=key_id), partial(_arn, key_id)
        )
        return cls(connection, client, arn)

    @property
    def key_id(self) -> str:
        """As the port says; of the ARN."""
        return self._key_id

    async def wrap(self, data_key: bytes, subject: str) -> bytes:
        """As the port says, by one `Encrypt` request."""
        return await self._ask(
            "CiphertextBlob",
            lambda: self._client.encrypt(
                KeyId=self._arn, Plaintext=data_key, EncryptionContext={CONTEXT: subject}
            ),
        )

    async def unwrap(self, wrapped: bytes, subject: str) -> bytes:
        """As the port says, by one `Decrypt` request."""
        try:
            return await self._ask(
                "Plaintext",
                lambda: self._client.decrypt(
                    KeyId=self._arn, CiphertextBlob=wrapped, EncryptionContext={CONTEXT: subject}
                ),
            )
        except RefusedByKmsError as error:
            if error.code not in NOT_ITS_OWN:
                raise
            raise KeyRefusedError(f"not wrapped by {self!r} for {subject}") from None

    async def close(self) -> None:
        """Let go of connections; a request under way ends by its own time-out."""
        self._connection.close()
        self._client.close()

    async def _ask(self, member: str, request: Callable[[], Any]) -> bytes:
        answer: Any = await self._connection.ask(request)
        value = answer.get(member)
        if not isinstance(value, bytes) or not value:
            raise TransientError(f"{self!r}: answered without {member}")
        return value


def _arn(key_id: str, answer: Any) -> str:  # noqa: ANN401  # what a server said
    about = answer.get("KeyMetadata") or {}
    usage, spec, arn = about.get("KeyUsage"), about.get("KeySpec"), about.get("Arn")
    if usage != "ENCRYPT_DECRYPT" or spec != "SYMMETRIC_DEFAULT":
        raise SettingsError([f"{SETTING} {key_id}: {NOT_FOR_WRAPPING}, found {usage} of {spec}"])
    if not isinstance(arn, str) or not arn:
        raise TransientError(f"AWS KMS {key_id}: answered without an ARN")
    return arn
