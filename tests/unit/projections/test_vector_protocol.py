"""Lines of `vectors serve`: whatever one holds, it has one answer, and nothing wrong gets in."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.vector_server.lines import split_lines
from projections.vector_server.protocol import (
    CODES,
    RequestError,
    encode_answer,
    parse_request,
    unit_vector,
)
from tests.tidy.repository import ROOT

TIMEOUT_MS = 1000


def line(**members: Any) -> bytes:
    return json.dumps({"id": 1, "op": "x", **members}).encode()


def refused(call: Callable[[], object]) -> RequestError:
    with pytest.raises(RequestError) as raised:
        call()
    return raised.value


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"17",
        b"null",
        b"[]",
        b'"op"',
        b"\xff\xfe",
        b'{"id": 1, "op": "x", "vector": [NaN]}',
        b'{"id": 1, "op": "x", "vector": [-Infinity]}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"id": 1, "op": "x", "k": ' + b"9" * 5000 + b"}",
        b'{"id": 1} {"id": 2}',
    ],
)
def test_what_is_no_json_object_has_no_id_to_answer_to(data: bytes) -> None:
    error = refused(lambda: parse_request(data, TIMEOUT_MS))
    assert (error.code, error.request_id) == ("bad_line", None)


@pytest.mark.parametrize("op", [None, 7, "", [], "x" * 300])
def test_a_request_without_an_operation_is_answered_to_its_id(op: object) -> None:
    error = refused(lambda: parse_request(line(op=op), TIMEOUT_MS))
    assert (error.code, error.request_id) == ("bad_request", 1)


@pytest.mark.parametrize("timeout", [0, -1, 1.5, True, "1", None, 10**9])
def test_a_time_off_its_limits_is_refused(timeout: object) -> None:
    error = refused(lambda: parse_request(line(timeout_ms=timeout), TIMEOUT_MS))
    assert error.code == "bad_request"


@pytest.mark.parametrize(
    ("given_id", "answered"),
    [
        (7, 7),
        ("a", "a"),
        ("", ""),
        (None, None),
        (True, None),
        (1.5, None),
        ({}, None),
        ("x" * 300, None),
        (2**60, None),
    ],
)
def test_an_id_is_given_back_or_is_null(given_id: object, answered: object) -> None:
    request = parse_request(line(id=given_id), TIMEOUT_MS)
    assert json.loads(encode_answer(request.id, {}))["id"] == answered


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        "12",
        [1, "2"],
        [1, True],
        [1, None],
        [[1]],
        [1e999],
        [-1e999, 1],
        [10**400],
        [0, 0.0, -0.0],
        [1] * 8193,
    ],
)
def test_what_has_no_direction_is_no_vector(value: object) -> None:
    assert refused(lambda: unit_vector(value)).code == "bad_vector"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_other_vector_has_length_one(value: list[float]) -> None:
    if any(value):
        assert float(np.linalg.norm(unit_vector(value))) == pytest.approx(1, abs=1e-5)


def test_a_typing_error_in_a_member_is_no_default() -> None:
    request = parse_request(line(treshold=0.5), TIMEOUT_MS)
    assert "treshold" in refused(lambda: request.only("threshold")).message


@pytest.mark.parametrize(
    "vectors",
    [
        None,
        [],
        [{"node": "a"}],
        [{"node": "a", "vector": [1], "x": 1}],
        [{"node": "", "vector": [1]}],
        [{"node": 1, "vector": [1]}],
        [{"node": "a" * 5000, "vector": [1]}],
        ["a"],
        [{"node": "a", "vector": [1]}] * 1025,
    ],
)
def test_vectors_of_another_shape_are_refused(vectors: object) -> None:
    request = parse_request(line(vectors=vectors), TIMEOUT_MS)
    assert refused(request.vectors).code == "bad_request"


def test_of_one_node_named_twice_the_last_vector_counts() -> None:
    twice = [{"node": "a", "vector": [1, 0]}, {"node": "a", "vector": [0, 1]}]
    ((node, vector),) = parse_request(line(vectors=twice), TIMEOUT_MS).vectors()
    assert (node, vector.tolist()) == ("a", [0, 1])


def test_an_answer_is_one_line_whatever_it_says() -> None:
    for answer in ({"hits": ["a\nb\u2028\ud800"]}, RequestError("failed", "a\r\nb" * 1000)):
        encoded = encode_answer("x\n", answer)
        assert encoded.isascii()
        assert encoded.count(b"\n") == 1
        assert len(encoded) < 3000


@given(
    st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b".")), max_size=8),
    st.integers(1, 7),
    st.booleans(),
)
def test_lines_are_the_same_however_they_arrive(
    lines: list[bytes], step: int, whole: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if whole and lines else b"")
    pieces = iter([data[i : i + step] for i in range(0, len(data), step)] + [b""])
    expected = data.split(b"\n")[: -1 if data.endswith(b"\n") or not data else None]
    told = [one if len(one) <= 8 else None for one in expected]
    assert list(split_lines(lambda: next(pieces), 8)) == told


def test_a_line_over_the_limit_is_not_kept() -> None:
    pieces = iter([b"x" * 1000] * 50 + [b"\nshort\n", b""])
    assert list(split_lines(lambda: next(pieces), 2000)) == [None, b"short"]


def test_every_code_is_on_the_page_and_none_besides() -> None:
    page = (ROOT / "docs/reference/vectors-serve.md").read_text().split("## Errors")[1]
    assert {row.split("`")[1] for row in page.splitlines() if row.startswith("| `")} == {
        "code",
        *CODES,
    }
