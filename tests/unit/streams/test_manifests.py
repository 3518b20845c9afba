"""Manifests: one spelling, chained by digests."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest

from streams.errors import BreakError
from streams.segments import FIRST_PREVIOUS, Manifest, segment_name

ORIGIN = "test.example/authz.decisions/0"
MANIFEST = Manifest(
    origin=ORIGIN,
    segment=segment_name(ORIGIN, 5),
    version_id="3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
    sha256="ab" * 32,
    segment_bytes=1234,
    first_index=5,
    last_index=9,
    first_offset=17,
    last_offset=25,
    checkpoint="test.example/authz.decisions/0\n10\nroot\n\n\u2014 é\n",
    previous=FIRST_PREVIOUS,
    retain_until=datetime(2027, 11, 21, 15, 42, 7, tzinfo=UTC),
    schemas={"31939f51e3268559": "cd" * 32},
)


def spelled(**changes: object) -> bytes:
    members = json.loads(MANIFEST.render()) | changes
    text = json.dumps(members, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode()


def test_a_manifest_is_rfc_8785_json() -> None:
    members = json.loads(MANIFEST.render())
    assert spelled() == MANIFEST.render()
    assert members["format"] == "attestream.manifest/v1"
    assert members["retain_until"] == "2027-11-21T15:42:07Z"
    assert (members["first_index"], members["last_offset"]) == (5, 25)


def test_a_manifest_is_read_back_and_named_by_its_digest() -> None:
    assert Manifest.parse(MANIFEST.render()) == MANIFEST
    assert MANIFEST.digest() == sha256(MANIFEST.render()).hexdigest()


def test_integers_json_cannot_hold_are_text() -> None:
    large = replace(MANIFEST, first_index=2**53 - 1, last_index=2**63)
    members = json.loads(large.render())
    assert members["first_index"] == 2**53 - 1
    assert members["last_index"] == "9223372036854775808"
    assert Manifest.parse(large.render()) == large


def test_time_is_told_in_utc_whatever_zone_it_comes_in() -> None:
    zone = timezone(timedelta(hours=9))
    moved = replace(MANIFEST, retain_until=MANIFEST.retain_until.astimezone(zone))
    assert moved.render() == MANIFEST.render()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        MANIFEST.render() + b"\n",
        b" " + MANIFEST.render(),
        spelled(more=1),
        spelled(format="attestream.manifest/v2"),
        spelled(first_index="5"),
        spelled(first_index=5.0),
        spelled(first_index=-5),
        spelled(first_index=True),
        spelled(last_index=4),
        spelled(last_index=2**60),
        spelled(sha256="AB" * 32),
        spelled(previous="00"),
        spelled(schemas={"x": 1}),
        spelled(schemas=[]),
        spelled(version_id=None),
        spelled(retain_until="2027-11-21"),
        spelled(retain_until="2027-11-21T15:42:7Z"),
        MANIFEST.render().replace(b"3sL4", b"\\u0033sL4"),
        MANIFEST.render().replace(b"3sL4", b"\\ud800"),
    ],
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(BreakError) as found:
        Manifest.parse(data, first=5)
    assert (found.value.kind, found.value.index) == ("archive", 5)
