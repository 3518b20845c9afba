"""Verify logs from any source of records, offline: every leaf, every checkpoint, every anchor.

Nothing here trusts what the records say of themselves: keys and anchors come from the caller.

    trust = Trust(keys=TrustedKeys.parse(text), anchors=(open_anchor(note, keys),))
    verdict = verdict_of(verify_files([path], trust), trust)
    verdict.status      # 0 intact, 20 to 28 by the kind of the first break

`verdicts` what is said · `walk` one log · `digesting` a file on every core · `tiles` a static log
· `proof` one record · `state` what was seen before, in `kept_files` · `source` what was sealed ·
`progress` how far it is · `roots` trust that moves, and the roster.

Of an `archive`: `holdings` its names · `chain` its manifests and locks, by `object_checks` ·
`archive_walk` its segments, with `sampling`, `remembered` and `fetching`, to its `faults` ·
`replica` · `store_anchors` beside it · `archive_report` what is said of it · `archived_rows` for
whoever restores from it.
"""

from streams.verifier.archive import (
    LEVELS,
    ArchiveRequest,
    Listing,
    list_archive,
    verify_archive,
)
from streams.verifier.archive_report import ArchiveReport, ReplicaReport
from streams.verifier.archive_walk import SEGMENT_FILE_MAX
from streams.verifier.archived_rows import VerifiedSegment, archived_origins, verified_segments
from streams.verifier.digesting import Digests, cores
from streams.verifier.progress import SILENT, Progress
from streams.verifier.proof import verify_alert, verify_leaf, verify_proof_text
from streams.verifier.remembered import Remembered, Verified
from streams.verifier.replica import Replica
from streams.verifier.roots import RootLogs, anchor_keys, has_operator, rooted
from streams.verifier.sampling import Sample
from streams.verifier.source import OpenSource, SourceComparison, SourcePages
from streams.verifier.state import SeenNotes
from streams.verifier.store_anchors import ANCHORS, anchors_among
from streams.verifier.tiles import TileRequest, TileShelf, verify_tiles
from streams.verifier.verdicts import BREAK_STATUS, LogVerdict, Trust, Verdict, verdict_of
from streams.verifier.walk import (
    UNOPENED,
    LogWalk,
    claimed_origins,
    open_anchor,
    verify_files,
    verify_rows,
)

__all__ = [
    "ANCHORS",
    "BREAK_STATUS",
    "LEVELS",
    "SEGMENT_FILE_MAX",
    "SILENT",
    "UNOPENED",
    "ArchiveReport",
    "ArchiveRequest",
    "Digests",
    "Listing",
    "LogVerdict",
    "LogWalk",
    "OpenSource",
    "Progress",
    "Remembered",
    "Replica",
    "ReplicaReport",
    "RootLogs",
    "Sample",
    "SeenNotes",
    "SourceComparison",
    "SourcePages",
    "TileRequest",
    "TileShelf",
    "Trust",
    "Verdict",
    "Verified",
    "VerifiedSegment",
    "anchor_keys",
    "anchors_among",
    "archived_origins",
    "claimed_origins",
    "cores",
    "has_operator",
    "list_archive",
    "open_anchor",
    "rooted",
    "verdict_of",
    "verified_segments",
    "verify_alert",
    "verify_archive",
    "verify_files",
    "verify_leaf",
    "verify_proof_text",
    "verify_rows",
    "verify_tiles",
]
