"""Which keys wrap the data keys of snapshots, as the settings name them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from streams.errors import MissingExtraError, SettingsError
from streams.keys.wrapping import AesWrappingKey, WrappingKey, WrappingKeys
from streams.settings import Settings

__all__ = ["NO_INDEX_KEY", "has_index_key", "open_index_keys"]

NO_INDEX_KEY = "no key for snapshots: set VECTOR_INDEX_KEY or VECTOR_INDEX_KMS_KEY_ID"


def has_index_key(settings: Settings) -> bool:
    """Whether a key is set that wraps."""
    return settings.index_key is not None or bool(settings.index_kms_key_ids)


@asynccontextmanager
async def open_index_keys(settings: Settings) -> AsyncIterator[WrappingKeys]:
    """The keys that are set: KMS wraps before a local key, all unwrap.

    Raises:
        SettingsError: none is set, or one that cannot be used.
        MissingExtraError: its client library is not installed.
        TransientError: it does not answer.
    """
    if not has_index_key(settings):
        raise SettingsError([NO_INDEX_KEY])
    local = (settings.index_key, settings.index_key_previous)
    opened: list[WrappingKey] = []
    async with AsyncExitStack() as stack:
        for key_id in settings.index_kms_key_ids:
            key = await _kms(key_id)
            stack.push_async_callback(key.close)
            opened.append(key)
        opened += [AesWrappingKey(bytes.fromhex(key.get_secret_value())) for key in local if key]
        yield WrappingKeys(opened)


async def _kms(key_id: str) -> WrappingKey:
    try:
        from streams.keys.kms_wrapping import KmsWrappingKey  # noqa: PLC0415  # optional
    except ModuleNotFoundError as error:
        if error.name not in {"boto3", "botocore"}:
            raise
        raise MissingExtraError(
            "VECTOR_INDEX_KMS_KEY_ID is set and the AWS client is not installed: "
            "pip install 'attestream[kms]'"
        ) from error
    return await KmsWrappingKey.open(key_id)
