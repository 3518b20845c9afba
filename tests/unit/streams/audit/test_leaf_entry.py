"""The entry of a leaf is read in its one spelling, and in no other."""

from typing import Any

import pytest

from schemas.records import Source
from streams.audit.leaf import LeafEntry, leaf_entry, parse_entry
from streams.audit.note import MalformedError
from tests.support.vectors import LOG

SOURCE = Source("authz.decisions", 3, 17, 1_760_000_000_000)
ENTRY = leaf_entry(5, SOURCE, b"content")


@pytest.mark.parametrize("described", LOG["records"], ids=lambda r: r["why"])
def test_entries_of_the_vectors_are_read(described: dict[str, Any]) -> None:
    found = parse_entry(described["entry_text"].encode())
    assert found == LeafEntry(described["index"], Source(**described["source"]))


def test_an_entry_says_its_index_and_where_it_came_from() -> None:
    assert parse_entry(ENTRY) == (5, SOURCE)
    largest = Source("t" * 249, 2**31 - 1, 2**63 - 1, -1)
    assert parse_entry(leaf_entry(2**63 - 1, largest, b"")) == (2**63 - 1, largest)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"attestream.leaf/v1", b"attestream.leaf/v2"),
        (b"attestream.leaf", b"attestream_leaf"),
        (b"\n5\n", b"\n05\n"),
        (b"\n5\n", b"\n-5\n"),
        (b"\n5\n", b"\n+5\n"),
        (b"\n5\n", b"\n5 \n"),
        (b"\n5\n", b"\n\n"),
        (b"\n5\n", b"\n9223372036854775808\n"),
        (b" 17 ", b" 017 "),
        (b" 17 ", b"  17 "),
        (b" 17 ", b" -1 "),
        (b" 17 ", b" 9223372036854775808 "),
        (b" 3 ", b" "),
        (b" 1760000000000\n", b" -2\n"),
        (b" 1760000000000\n", b" -0\n"),
        (b"authz.decisions", b"authz/decisions"),
        (b"authz.decisions", b"t" * 250),
        (b"=\n", b"\n"),
        (b"=\n", b"="),
        (b"=\n", b"=\n\n"),
        (b"=\n", b"=\r\n"),
    ],
)
def test_another_spelling_is_no_entry(old: bytes, new: bytes) -> None:
    assert ENTRY.count(old) == 1
    with pytest.raises(MalformedError):
        parse_entry(ENTRY.replace(old, new))


def test_stray_bits_behind_the_hash_are_no_entry() -> None:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(ENTRY[-3])
    for stray in (1, 2, 3):
        with pytest.raises(MalformedError):
            parse_entry(ENTRY[:-3] + alphabet[last + stray : last + stray + 1] + b"=\n")
