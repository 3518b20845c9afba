"""Arrays of the index as bytes, to be stored and taken back: little-endian, nothing pickled.

What is only ever appended to is told apart from what changes: an appended part never changes
again, in no process, because all of it is a pure function of the log.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Appended",
    "Parts",
    "StateError",
    "appended_array",
    "appended_bytes",
    "numbers",
    "texts",
]

CODES = {"H": "<u2", "h": "<i2", "I": "<u4", "Q": "<u8", "f": "<f4"}
LENGTH_BYTES = 4


class StateError(ValueError):
    """Stored state that no index can have had; the sentence says what is wrong."""


class Appended(NamedTuple):
    """An array that is only appended to: `part(first, end)` copies so many of its items."""

    name: str
    item_bytes: int
    items: int
    part: Callable[[int, int], bytes]


def appended_array(name: str, values: "array[int]", group: int = 1) -> Appended:
    """An array whose items are groups of so many numbers."""

    def part(first: int, end: int) -> bytes:
        held = np.array(values[first * group : end * group], CODES[values.typecode])
        return held.tobytes()

    return Appended(name, values.itemsize * group, len(values) // group, part)


def appended_bytes(name: str, values: bytes | bytearray, group: int = 1) -> Appended:
    """Bytes whose items are groups of so many."""
    return Appended(
        name,
        group,
        len(values) // group,
        lambda first, end: bytes(values[first * group : end * group]),
    )


def texts(words: Iterable[str]) -> bytes:
    """Words, each behind its length in bytes."""
    encoded = (word.encode("utf-8", "surrogatepass") for word in words)
    return b"".join(len(word).to_bytes(LENGTH_BYTES, "little") + word for word in encoded)


class Parts:
    """The arrays of one tenant by name, each read once as what it must be."""

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._parts = parts

    def bytes(self, name: str) -> bytes:
        """An array as it stands. Raises StateError: there is none."""
        if name not in self._parts:
            raise StateError(f"the array {name} is missing")
        return self._parts[name]

    def numbers(self, name: str, code: str, items: int | None = None) -> NDArray[np.int64]:
        """An array of numbers, `items` of them. Raises StateError."""
        return numbers(name, self.bytes(name), code, items).astype(np.int64)

    def array(self, name: str, code: str, items: int | None = None) -> "array[int]":
        """The same as an array that can grow. Raises StateError."""
        held = numbers(name, self.bytes(name), code, items)
        return array(code, held.astype(np.dtype(code)).tobytes())

    def words(self, name: str) -> list[str]:
        """Words that `texts` made. Raises StateError: they are cut off, or one stands twice."""
        held, words, at = self.bytes(name), [], 0
        while at < len(held):
            start = at + LENGTH_BYTES
            at = start + int.from_bytes(held[at:start], "little")
            if at > len(held):
                raise StateError(f"the words of {name} are cut off")
            words.append(held[start:at].decode("utf-8", "surrogatepass"))
        if len(set(words)) != len(words):
            raise StateError(f"a word of {name} stands twice")
        return words


def numbers(name: str, held: bytes, code: str, items: int | None = None) -> NDArray[np.generic]:
    """The numbers of an array of this type code. Raises StateError: not so many."""
    kind = np.dtype(CODES[code])
    count, rest = divmod(len(held), kind.itemsize)
    if rest or (items is not None and count != items):
        raise StateError(f"the array {name} has {len(held)} bytes, not {items} numbers")
    return np.frombuffer(held, kind)
