"""Names of archive, anchor and tile objects, and back (formats §8).

Names follow from the origin and one number alone, so two archivers that cut differently meet at
the same names. They are logical: no bucket, no prefix, so that a replica verifies too.
"""

import re
from typing import Literal, NamedTuple, get_args

__all__ = [
    "ARCHIVE",
    "TILES",
    "ObjectKind",
    "ObjectName",
    "anchor_name",
    "anchors_prefix",
    "check_origin",
    "claim_name",
    "manifest_name",
    "manifests_prefix",
    "parse_object_name",
    "segment_name",
    "segments_prefix",
    "tiles_prefix",
    "verdict_name",
]

ARCHIVE = "archive/v1/"
ANCHORS = "anchors/v1/"
TILES = "tiles/v1/"
ORIGIN_BYTES_MAX = 800  # S3 keys have 1,024; a file name 255
COMPONENT_BYTES_MAX = 255

ObjectKind = Literal["segment", "manifest", "anchor", "claim", "verdict"]

_NAME = re.compile(
    rf"{ARCHIVE}(?P<archived>.+)/(?:segments/(?P<segment>\d{{20}})\.avro"
    r"|manifests/(?P<manifest>\d{20})\.json)"
    rf"|{ANCHORS}(?P<anchored>.+)/(?:(?P<anchor>\d{{20}})\.note|(?P<claim>claim)"
    r"|(?P<verdict>verdict(?:\.(?P<nth>[2-9]|[1-9][0-9]{1,5}))?))",
    re.ASCII | re.DOTALL,
)


class ObjectName(NamedTuple):
    """What a name says. `number`: a first index, an anchor's size, a later verdict's, or 0."""

    kind: ObjectKind
    origin: str
    number: int


def check_origin(origin: str) -> None:
    """Refuse an origin that cannot be part of an object's name or of a path.

    Raises:
        ValueError: an empty component, `.` or `..`, a separator, white space or an unprintable
            character in it, or too long.
    """
    components = origin.split("/")
    if "" in components or "." in components or ".." in components:
        raise ValueError(f"an origin has no empty, . or .. component: {origin[:300]!r}")
    if not origin.isprintable() or any(c.isspace() or c in "+\\" for c in origin):
        raise ValueError(f"an origin has no white space, + or \\: {origin[:300]!r}")
    if len(origin.encode()) > ORIGIN_BYTES_MAX or any(
        len(component.encode()) > COMPONENT_BYTES_MAX for component in components
    ):
        raise ValueError(f"an origin too long to name an object: {origin[:300]!r}")


def segments_prefix(origin: str) -> str:
    """What all segments of a log begin with."""
    check_origin(origin)
    return f"{ARCHIVE}{origin}/segments/"


def segment_name(origin: str, first: int) -> str:
    """The segment whose first leaf has the index `first`."""
    return f"{segments_prefix(origin)}{_digits(first)}.avro"


def manifests_prefix(origin: str) -> str:
    """What all manifests of a log begin with."""
    check_origin(origin)
    return f"{ARCHIVE}{origin}/manifests/"


def manifest_name(origin: str, first: int) -> str:
    """The manifest of the segment of the same first index."""
    return f"{manifests_prefix(origin)}{_digits(first)}.json"


def anchors_prefix(origin: str) -> str:
    """What claim, verdict and all anchors of a log begin with."""
    check_origin(origin)
    return f"{ANCHORS}{origin}/"


def anchor_name(origin: str, size: int) -> str:
    """The note of the checkpoint of `size`."""
    return f"{anchors_prefix(origin)}{_digits(size)}.note"


def claim_name(origin: str) -> str:
    """Who owns the origin."""
    return f"{anchors_prefix(origin)}claim"


def verdict_name(origin: str, number: int = 1) -> str:
    """Why sealing of the origin stopped, the `number`-th time: `verdict`, `verdict.2`, ..."""
    return f"{anchors_prefix(origin)}verdict" + (f".{number}" if number > 1 else "")


def tiles_prefix(origin: str) -> str:
    """What the static log of an origin begins with: its `checkpoint`, tiles and bundles."""
    check_origin(origin)
    return f"{TILES}{origin}/"


def parse_object_name(name: str) -> ObjectName | None:
    """What a name says, None where it is no name of ours."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    origin = found["archived"] or found["anchored"]
    try:
        check_origin(origin)
    except ValueError:
        return None
    kind: ObjectKind = next(k for k in get_args(ObjectKind) if found[k])
    number = found["nth"] or "0" if kind == "verdict" else found[kind]
    return ObjectName(kind, origin, int(number) if number.isdigit() else 0)


def _digits(number: int) -> str:
    if not 0 <= number < 10**20:
        raise ValueError(f"expected a number of at most 20 digits, got {number}")
    return f"{number:020d}"
