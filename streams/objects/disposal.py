"""Stores whose objects may be deleted again: what is derived and encrypted, never the archive."""

from typing import Protocol, runtime_checkable

from streams.objects.locations import CheckedStore

__all__ = ["DisposableStore"]


@runtime_checkable
class DisposableStore(CheckedStore, Protocol):
    """A place whose objects go when their lock has ended."""

    async def delete(self, key: str, version_id: str) -> bool:
        """Delete one version for good; True where it is gone.

        False where it is retained still, or the store does not let us. Raises TransientError,
        SettingsError.
        """
