"""Segments are deflated by what is installed; whoever reads them need not know by what."""

import random
import sys
import zlib

import pytest

from streams.segments import writer
from streams.segments.blocks import RAW_DEFLATE

CONTENTS = {
    "random": random.Random(1).randbytes(300_000),
    "text": b"principal user:1 reads document 7 " * 9_000,
    "one byte": b"x",
}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("installed", [True, False], ids=["cramjam", "zlib"])
def test_what_is_deflated_is_a_whole_raw_deflate_stream(
    monkeypatch: pytest.MonkeyPatch, contents: bytes, *, installed: bool
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "cramjam", None)
    inflate = zlib.decompressobj(RAW_DEFLATE)
    assert inflate.decompress(writer._compressor()(contents)) == contents
    assert inflate.eof
    assert inflate.unused_data == b""
