"""The vectors of all namespaces, and how they are forgotten.

What is removed is not found any more, and its row is overwritten, at once. A graph cannot forget:
it is built anew without what was removed, a few rows at a time, between requests where there is
time, and whoever adds or removes waits for it. While none is built, every vector is compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from projections.memory_index.graph import EXACT_COMPONENTS, NamespaceVectors, Similar
from projections.vector_server.protocol import RequestError, Vector

__all__ = ["Spaces"]

NAMESPACES_MAX = 10_000
ROW_BYTES = 1024  # of a vector, beside its numbers: its id, links and tables
NUMBER_BYTES = 12  # in a row that may be half as large again as needed, and in a graph

IsOver = Callable[[], bool]


class _Space:
    """One namespace; `building`: its graph, being built."""

    __slots__ = ("building", "dimension", "vectors")

    def __init__(self, dimension: int, exact_components: int) -> None:
        self.dimension = dimension
        self.vectors = NamespaceVectors(dimension, exact_components)
        self.building: Iterator[None] | None = None


class Spaces:
    """Namespaces by name; each has the dimension of its first vector. Used by one thread."""

    def __init__(self, memory_bytes: int, exact_components: int = EXACT_COMPONENTS) -> None:
        """What all vectors may take, near enough; up to how many numbers no graph is built."""
        self._memory_bytes = memory_bytes
        self._exact_components = exact_components
        self._spaces: dict[str, _Space] = {}
        self._taken = 0

    @property
    def names(self) -> Sequence[str]:
        """The namespaces, in the order they came."""
        return list(self._spaces)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to be built."""
        return all(
            space.building is None and not space.vectors.wants_rebuild and not space.vectors.stale
            for space in self._spaces.values()
        )

    def stats(self, name: str) -> dict[str, int | bool]:
        """What a namespace holds. Raises RequestError."""
        space = self._known(name)
        return {
            "dimension": space.dimension,
            "vectors": len(space.vectors),
            "held_after_removal": space.vectors.stale,
            "building": space.building is not None,
        }

    def add(self, name: str, vectors: Sequence[tuple[str, Vector]], is_over: IsOver) -> int:
        """Give nodes these vectors, over those they had; how many nodes there are now.

        Raises:
            RequestError: nothing was added; or `timeout`, with how many were.
        """
        space = self._spaces.get(name)
        dimension = space.dimension if space else len(vectors[0][1])
        for node, vector in vectors:
            if len(vector) != dimension:
                raise RequestError(
                    "wrong_dimension",
                    f"node {node[:64]!r}: {len(vector)} components, expected {dimension}",
                )
        if space is None:
            if len(self._spaces) == NAMESPACES_MAX:
                raise RequestError("full", f"there are {NAMESPACES_MAX} namespaces already")
            space = _Space(dimension, self._exact_components)
        new = sum(not space.vectors.holds(node) for node, _ in vectors)
        taken = self._taken + new * _bytes_of(dimension)
        if taken > self._memory_bytes:
            raise RequestError("full", f"{self._memory_bytes} bytes are taken, near enough")
        self._finish(space, is_over)
        self._spaces[name] = space
        for number, (node, vector) in enumerate(vectors):
            if is_over():
                self._count()
                raise RequestError("timeout", f"{number} were added", added=number)
            space.vectors.put(node, vector)
        self._taken = taken
        return len(space.vectors)

    def remove(self, name: str, nodes: Sequence[str], is_over: IsOver) -> tuple[int, bool]:
        """Forget nodes; how many there were, and whether nothing of them is held any more.

        Raises:
            RequestError: nothing was removed.
        """
        space = self._known(name)
        self._finish(space, is_over)
        before = len(space.vectors)
        for node in nodes:
            space.vectors.drop(node)
        removed = before - len(space.vectors)
        self._count()
        if space.vectors.stale:
            space.building = space.vectors.rebuild()
        return removed, self._build(space, is_over)

    def drop(self, name: str) -> int:
        """Forget a whole namespace, its dimension too; how many vectors it had."""
        space = self._known(name)
        del self._spaces[name]
        self._count()
        return len(space.vectors)

    def search(self, name: str, vector: Vector, k: int, threshold: float) -> list[Similar]:
        """The nodes most similar to a vector. Raises RequestError."""
        space = self._known(name)
        if len(vector) != space.dimension:
            raise RequestError(
                "wrong_dimension", f"{len(vector)} components, expected {space.dimension}"
            )
        return space.vectors.nearest(vector, k, threshold)

    def step(self) -> None:
        """Build a little more of what is to be built."""
        for space in self._spaces.values():
            if space.building is None and (space.vectors.wants_rebuild or space.vectors.stale):
                space.building = space.vectors.rebuild()
            if space.building is not None:
                if next(space.building, self) is self:
                    space.building = None
                return

    def held(self, name: str) -> tuple[int, list[str], Vector]:
        """A namespace whole: its dimension, its nodes, and a copy of their vectors in order."""
        space = self._known(name)
        nodes, rows = space.vectors.held()
        return space.dimension, nodes, rows

    def install(self, spaces: Mapping[str, tuple[int, Sequence[str], Vector]]) -> None:
        """Hold these namespaces instead of all there are. Raises RequestError: nothing changed."""
        taken = sum(len(nodes) * _bytes_of(width) for width, nodes, _ in spaces.values())
        if taken > self._memory_bytes:
            raise RequestError("full", f"they take {taken} bytes of {self._memory_bytes}")
        installed = {}
        for name, (dimension, nodes, rows) in spaces.items():
            space = installed[name] = _Space(dimension, self._exact_components)
            for node, row in zip(nodes, rows, strict=True):
                space.vectors.put(node, row)
        self._spaces = installed
        self._taken = taken

    def _known(self, name: str) -> _Space:
        space = self._spaces.get(name)
        if space is None:
            raise RequestError("unknown_namespace", f"no namespace {name[:64]!r}")
        return space

    def _finish(self, space: _Space, is_over: IsOver) -> None:
        """Rows may not change while a graph is built of them."""
        if not self._build(space, is_over):
            raise RequestError("timeout", "a graph is being built; nothing was changed")

    def _build(self, space: _Space, is_over: IsOver) -> bool:
        """Whether the graph that was being built is built."""
        while space.building is not None:
            if is_over():
                return False
            if next(space.building, self) is self:
                space.building = None
        return True

    def _count(self) -> None:
        self._taken = sum(
            len(space.vectors) * _bytes_of(space.dimension) for space in self._spaces.values()
        )


def _bytes_of(dimension: int) -> int:
    return dimension * NUMBER_BYTES + ROW_BYTES
