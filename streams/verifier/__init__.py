"""Verify logs from any source of records, offline: every leaf, every checkpoint, every anchor.

Nothing here trusts what the records say of themselves: keys and anchors come from the caller.

    trust = Trust(keys=TrustedKeys.parse(text), anchors=(open_anchor(note, keys),))
    verdict = verdict_of(verify_files([path], trust), trust)
    verdict.status      # 0 intact, 20 to 28 by the kind of the first break

`verdicts` what is said · `walk` one log · `digesting` a file on every core · `archive` its objects
· `tiles` a static log · `proof` one record · `state` what was seen before · `source` what was
sealed · `progress` how far it is · `roots` trust that moves, and the roster.
"""

from streams.verifier.archive import LEVELS, ArchiveRequest, verify_archive
from streams.verifier.digesting import Digests, cores
from streams.verifier.progress import SILENT, Progress
from streams.verifier.proof import verify_alert, verify_leaf, verify_proof_text
from streams.verifier.roots import RootLogs, anchor_keys, has_operator, rooted
from streams.verifier.source import OpenSource, SourceComparison, SourcePages
from streams.verifier.state import SeenNotes
from streams.verifier.tiles import TileRequest, TileShelf, verify_tiles
from streams.verifier.verdicts import BREAK_STATUS, LogVerdict, Trust, Verdict, verdict_of
from streams.verifier.walk import LogWalk, claimed_origins, open_anchor, verify_files, verify_rows

__all__ = [
    "BREAK_STATUS",
    "LEVELS",
    "SILENT",
    "ArchiveRequest",
    "Digests",
    "LogVerdict",
    "LogWalk",
    "OpenSource",
    "Progress",
    "RootLogs",
    "SeenNotes",
    "SourceComparison",
    "SourcePages",
    "TileRequest",
    "TileShelf",
    "Trust",
    "Verdict",
    "anchor_keys",
    "claimed_origins",
    "cores",
    "has_operator",
    "open_anchor",
    "rooted",
    "verdict_of",
    "verify_alert",
    "verify_archive",
    "verify_files",
    "verify_leaf",
    "verify_proof_text",
    "verify_rows",
    "verify_tiles",
]
