"""One request a line, one answer a line; whatever a line holds, it has an answer.

    {"id": 7, "op": "search", "namespace": "notes", "vector": [0.1, …], "k": 5, "timeout_ms": 200}
    {"id": 7, "ok": true, "hits": [{"node": "n-3", "similarity": 0.98}]}
    {"id": 8, "ok": false, "error": {"code": "wrong_dimension", "message": "…"}}

Codes are for programs and stay; messages are for people and may change. An answer to a line that
no id can be read of has the id null. Nothing of a key is ever answered.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from schemas.limits import ID_CHARS_MAX, NAME_CHARS_MAX, VECTOR_DIMENSION_MAX

__all__ = [
    "CODES",
    "K_MAX",
    "LINE_BYTES_MAX",
    "NODES_MAX",
    "PROTOCOL",
    "Request",
    "RequestError",
    "Vector",
    "encode_answer",
    "parse_request",
    "unit_vector",
]

PROTOCOL = "attestream.vectors/v1"
LINE_BYTES_MAX = 8 * 2**20
NODES_MAX = 1024  # of one request
K_MAX = 1000
TIMEOUT_MS_MAX = 600_000
ID_TEXT_MAX = 256
ID_NUMBER_MAX = 2**53 - 1

CODES = {
    "bad_line": "not one JSON object in UTF-8, or nested too deeply",
    "line_too_long": f"more than {LINE_BYTES_MAX} bytes; its rest is passed over",
    "bad_request": "a member is missing, of a wrong type, off its limits or unknown",
    "unknown_op": "no such operation",
    "unknown_namespace": "nothing was ever added to this namespace",
    "bad_vector": "not finite numbers, too many or none, or without a direction",
    "wrong_dimension": "the namespace's vectors have another number of components",
    "full": "what the server may hold is reached",
    "timeout": "the time of the request was over; what it had changed already is said",
    "no_key": "no key is set that encrypts what is saved",
    "no_store": "the server was started without a directory to save in",
    "refused": "what was saved is damaged, or of another key: nothing of it is used",
    "failed": "the directory or a key service does not answer; nothing was changed",
    "internal": "a defect of the server, which goes on",
}

Vector = NDArray[np.float32]
RequestId = str | int | None


class RequestError(Exception):
    """Why a request was not done, as it is answered; `code` is one of CODES."""

    def __init__(self, code: str, message: str, **more: int) -> None:
        super().__init__(message)
        assert code in CODES
        self.code, self.message, self.more = code, message, more
        self.request_id: RequestId = None  # of a line that is no request, where it has one


class Request(NamedTuple):
    """A line that could be read; members are checked as they are asked for."""

    id: RequestId
    op: str
    timeout_ms: int
    members: Mapping[str, Any]

    def only(self, *names: str) -> None:
        """Refuse members that this operation does not have: a typing error is no default."""
        unknown = sorted(self.members.keys() - {"id", "op", "timeout_ms", *names})
        if unknown:
            raise RequestError("bad_request", f"{self.op} has no member {unknown[0][:64]!r}")

    def text(self, name: str, chars_max: int = NAME_CHARS_MAX) -> str:
        """A member that is a text, not empty."""
        value = self.members.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= chars_max:
            raise RequestError("bad_request", f"{name}: expected 1 to {chars_max} characters")
        return value

    def whole(self, name: str, default: int, limits: tuple[int, int]) -> int:
        """A member that is a whole number within limits."""
        value = self.members.get(name, default)
        least, most = limits
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            told = f"{name}: expected a whole number, {least} to {most}"
            raise RequestError("bad_request", told)
        return value

    def share(self, name: str, default: float) -> float:
        """A member from -1 to 1."""
        value = self.members.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
            raise RequestError("bad_request", f"{name}: expected a number from -1 to 1")
        return float(value)

    def nodes(self) -> list[str]:
        """The ids of `nodes`."""
        return [_node_id(node) for node in self._list("nodes")]

    def vectors(self) -> list[tuple[str, Vector]]:
        """The ids and vectors of `vectors`, each of length 1; of one id the last one counts."""
        found: dict[str, Vector] = {}
        for item in self._list("vectors"):
            if not isinstance(item, dict) or item.keys() != {"node", "vector"}:
                raise RequestError("bad_request", "vectors: expected objects of node and vector")
            node = _node_id(item["node"])
            found[node] = unit_vector(item["vector"], f"node {node[:64]!r}: ")
        return list(found.items())

    def vector(self) -> Vector:
        """The member `vector`, of length 1."""
        return unit_vector(self.members.get("vector"))

    def _list(self, name: str) -> list[Any]:
        value = self.members.get(name)
        if not isinstance(value, list) or not 0 < len(value) <= NODES_MAX:
            raise RequestError("bad_request", f"{name}: expected a list of 1 to {NODES_MAX}")
        return value


def parse_request(line: bytes, default_timeout_ms: int) -> Request:
    """A line's request.

    Raises:
        RequestError: it is none.
    """
    try:
        members = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError("bad_line", f"not a JSON object: {error}") from None
    if not isinstance(members, dict):
        raise RequestError("bad_line", "expected a JSON object")
    found = Request(_request_id(members.get("id")), "", default_timeout_ms, members)
    try:
        limits = (1, TIMEOUT_MS_MAX)
        timeout_ms = found.whole("timeout_ms", default_timeout_ms, limits)
        return found._replace(op=found.text("op"), timeout_ms=timeout_ms)
    except RequestError as error:
        error.request_id = found.id
        raise


def encode_answer(request_id: RequestId, answer: Mapping[str, Any] | RequestError) -> bytes:
    """An answer as a line."""
    if isinstance(answer, RequestError):
        error = {"code": answer.code, "message": answer.message[:1000], **answer.more}
        members: dict[str, Any] = {"id": request_id, "ok": False, "error": error}
    else:
        members = {"id": request_id, "ok": True, **answer}
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"


def unit_vector(value: object, where: str = "vector: ") -> Vector:
    """A list of numbers as a vector of length 1. Raises RequestError."""
    if not isinstance(value, list) or not 0 < len(value) <= VECTOR_DIMENSION_MAX:
        limit = f"expected a list of 1 to {VECTOR_DIMENSION_MAX} numbers"
        raise RequestError("bad_vector", f"{where}{limit}")
    if any(type(number) not in {int, float} for number in value):
        raise RequestError("bad_vector", f"{where}expected numbers alone")
    try:
        given = np.array(value, np.float64)
    except OverflowError:
        raise RequestError("bad_vector", f"{where}a number is too large") from None
    largest = float(np.abs(given).max())
    if not np.isfinite(largest) or largest == 0.0:
        raise RequestError("bad_vector", f"{where}expected finite numbers, one at least not 0")
    # By the largest first: squares of very large or very small numbers are none any more.
    given /= largest
    unit: Vector = (given / np.sqrt(given @ given)).astype(np.float32)
    return unit


def _node_id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= ID_CHARS_MAX:
        raise RequestError("bad_request", f"node: expected 1 to {ID_CHARS_MAX} characters")
    return value


def _request_id(value: object) -> RequestId:
    """An id that can be answered with; None for one that cannot."""
    if isinstance(value, str) and len(value) <= ID_TEXT_MAX:
        return value
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and abs(value) <= ID_NUMBER_MAX:  # type: ignore[arg-type]
        return value  # type: ignore[return-value]
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
