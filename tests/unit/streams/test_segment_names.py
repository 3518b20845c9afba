"""Names of objects, and origins that must not become one."""

import pytest

from streams.segments import (
    ObjectName,
    anchor_name,
    claim_name,
    manifest_name,
    parse_object_name,
    segment_name,
    segments_prefix,
    verdict_name,
)

ORIGIN = "audit.example.com/vectors/memory.mutations/0"


def test_names_are_those_of_the_format() -> None:
    assert segment_name(ORIGIN, 4) == f"archive/v1/{ORIGIN}/segments/00000000000000000004.avro"
    assert manifest_name(ORIGIN, 4) == f"archive/v1/{ORIGIN}/manifests/00000000000000000004.json"
    assert anchor_name(ORIGIN, 2**63) == f"anchors/v1/{ORIGIN}/09223372036854775808.note"
    assert claim_name(ORIGIN) == f"anchors/v1/{ORIGIN}/claim"
    assert verdict_name(ORIGIN) == f"anchors/v1/{ORIGIN}/verdict"
    assert verdict_name(ORIGIN, 2) == f"anchors/v1/{ORIGIN}/verdict.2"
    assert segment_name(ORIGIN, 4).startswith(segments_prefix(ORIGIN))


@pytest.mark.parametrize("origin", [ORIGIN, ORIGIN + "/e3", "ü/t/0", "a/segments/claim/0"])
def test_a_name_says_what_it_was_made_of(origin: str) -> None:
    assert parse_object_name(segment_name(origin, 7)) == ObjectName("segment", origin, 7)
    assert parse_object_name(manifest_name(origin, 7)) == ObjectName("manifest", origin, 7)
    assert parse_object_name(anchor_name(origin, 7)) == ObjectName("anchor", origin, 7)
    assert parse_object_name(claim_name(origin)) == ObjectName("claim", origin, 0)
    assert parse_object_name(verdict_name(origin)) == ObjectName("verdict", origin, 0)
    assert parse_object_name(verdict_name(origin, 12)) == ObjectName("verdict", origin, 12)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "archive/v1/segments/00000000000000000004.avro",
        f"archive/v1/{ORIGIN}/segments/4.avro",
        f"archive/v1/{ORIGIN}/segments/00000000000000000004.avro.tmp",
        f"archive/v1/{ORIGIN}/segments/0000000000000000000x.avro",
        f"archive/v1/{ORIGIN}/segments/٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠.avro",
        "archive/v1/../t/0/segments/00000000000000000004.avro",
        "archive/v1/a b/t/0/segments/00000000000000000004.avro",
        f"archive/v2/{ORIGIN}/segments/00000000000000000004.avro",
        f"anchors/v1/{ORIGIN}/claims",
        f"anchors/v1/{ORIGIN}/verdict.1",
        f"anchors/v1/{ORIGIN}/verdict.02",
        f"anchors/v1/{ORIGIN}/verdict.",
    ],
)
def test_other_names_say_nothing(name: str) -> None:
    assert parse_object_name(name) is None


@pytest.mark.parametrize(
    "origin",
    ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a b", "a\tb", "a+b", "a\\b", "a\0b", "a\nb"],
)
def test_an_origin_that_could_leave_its_place_is_refused(origin: str) -> None:
    for name_of in (claim_name, verdict_name, segments_prefix):
        with pytest.raises(ValueError, match="an origin"):
            name_of(origin)


@pytest.mark.parametrize("origin", ["x" * 256, "/".join(["é" * 100] * 5)])
def test_an_origin_too_long_for_a_name_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        segment_name(origin, 0)


@pytest.mark.parametrize("number", [-1, 10**20])
def test_a_number_of_another_width_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="20 digits"):
        segment_name(ORIGIN, number)
