"""Which signer the settings name, opened: AWS KMS before the signing proxy before a local key.

What a signer needs beyond the base install is imported where it is chosen. Remote signers are
guarded; a local key answers at once, and what signs checks every signature anyway.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.errors import MissingExtraError, SettingsError
from streams.keys.guarded import GuardedSigner
from streams.keys.local import LocalSigner, load_private_key, write_new_key
from streams.keys.signing import OpenedSigner
from streams.ports import Clock
from streams.settings import Settings

__all__ = ["local_signer", "open_signer"]


@asynccontextmanager
async def open_signer(settings: Settings, clock: Clock) -> AsyncIterator[OpenedSigner]:
    """The first permitted signer that is set; the embedded engine may make a key of its own.

    Raises:
        SettingsError: no signer, or one that cannot be used.
        MissingExtraError: its client library is not installed.
        TransientError: it does not answer.
    """
    match settings.signer:
        case "kms":
            signer: OpenedSigner = GuardedSigner(await _kms(settings), clock)
        case "proxy":
            signer = GuardedSigner(await _proxy(settings), clock)
        case _:
            signer = local_signer(settings)
    try:
        yield signer
    finally:
        await signer.close()


def local_signer(settings: Settings) -> LocalSigner:
    """The local key that is set, or that an embedded home keeps, made on first use.

    Raises:
        SettingsError: no key.
    """
    if settings.signing_private_key is not None:
        return LocalSigner(load_private_key(settings.signing_private_key.get_secret_value()))
    if settings.on_kafka:
        raise SettingsError(
            [
                (
                    "no signer: set AUDIT_SIGNING_KMS_KEY_ID, SIGNING_PROXY_URL or "
                    "AUDIT_SIGNING_PRIVATE_KEY (`attestream keys generate NAME` makes such a key)"
                )
            ]
        )
    path = settings.home / "keys" / "signing.pem"
    if path.is_file():
        return LocalSigner(load_private_key(str(path)))
    return write_new_key(path)


async def _kms(settings: Settings) -> OpenedSigner:
    try:
        from streams.keys.kms import KmsSigner  # noqa: PLC0415  # optional dependency
    except ModuleNotFoundError as error:
        if error.name not in {"boto3", "botocore"}:
            raise
        raise MissingExtraError(
            "AUDIT_SIGNING_KMS_KEY_ID is set and the AWS client is not installed: "
            "pip install 'attestream[kms]'"
        ) from error
    assert settings.signing_kms_key_id is not None
    return await KmsSigner.open(settings.signing_kms_key_id)


async def _proxy(settings: Settings) -> OpenedSigner:
    try:
        from streams.keys.proxy import ProxyAddress, ProxySigner  # noqa: PLC0415  # optional
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise MissingExtraError(
            "SIGNING_PROXY_URL is set and the HTTP client is not installed: "
            "pip install 'attestream[proxy]'"
        ) from error
    assert settings.signing_proxy_url is not None
    api_key = settings.signing_proxy_api_key
    return await ProxySigner.open(
        ProxyAddress(
            url=settings.signing_proxy_url,
            api_key=api_key.get_secret_value() if api_key else None,
            ca_file=settings.signing_proxy_ca_file,
            cert_file=settings.signing_proxy_cert_file,
            key_file=settings.signing_proxy_key_file,
        )
    )
