"""Which signers the settings name, opened: AWS KMS before the signing proxy before a local key.

What a signer needs beyond the base install is imported where it is chosen. Remote signers are
guarded; a local key answers at once, and what signs checks every signature anyway.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streams.errors import MissingExtraError, SettingsError
from streams.keys.guarded import GuardedSigner
from streams.keys.local import (
    LocalSigner,
    key_files,
    load_private_key,
    new_key_path,
    write_new_key,
)
from streams.keys.ring import KeyRing
from streams.keys.signing import OpenedSigner
from streams.ports import Clock
from streams.settings import Settings

__all__ = ["key_folder", "local_signer", "local_signers", "open_key_ring", "open_signer"]


@asynccontextmanager
async def open_signer(settings: Settings, clock: Clock) -> AsyncIterator[OpenedSigner]:
    """The first permitted signer that is set; the embedded engine may make a key of its own.

    Raises:
        SettingsError: no signer, or one that cannot be used.
        MissingExtraError: its client library is not installed.
        TransientError: it does not answer.
    """
    async with open_key_ring(settings, clock) as ring:
        yield ring.first


@asynccontextmanager
async def open_key_ring(settings: Settings, clock: Clock) -> AsyncIterator[KeyRing]:
    """Every signer of a process: the first alone, or with an operator all that are permitted.

    Raises:
        SettingsError, MissingExtraError, TransientError: as `open_signer`.
    """
    names = [name for name in settings.signers_set if name in settings.signers] or ["local"]
    opened: list[OpenedSigner] = []
    folder = None
    try:
        for name in names if settings.operator_key else names[:1]:
            if name == "local":
                folder = key_folder(settings)
                opened += local_signers(settings)
            keys = settings.signing_kms_key_ids if name == "kms" else ()
            for key in keys:
                opened.append(GuardedSigner(await _kms(key), clock))
            urls = settings.signing_proxy_urls if name == "proxy" else ()
            for url in urls:
                opened.append(GuardedSigner(await _proxy(settings, url), clock))
        yield KeyRing(opened if settings.operator_key else opened[:1], folder)
    finally:
        for signer in opened:
            await signer.close()


def local_signer(settings: Settings) -> LocalSigner:
    """The first of `local_signers`. Raises SettingsError."""
    return local_signers(settings)[0]


def local_signers(settings: Settings) -> list[LocalSigner]:
    """The local key that is set, those of a directory that is, or that an embedded home keeps.

    A home without a key gets one.

    Raises:
        SettingsError: no key.
    """
    folder = key_folder(settings)
    if folder is not None:
        signers = [LocalSigner(load_private_key(str(path))) for path in key_files(folder)]
        if not signers and settings.signing_private_key is None:
            signers = [write_new_key(new_key_path(folder))]
        if not signers:
            raise SettingsError([f"AUDIT_SIGNING_PRIVATE_KEY: no *.pem in the directory {folder}"])
        return signers
    if settings.signing_private_key is not None:
        return [LocalSigner(load_private_key(settings.signing_private_key.get_secret_value()))]
    raise SettingsError(
        [
            (
                "no signer: set AUDIT_SIGNING_KMS_KEY_ID, SIGNING_PROXY_URL or "
                "AUDIT_SIGNING_PRIVATE_KEY (`attestream keys generate NAME` makes such a key)"
            )
        ]
    )


def key_folder(settings: Settings) -> Path | None:
    """The directory that local keys lie in, where they lie in one: another may come any time."""
    if settings.signing_private_key is not None:
        named = settings.signing_private_key.get_secret_value().strip()
        # The value itself may be a key: no such path, or one too long for a name.
        try:
            return Path(named) if Path(named).is_dir() else None
        except (OSError, ValueError):
            return None
    return None if settings.on_kafka else settings.home / "keys"


async def _kms(key_id: str) -> OpenedSigner:
    try:
        from streams.keys.kms import KmsSigner  # noqa: PLC0415  # optional dependency
    except ModuleNotFoundError as error:
        if error.name not in {"boto3", "botocore"}:
            raise
        raise MissingExtraError(
            "AUDIT_SIGNING_KMS_KEY_ID is set and the AWS client is not installed: "
            "pip install 'attestream[kms]'"
        ) from error
    return await KmsSigner.open(key_id)


async def _proxy(settings: Settings, url: str) -> OpenedSigner:
    try:
        from streams.keys.proxy import ProxyAddress, ProxySigner  # noqa: PLC0415  # optional
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise MissingExtraError(
            "SIGNING_PROXY_URL is set and the HTTP client is not installed: "
            "pip install 'attestream[proxy]'"
        ) from error
    api_key = settings.signing_proxy_api_key
    return await ProxySigner.open(
        ProxyAddress(
            url=url,
            api_key=api_key.get_secret_value() if api_key else None,
            ca_file=settings.signing_proxy_ca_file,
            cert_file=settings.signing_proxy_cert_file,
            key_file=settings.signing_proxy_key_file,
        )
    )
