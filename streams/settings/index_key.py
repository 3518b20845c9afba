"""The key of an index as an operator may give it: hex, base64, or the bytes themselves."""

from base64 import b64decode

__all__ = ["index_key"]

KEY_BYTES = {16, 24, 32}


def index_key(text: str) -> bytes:
    """The 16, 24 or 32 bytes of a key.

    Read as hex where that gives such a length, then as padded base64, then as it is, in UTF-8. So
    a text has one meaning; 32 letters that could be base64 are the 24 bytes it stands for.

    Raises:
        ValueError: none of them; the message does not show the text.
    """
    for read in (bytes.fromhex, _base64, _raw):
        try:
            key = read(text)
        except ValueError:
            continue
        if len(key) in KEY_BYTES:
            return key
    raise ValueError("expected a key of 16, 24 or 32 bytes, in hex, in base64 or as it is")


def _base64(text: str) -> bytes:
    return b64decode(text, validate=True)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
