"""An object store whose calls fail as networks and processes do, at the calls one names."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from streams.errors import OutcomeUnknownError, TransientError
from streams.objects import CheckedStore
from streams.objects.disposal import DisposableStore
from streams.ports import ObjectInfo, ObjectVersion, Published
from tests.support.archives import Died

__all__ = ["FATES", "Fate", "FaultyObjects"]

Fate = Literal["", "lost", "applied but failed", "died before", "died after"]
FATES: tuple[Fate, ...] = ("lost", "applied but failed", "died before", "died after")


class FaultyObjects:
    """`ObjectStore` and `PublicStore` over another one.

    `fate(call, number)` says what becomes of a call such as `create a/key`; calls are counted from
    0, over all archivers that share this store. Every call lets others run first.
    """

    def __init__(self, objects: CheckedStore, fate: Callable[[str, int], Fate]) -> None:
        self._objects = objects
        self._fate = fate
        self.calls: list[str] = []

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        created: str = await self._call(
            f"create {key}", self._objects.create(key, body, retain_days=retain_days)
        )
        return created

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        got: bytes | None = await self._call(f"get {key}", self._objects.get(key, version_id))
        return got

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        info: ObjectInfo | None = await self._call(
            f"head {key}", self._objects.head(key, version_id)
        )
        return info

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        await self._call(f"extend {key}", self._objects.extend(key, version_id, until))

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        found: list[ObjectVersion] = await self._call(
            f"versions {prefix}", self._objects.versions(prefix)
        )
        return found

    async def newest(self, key: str) -> Published | None:
        found: Published | None = await self._call(f"newest {key}", self._objects.newest(key))
        return found

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        tag: str = await self._call(f"replace {key}", self._objects.replace(key, body, over=over))
        return tag

    async def check_bucket(self) -> None:
        await self._objects.check_bucket()

    async def delete(self, key: str, version_id: str) -> bool:
        assert isinstance(self._objects, DisposableStore)
        gone: bool = await self._call(f"delete {key}", self._objects.delete(key, version_id))
        return gone

    async def close(self) -> None:
        await self._objects.close()

    async def _call(self, name: str, call: Any) -> Any:
        fate = self._fate(name, len(self.calls))
        self.calls.append(name)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            call.close()
            raise
        if fate in {"lost", "died before"}:
            call.close()
            raise Died if fate == "died before" else TransientError(f"{name} was lost")
        answer = await call
        await asyncio.sleep(0)
        if fate == "died after":
            raise Died
        if fate == "applied but failed":
            is_write = name.startswith(("create", "replace"))
            raise (OutcomeUnknownError if is_write else TransientError)(name)
        return answer
