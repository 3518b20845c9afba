"""Where one JSON document ends and the next begins, in a stream of any length.

Decision logs come as one document a line, as one array of documents (the body of OPA's
`POST /logs`), or pretty-printed. All three are read here, mixed as well, in memory bounded by
one document; what is no document is reported with its line, and reading goes on behind it:

* a line that begins with `{` and ends with `}` is a document, whatever it holds;
* otherwise brackets are counted, strings respected, until the document is closed;
* a line break within a string, or a `{` in the first column within a document, means that the
  document broke off there (pretty-printers indent what is inside).
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["DOCUMENT_BYTES_MAX", "Document", "Unreadable", "json_documents"]

DOCUMENT_BYTES_MAX = 4_194_304

_IN_STRING = re.compile(rb'["\\\n]')
_IN_DOCUMENT = re.compile(rb'["{}\[\]\n]')
_BETWEEN = re.compile(rb"[^\s,]")
_UTF8_MARK = b"\xef\xbb\xbf"


class Document(NamedTuple):
    """One document, verbatim, and the line it begins on, counted from 1."""

    line: int
    content: bytes


class Unreadable(NamedTuple):
    """What was found on a line instead of a document."""

    line: int
    reason: str


def json_documents(chunks: Iterable[bytes]) -> Iterator[Document | Unreadable]:
    """The documents in a stream that arrives in chunks of any size."""
    splitter = _Splitter()
    for piece in _pieces(chunks):
        yield from splitter.feed(piece)
    yield from splitter.end()


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines with their line breaks; a line longer than a document may be in pieces."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        for part in chunk.splitlines(keepends=True) if b"\n" in chunk else (chunk,):
            waiting.append(part)
            size += len(part)
            if part.endswith(b"\n") or size > DOCUMENT_BYTES_MAX:
                yield b"".join(waiting)
                waiting, size = [], 0
    if size:
        yield b"".join(waiting)


class _Splitter:
    """Reads pieces and keeps what spans them."""

    def __init__(self) -> None:
        self._line = 1
        self._at_line_start = True
        self._in_array = 0  # the line an open array began on
        self._start_line = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0  # brackets open in the document at hand; 0 between documents
        self._in_string = False
        self._escaped = False  # a piece ended behind a backslash
        self._ignoring = False  # up to the end of the line

    def feed(self, piece: bytes) -> Iterator[Document | Unreadable]:
        if self._line == 1 and self._at_line_start:
            piece = piece.removeprefix(_UTF8_MARK)
        if self._at_line_start and piece.startswith(b"{") and (self._depth or not self._in_array):
            yield from self._break_off("another document begins inside it")
            line = piece.rstrip()
            if line.endswith(b"}") and len(line) <= DOCUMENT_BYTES_MAX:
                yield Document(self._line, line)
                self._end_of_piece(piece)
                return
        yield from self._scan(piece)
        self._end_of_piece(piece)

    def end(self) -> Iterator[Unreadable]:
        yield from self._break_off("the input ends inside it")
        if self._in_array:
            yield Unreadable(self._in_array, "the array is not closed")

    def _end_of_piece(self, piece: bytes) -> None:
        self._at_line_start = piece.endswith(b"\n")
        if self._at_line_start:
            self._line += 1
            self._ignoring = False

    def _scan(self, piece: bytes) -> Iterator[Document | Unreadable]:
        at = begin = 0
        while at < len(piece) and not self._ignoring:
            if not self._depth:
                begin = at = self._skip_to_value(piece, at)
                if at < len(piece):
                    yield from self._begin(piece[at : at + 1])
                    at += 1
            else:
                at = self._step(piece, at)
                if not self._depth:
                    yield self._take(piece[begin:at])
                    begin = at
        if self._depth:
            self._keep(piece[begin:])
            if self._in_string and piece.endswith(b"\n"):
                yield from self._break_off("a line break within a string")

    def _skip_to_value(self, piece: bytes, at: int) -> int:
        found = _BETWEEN.search(piece, at)
        return found.start() if found else len(piece)

    def _begin(self, byte: bytes) -> Iterator[Unreadable]:
        if byte == b"{":
            self._depth, self._start_line = 1, self._line
        elif byte == b"[" and not self._in_array:
            self._in_array = self._line
        elif byte == b"]" and self._in_array:
            self._in_array = 0
        else:
            self._ignoring = True
            yield Unreadable(self._line, "expected a JSON object")

    def _step(self, piece: bytes, at: int) -> int:
        """Go on to behind the next byte that matters."""
        if self._escaped:
            self._escaped = False
            return at + 1
        found = (_IN_STRING if self._in_string else _IN_DOCUMENT).search(piece, at)
        if found is None:
            return len(piece)
        byte = found.group()
        if byte == b"\\":
            self._escaped = True
        elif byte == b'"':
            self._in_string = not self._in_string
        elif byte != b"\n":
            self._depth += 1 if byte in b"{[" else -1
        return found.end()

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= DOCUMENT_BYTES_MAX:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _take(self, last: bytes) -> Document | Unreadable:
        self._keep(last)
        content, size = b"".join(self._parts), self._size
        self._forget()
        if size > DOCUMENT_BYTES_MAX:
            reason = f"a document of {size} bytes, at most {DOCUMENT_BYTES_MAX} are read"
            return Unreadable(self._start_line, reason)
        return Document(self._start_line, content)

    def _break_off(self, reason: str) -> Iterator[Unreadable]:
        if self._depth:
            self._forget()
            yield Unreadable(self._start_line, f"a broken document: {reason}")

    def _forget(self) -> None:
        self._parts.clear()
        self._size = self._depth = 0
        self._in_string = self._escaped = False
