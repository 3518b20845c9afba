"""Searching the indexes this process holds."""

from typing import Any, NamedTuple, Protocol

__all__ = ["IndexSearch", "LocalSearch", "Question", "SearchError", "nearest"]

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

    An index that still reads what its log held when it was opened answers nothing: its answer
    would be short, and nobody could tell.
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

    def origins(self, kind: str) -> list[str]:
        """The logs of a kind whose indexes are here and have read them."""
        return sorted(origin for one, origin in self._indexes if one == kind)

    def answer(self, question: Question) -> list[dict[str, Any]]:
        """The hits of every local index, nearest first, each with its origin."""
        hits = [
            {"origin": origin, **hit}
            for (kind, origin), index in sorted(self._indexes.items(), key=lambda item: item[0])
            if kind == question.kind
            for hit in index.answer(question)
        ]
        return nearest(hits, question)


def nearest(hits: list[dict[str, Any]], question: Question) -> list[dict[str, Any]]:
    """The `k` most similar, ties by origin and leaf index.

    Of risks the one of the log that knows the principal best comes first: each log judges by what
    it has seen, and that one has seen most.
    """

    def order(hit: dict[str, Any]) -> tuple[int, float, str, int]:
        known = hit.get("principal_seen", 0)
        return -known, -hit["similarity"], hit["origin"], hit.get("index", 0)

    return sorted(hits, key=order)[: question.k]
