"""The bytes of a headers column."""

import pytest

from streams.embedded.layout import decode_headers, encode_headers

HEADERS = ((b"a", b"1"), (b"a", None), (b"", b""), ("ключ".encode(), b"\xff\x00"))


def test_headers_come_back_as_they_were() -> None:
    for count in range(len(HEADERS) + 1):
        assert decode_headers(encode_headers(HEADERS[:count])) == HEADERS[:count]


def test_no_headers_take_no_room() -> None:
    assert encode_headers(()) is None


def test_headers_have_one_form_on_disk() -> None:
    expected = b"\0\0\0\1a" + b"\0\0\0\1" + b"1" + b"\0\0\0\1b" + b"\xff\xff\xff\xff"
    assert encode_headers(((b"a", b"1"), (b"b", None))) == expected


def test_headers_cut_anywhere_are_refused_or_fewer() -> None:
    whole = encode_headers(HEADERS) or b""
    for length in range(len(whole)):
        try:
            cut = decode_headers(whole[:length])
        except ValueError:
            continue
        assert cut == HEADERS[: len(cut)] != HEADERS


@pytest.mark.parametrize(
    "data", [b"\0\0\0\x09a\xff\xff\xff\xff", b"\0\0\0\1a\xff\xff\xff\xfe", b"\0\0\0\1a\0\0\0\2b"]
)
def test_lengths_that_lead_outside_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a header of"):
        decode_headers(data)
