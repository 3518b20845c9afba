"""One event of operations of each kind, every field filled."""

from schemas.operations import (
    DrillFinished,
    IndexKeyRotated,
    LogOpened,
    LogRoot,
    SnapshotRestored,
)

__all__ = ["DRILLED", "OPENED", "RESTORED", "ROOT", "ROTATED"]

ROOT = LogRoot(origin="audit.example.com/authz.decisions/0", size=3, root=bytes(range(32)))
OPENED = LogOpened(
    origin="audit.example.com/authz.decisions/0",
    vkeys=("audit.example.com/authz.decisions/0+00000000+AQ==",),
    source_topic="authz.decisions",
    source_partition=0,
    source_cluster_id="5L6g3nShT-eMCtK--X86sw",
    source_topic_id="q7v9m0aWQ3u4",
    first_offset=7,
    audit_cluster_id="5L6g3nShT-eMCtK--X86sw",
    audit_topic_id="Zk2rT0uX",
)
ROTATED = IndexKeyRotated(
    rotated_at=1_767_225_600_000_000,
    key_id="2026-11",
    previous_key_ids=("2026-05",),
    snapshots=17,
)
RESTORED = SnapshotRestored(
    restored_at=1_767_225_600_000_000,
    snapshot="01k0snapshot00000000000000",
    projection="index",
    logs=(ROOT,),
    content_sha256=bytes(range(32)),
    seconds=1.5,
)
DRILLED = DrillFinished(
    finished_at=1_767_225_600_000_000,
    passed=True,
    seed="5eed",
    logs=(ROOT,),
    segments=3,
    records=3_000,
    segment_bytes=1_048_576,
    recovery_seconds=0.75,
    newest_record_age_seconds=12.5,
    failures=(),
    report_sha256=bytes(range(32)),
)
