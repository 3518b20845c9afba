"""Questions to a memory index, and its answers as JSON values."""

from typing import Any

from projections.memory_index.projection import Memory, MemoryIndex, MemoryQuery
from projections.search import Question, SearchError

__all__ = ["MemorySearch"]


class MemorySearch:
    """Memories of one namespace nearest to a vector."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index

    def answer(self, question: Question) -> list[dict[str, Any]]:
        """Hits, nearest first. Raises SearchError."""
        try:
            return [_hit(memory) for memory in self._index.search(_asked(question))]
        except ValueError as error:
            raise SearchError(f"vector: {error}") from error


def _asked(question: Question) -> MemoryQuery:
    query = question.query
    for name in ("tenant", "namespace", "owner"):
        if not isinstance(query.get(name, ""), str):
            raise SearchError(f"{name}: expected text, got {query[name]!r}")
    vector = query.get("vector")
    if not isinstance(vector, list) or not all(_is_number(x) for x in vector):
        raise SearchError("vector: expected a list of numbers")
    threshold = query.get("threshold", -1.0)
    if not _is_number(threshold) or not -1 <= threshold <= 1:
        raise SearchError(f"threshold: expected -1 to 1, got {threshold!r}")
    return MemoryQuery(
        tenant=query.get("tenant", ""),
        namespace=query.get("namespace", ""),
        vector=vector,
        k=question.k,
        threshold=threshold,
        owner=query.get("owner", ""),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hit(memory: Memory) -> dict[str, Any]:
    return {
        # Where it is sealed: an epoch before the one that is open, perhaps.
        **({"origin": memory.origin} if memory.origin else {}),
        "index": memory.leaf,
        "similarity": memory.similarity,
        "node_id": memory.node_id,
        "version": memory.version,
        "owner": memory.owner,
        "metadata": memory.metadata_json,
        "expires_at": memory.expires_at,
        "held": memory.held,
    }
