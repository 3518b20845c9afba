"""One request after another, each within its time; between them, what is left to be built.

The time of a request begins when its line was read: one that waited behind others for longer than
it was given is answered `timeout` and not begun. One that fails in a way nobody thought of is
answered `internal`, and the server goes on.
"""

from collections.abc import Callable, Mapping
from queue import Empty
from typing import Any, NamedTuple

from projections.vector_server.lines import Line, LineSource
from projections.vector_server.protocol import (
    CODES,
    K_MAX,
    LINE_BYTES_MAX,
    NODES_MAX,
    PROTOCOL,
    Request,
    RequestError,
    encode_answer,
    parse_request,
)
from projections.vector_server.saving import SavedVectors
from projections.vector_server.spaces import Spaces
from schemas.limits import VECTOR_DIMENSION_MAX
from streams.errors import AttestreamError
from streams.ports import Clock
from streams.telemetry.logs import get_log

__all__ = ["Served", "VectorServer"]

DEFAULT_K = 10
log = get_log("vectors")

Answer = Mapping[str, Any]
Write = Callable[[bytes], None]


class Served(NamedTuple):
    """What a server needs; `saved` is None where nothing is kept on a disk."""

    spaces: Spaces
    saved: SavedVectors | None
    clock: Clock
    timeout_ms: int


class _Turn(NamedTuple):
    """A request whose turn it is, and whether its time is over."""

    request: Request
    is_over: Callable[[], bool]


class VectorServer:
    """Answers every line, in order."""

    def __init__(self, served: Served) -> None:
        self._spaces, self._saved, self._clock, self._timeout_ms = served
        self._ops: Mapping[str, Callable[[_Turn], Answer]] = {
            "hello": self._hello,
            "add": self._add,
            "remove": self._remove,
            "search": self._search,
            "stats": self._stats,
            "save": self._save,
            "restore": self._restore,
            "rotate": self._rotate,
        }

    def serve(self, lines: LineSource, write: Write) -> None:
        """Until the lines end; then what was asked is answered."""
        while True:
            try:
                line = lines.take(wait=self._spaces.is_idle)
            except Empty:
                self._spaces.step()
                continue
            if line is None:
                return
            if line.data is None or line.data.strip():
                write(self.answered(line))

    def answered(self, line: Line) -> bytes:
        """The answer to one line, as a line."""
        if line.data is None:
            limit = f"more than {LINE_BYTES_MAX} bytes"
            return encode_answer(None, RequestError("line_too_long", limit))
        try:
            request = parse_request(line.data, self._timeout_ms)
        except RequestError as error:
            return encode_answer(error.request_id, error)
        return encode_answer(request.id, self._answer(request, line.at))

    def _answer(self, request: Request, read_at: float) -> Answer | RequestError:
        until = read_at + request.timeout_ms / 1000

        def is_over() -> bool:
            return self._clock.monotonic() >= until

        op = self._ops.get(request.op)
        try:
            if op is None:
                told = f"no operation {request.op[:64]!r}; there are {', '.join(self._ops)}"
                raise RequestError("unknown_op", told)  # noqa: TRY301
            if is_over():
                told = f"it waited for {request.timeout_ms} ms and was not begun"
                raise RequestError("timeout", told)  # noqa: TRY301
            return op(_Turn(request, is_over))
        except RequestError as error:
            return error
        except AttestreamError as error:
            return RequestError("failed", str(error))
        except Exception as error:  # a defect ends one request, not the server
            log.exception("a request failed", op=request.op[:64])
            return RequestError("internal", type(error).__name__)

    def _hello(self, turn: _Turn) -> Answer:
        turn.request.only()
        return {
            "protocol": PROTOCOL,
            "ops": list(self._ops),
            "codes": list(CODES),
            "limits": {
                "line_bytes": LINE_BYTES_MAX,
                "nodes": NODES_MAX,
                "k": K_MAX,
                "dimension": VECTOR_DIMENSION_MAX,
                "timeout_ms": self._timeout_ms,
            },
        }

    def _add(self, turn: _Turn) -> Answer:
        request, is_over = turn
        request.only("namespace", "vectors")
        vectors = request.vectors()
        size = self._spaces.add(request.text("namespace"), vectors, is_over)
        return {"added": len(vectors), "vectors": size}

    def _remove(self, turn: _Turn) -> Answer:
        request, is_over = turn
        request.only("namespace", "nodes", "all")
        name = request.text("namespace")
        if "all" in request.members:
            if request.members["all"] is not True or "nodes" in request.members:
                raise RequestError("bad_request", "all: expected true, and no nodes beside it")
            return {"removed": self._spaces.drop(name), "forgotten": True}
        removed, forgotten = self._spaces.remove(name, request.nodes(), is_over)
        return {"removed": removed, "forgotten": forgotten}

    def _search(self, turn: _Turn) -> Answer:
        request = turn.request
        request.only("namespace", "vector", "k", "threshold")
        k = request.whole("k", DEFAULT_K, (1, K_MAX))
        least = request.share("threshold", -1.0)
        found = self._spaces.search(request.text("namespace"), request.vector(), k, least)
        return {"hits": [{"node": hit.node_id, "similarity": hit.similarity} for hit in found]}

    def _stats(self, turn: _Turn) -> Answer:
        request = turn.request
        request.only("namespace")
        if "namespace" in request.members:
            return self._spaces.stats(request.text("namespace"))
        return {"namespaces": {name: self._spaces.stats(name) for name in self._spaces.names}}

    def _save(self, turn: _Turn) -> Answer:
        turn.request.only()
        return self._store().save(self._spaces)._asdict()

    def _restore(self, turn: _Turn) -> Answer:
        request = turn.request
        request.only("snapshot")
        wanted = request.text("snapshot") if "snapshot" in request.members else None
        return self._store().restore(self._spaces, wanted)._asdict()

    def _rotate(self, turn: _Turn) -> Answer:
        request = turn.request
        request.only("key")
        return self._store().rotate(self._spaces, request.text("key"))._asdict()

    def _store(self) -> SavedVectors:
        if self._saved is None:
            raise RequestError("no_store", "start the server with --store DIRECTORY")
        return self._saved
