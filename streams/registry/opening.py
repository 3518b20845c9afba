"""The registry that the settings name."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from streams.errors import MissingExtraError
from streams.registry.port import SchemaRegistry
from streams.settings import Settings

__all__ = ["OpenRegistry", "registry_opener"]

OpenRegistry = Callable[[], AbstractAsyncContextManager[SchemaRegistry]]


def registry_opener(settings: Settings) -> OpenRegistry | None:
    """How to reach the registry of SCHEMA_REGISTRY_URL; None where it is not set.

    Raises:
        MissingExtraError: the HTTP client is not installed.
    """
    if not settings.schema_registry_urls:
        return None
    try:
        from streams.registry.confluent import (  # noqa: PLC0415  # optional dependency
            RegistryAddress,
            opened_registry,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "SCHEMA_REGISTRY_URL is set and the HTTP client is not installed: "
            "pip install 'attestream[registry]'"
        ) from error
    user, token = settings.schema_registry_user_info, settings.schema_registry_token
    address = RegistryAddress(
        urls=settings.schema_registry_urls,
        user_info=user.get_secret_value() if user else None,
        token=token.get_secret_value() if token else None,
        ca_file=settings.schema_registry_ca_file,
    )
    return lambda: opened_registry(address)
