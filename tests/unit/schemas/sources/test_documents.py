"""Where documents end, in files that are whole and files that are not."""

import json
import tracemalloc
from collections.abc import Iterator

import pytest

from schemas.sources.documents import DOCUMENT_BYTES_MAX, Document, Unreadable, json_documents

A, B, C = b'{"a":1}', b'{"b":"}{][\\"\\\\"}', b'{"c":[{"d":[]}]}'


def split(data: bytes, size: int = 1 << 16) -> list[Document | Unreadable]:
    return list(json_documents(data[at : at + size] for at in range(0, len(data), size)))


def pretty(*documents: bytes) -> bytes:
    return json.dumps([json.loads(d) for d in documents], indent=2).encode()


def found(data: bytes) -> list[tuple[int, bytes | str]]:
    return [(d.line, d.content if isinstance(d, Document) else d.reason) for d in split(data)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b" \n\r\n\t", [], id="white-space"),
        pytest.param(A + b"\n" + B + b"\n" + C, [(1, A), (2, B), (3, C)], id="one-a-line"),
        pytest.param(A + b"\r\n\r\n" + B + b"\r\n", [(1, A), (3, B)], id="carriage-returns"),
        pytest.param(b"[" + A + b"," + B + b"]", [(1, A), (1, B)], id="array"),
        pytest.param(b"[]", [], id="empty-array"),
        pytest.param(b"[" + A + b"]\n[" + B + b"]\n" + C, [(1, A), (2, B), (3, C)], id="bodies"),
        pytest.param(b"[\n" + A + b",\n" + B + b"\n]", [(2, A), (3, B)], id="array-by-lines"),
        pytest.param(b"\xef\xbb\xbf" + A, [(1, A)], id="byte-order-mark"),
        pytest.param(b'{\n "a": 1\n}\n{\n}\n', [(1, b'{\n "a": 1\n}'), (4, b"{\n}")], id="pretty"),
        pytest.param(
            A + b" " + B + b"\n", [(1, A + b" " + B)], id="two-on-a-line-are-one-bad-one"
        ),
        pytest.param(b"  " + A + B, [(1, A), (1, B)], id="two-behind-a-space"),
    ],
)
def test_documents_and_their_lines(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert found(data) == expected


def test_a_pretty_printed_array_gives_its_elements() -> None:
    contents = [d.content for d in split(pretty(A, B, C)) if isinstance(d, Document)]
    assert [json.loads(content) for content in contents] == [json.loads(d) for d in (A, B, C)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize(
    "data",
    [A + b"\n" + B + b"\n" + C, b"[" + A + b", " + B + b"," + C + b"]", pretty(A, B, C)],
    ids=["lines", "array", "pretty"],
)
def test_chunks_of_any_size_give_the_same(data: bytes, size: int) -> None:
    assert split(data, size) == split(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            b'{"a":"un\n' + B, [(1, "a line break within a string"), (2, B)], id="line-cut-in-text"
        ),
        pytest.param(
            b'{"a":{"b":1},\n' + B,
            [(1, "another document begins inside it"), (2, B)],
            id="line-cut",
        ),
        pytest.param(b'oo":1}\n' + B, [(1, "expected a JSON object"), (2, B)], id="rotated-file"),
        pytest.param(
            b"7\n" + B + b"\nnull", [(1, "expected"), (2, B), (3, "expected")], id="scalars"
        ),
        pytest.param(
            A + b'\n{"b":', [(1, A), (2, "the input ends inside it")], id="cut-at-the-end"
        ),
        pytest.param(b"[" + A + b",", [(1, A), (1, "the array is not closed")], id="array-cut"),
        pytest.param(
            b"[" + A + b',{"b',
            [(1, A), (1, "ends inside"), (1, "not closed")],
            id="array-cut-inside",
        ),
        pytest.param(b"]\n" + A, [(1, "expected a JSON object"), (2, A)], id="closed-before-open"),
        pytest.param(b"\x00\xff\xfe\n" + A, [(1, "expected"), (2, A)], id="noise"),
    ],
)
def test_broken_documents_are_named_and_reading_goes_on(
    data: bytes, expected: list[tuple[int, bytes | str]]
) -> None:
    results = found(data)
    assert [line for line, _ in results] == [line for line, _ in expected]
    for (_, got), (_, wanted) in zip(results, expected, strict=True):
        if isinstance(wanted, bytes):
            assert got == wanted
        else:
            assert isinstance(got, str)
            assert wanted in got


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"' + b"x" * (DOCUMENT_BYTES_MAX + 1) + b'"}\n',
        b'[{"a":"' + b"x" * (DOCUMENT_BYTES_MAX + 1) + b'"}]\n',
        b'{\n"a":"' + b"x" * (DOCUMENT_BYTES_MAX + 1) + b'"}\n',
    ],
    ids=["line", "array", "pretty"],
)
def test_a_document_too_large_is_named_and_reading_goes_on(data: bytes) -> None:
    too_large, last = split(data + A)
    assert isinstance(too_large, Unreadable)
    assert "at most" in too_large.reason
    assert isinstance(last, Document)
    assert last.content == A


def test_one_line_of_sixty_megabytes_takes_the_memory_of_a_few_documents() -> None:
    element = b'{"n":"' + b"x" * 10_000 + b'"},'

    def body() -> Iterator[bytes]:
        yield b"["
        for _ in range(1_000):
            yield element * 6
        yield b"{}]"

    tracemalloc.start()
    count = sum(isinstance(found, Document) for found in json_documents(body()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 6_001
    assert peak < 6 * DOCUMENT_BYTES_MAX


def test_a_document_of_sixty_megabytes_is_never_held() -> None:
    def body() -> Iterator[bytes]:
        yield b'[{"n":"'
        for _ in range(1_000):
            yield b"x" * 60_000
        yield b'"},' + A + b"]"

    tracemalloc.start()
    too_large, last = json_documents(body())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(too_large, Unreadable)
    assert last == Document(1, A)
    assert peak < 6 * DOCUMENT_BYTES_MAX
