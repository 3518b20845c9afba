"""Segments: runs of audit records as files, their manifests, and the names of both (formats §8).

Pure. A segment is an Avro object container file, codec deflate. Its sync marker follows from
origin and first index; its metadata holds the checkpoint that closed the segment before (the
*opening*) and the schema texts, so each file can be checked alone, and read by any Avro reader.

`names` of objects · `rows` the hot loops · `blocks` of rows · `reader` strict, in bounded memory ·
`writer` · `manifest` the chain over segments.
"""

from streams.segments.blocks import Block, digest_block
from streams.segments.manifest import FIRST_PREVIOUS, Manifest
from streams.segments.names import (
    ARCHIVE,
    TILES,
    ObjectKind,
    ObjectName,
    anchor_name,
    anchors_prefix,
    check_origin,
    claim_name,
    manifest_name,
    manifests_prefix,
    parse_object_name,
    segment_name,
    segments_prefix,
    tiles_prefix,
    verdict_name,
)
from streams.segments.reader import (
    SCHEMA_TEXTS,
    SEGMENT_BYTES_MAX,
    Segment,
    SegmentReader,
    read_segment,
    schema_digests,
    segment_marker,
)
from streams.segments.writer import encode_block, encode_head, encode_segment

__all__ = [
    "ARCHIVE",
    "FIRST_PREVIOUS",
    "SCHEMA_TEXTS",
    "SEGMENT_BYTES_MAX",
    "TILES",
    "Block",
    "Manifest",
    "ObjectKind",
    "ObjectName",
    "Segment",
    "SegmentReader",
    "anchor_name",
    "anchors_prefix",
    "check_origin",
    "claim_name",
    "digest_block",
    "encode_block",
    "encode_head",
    "encode_segment",
    "manifest_name",
    "manifests_prefix",
    "parse_object_name",
    "read_segment",
    "schema_digests",
    "segment_marker",
    "segment_name",
    "segments_prefix",
    "tiles_prefix",
    "verdict_name",
]
