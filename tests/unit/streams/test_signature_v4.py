"""Signature Version 4, against the examples AWS documents for S3."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from streams.objects.signature_v4 import Keys, presigned_query, query_text, signed_headers

KEYS = Keys(
    access_key="AKIAIOSFODNN7EXAMPLE",
    secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    region="us-east-1",
)
AT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"
EMPTY = sha256(b"").hexdigest()


def signature(line: tuple[str, str, str], headers: dict[str, str], keys: Keys = KEYS) -> str:
    return signed_headers(keys, AT, line, {"host": HOST, **headers})["authorization"]


def test_a_get_is_signed_as_in_the_example() -> None:
    headers = {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY}
    assert signature(("GET", "/test.txt", ""), headers) == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_a_put_is_signed_as_in_the_example() -> None:
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-content-sha256": sha256(b"Welcome to Amazon S3.").hexdigest(),
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    assert signature(("PUT", "/test%24file.text", ""), headers).endswith(
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


def test_a_query_is_signed_as_in_the_examples() -> None:
    headers = {"x-amz-content-sha256": EMPTY}
    assert signature(("GET", "/", "lifecycle="), headers).endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
    query = query_text({"prefix": "J", "max-keys": "2"})
    assert signature(("GET", "/", query), headers).endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_a_link_is_signed_as_in_the_example() -> None:
    query = presigned_query(KEYS, AT, ("GET", "/test.txt", {}), 86_400, HOST)
    assert query.endswith(
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_a_session_token_is_signed_and_no_secret_is_shown() -> None:
    keys = replace(KEYS, token="a-session-token")
    headers = signed_headers(
        keys, AT, ("GET", "/", ""), {"host": HOST, "x-amz-content-sha256": EMPTY}
    )
    assert headers["x-amz-security-token"] == "a-session-token"
    assert "x-amz-security-token" in headers["authorization"]
    assert "X-Amz-Security-Token" in presigned_query(keys, AT, ("GET", "/", {}), 1, HOST)
    assert KEYS.secret not in repr(keys)
    assert "a-session-token" not in repr(keys)
