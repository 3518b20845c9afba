"""Searching the indexes this process holds."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from projections.ports import Position, Projection, SealedBatch

__all__ = [
    "IndexSearch",
    "LocalSearch",
    "Question",
    "SearchError",
    "SearchedProjection",
    "nearest",
    "told",
]

K_MAX = 1000


class SearchError(ValueError):
    """A question that cannot be read; the sentence says what was expected."""


class Question(NamedTuple):
    """A search: `kind` is decisions or memory, `query` the JSON object asked with."""

    kind: str
    query: dict[str, Any]

    @property
    def k(self) -> int:
        """How many hits are wanted, 10 unless told."""
        k = self.query.get("k", 10)
        if not isinstance(k, int) or not 1 <= k <= K_MAX:
            raise SearchError(f"k: expected 1 to {K_MAX}, got {k!r}")
        return k


class IndexSearch(Protocol):
    """What an index offers to be searched by."""

    def answer(self, question: Question) -> list[dict[str, Any]]:
        """Hits, nearest first, each with `similarity`. Raises SearchError."""


class LocalSearch:
    """The open indexes of this process, by kind and origin.

    An index that still reads what its log held when it was opened answers nothing, and one whose
    log stopped is gone: their answers would be short, and nobody could tell.
    """

    def __init__(self) -> None:
        self._indexes: dict[tuple[str, str], IndexSearch] = {}
        self._opening: dict[tuple[str, str], IndexSearch] = {}

    def add(self, kind: str, origin: str, index: IndexSearch) -> None:
        """An index that has read its log."""
        self._indexes[kind, origin] = index

    def opening(self, kind: str, origin: str, index: IndexSearch) -> None:
        """An index that begins to read; it takes the place of an earlier one of the same log."""
        self.remove(kind, origin)
        self._opening[kind, origin] = index

    def opened(self, kind: str, origin: str) -> None:
        """The index that was opening has read its log."""
        self._indexes[kind, origin] = self._opening.pop((kind, origin))

    def remove(self, kind: str, origin: str) -> None:
        """The log is not ours any more."""
        self._indexes.pop((kind, origin), None)
        self._opening.pop((kind, origin), None)

    def leave(self, kind: str, origin: str, index: IndexSearch) -> None:
        """This index follows its log no more: another may have its place by now."""
        for held in (self._indexes, self._opening):
            if held.get((kind, origin)) is index:
                del held[kind, origin]

    def origins(self, kind: str) -> list[str]:
        """The logs of a kind whose indexes are here and have read them."""
        return sorted(origin for one, origin in self._indexes if one == kind)

    def answer(self, question: Question) -> list[dict[str, Any]]:
        """The hits of every local index, nearest first.

        Each has the `origin` of the log that seals it, and under `log` that of the index: they
        differ where the index goes on with what an earlier epoch held.
        """
        hits = [
            {"origin": origin, "log": origin, **hit}
            for (kind, origin), index in sorted(self._indexes.items(), key=lambda item: item[0])
            if kind == question.kind
            for hit in index.answer(question)
        ]
        return nearest(hits, question)


class SearchedProjection:
    """A projection whose index may be searched for as long as it is open."""

    def __init__(self, inner: Projection, left: Callable[[], None]) -> None:
        """`left` is called when the projection is closed, whatever for."""
        self._inner = inner
        self._left = left

    async def resume(self) -> Position:
        """As the projection inside."""
        return await self._inner.resume()

    async def apply(self, batch: SealedBatch) -> None:
        """As the projection inside."""
        await self._inner.apply(batch)

    async def idle(self) -> None:
        """As the projection inside."""
        await self._inner.idle()

    async def close(self) -> None:
        """Out of the search first: what comes after it is answered by nobody."""
        self._left()
        await self._inner.close()


def told(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hits as whoever asked is told of them."""
    return [{name: value for name, value in hit.items() if name != "log"} for hit in hits]


def nearest(hits: list[dict[str, Any]], question: Question) -> list[dict[str, Any]]:
    """The `k` most similar, ties by origin and leaf index.

    Of risks the one of the log that knows the principal best comes first: each log judges by what
    it has seen, and that one has seen most.
    """

    def order(hit: dict[str, Any]) -> tuple[int, float, str, int]:
        known = hit.get("principal_seen", 0)
        return -known, -hit["similarity"], hit["origin"], hit.get("index", 0)

    return sorted(hits, key=order)[: question.k]
