"""Verify logs from any source of records, offline: every leaf, every checkpoint, every anchor.

Nothing here trusts what the records say of themselves: keys and anchors come from the caller.

    trust = Trust(keys=TrustedKeys.parse(text), anchors=(open_anchor(note, keys),))
    verdict = verdict_of(verify_files([path], trust), trust)
    verdict.status      # 0 intact, 20 to 28 by the kind of the first break

`verdicts` what is said · `walk` one log · `archive` an archive's objects · `tiles` a static log ·
`proof` one record.
"""

from streams.verifier.archive import LEVELS, ArchiveRequest, verify_archive
from streams.verifier.proof import verify_leaf, verify_proof_text
from streams.verifier.tiles import TileRequest, TileShelf, verify_tiles
from streams.verifier.verdicts import BREAK_STATUS, LogVerdict, Trust, Verdict, verdict_of
from streams.verifier.walk import LogWalk, OnRows, open_anchor, verify_files, verify_rows

__all__ = [
    "BREAK_STATUS",
    "LEVELS",
    "ArchiveRequest",
    "LogVerdict",
    "LogWalk",
    "OnRows",
    "TileRequest",
    "TileShelf",
    "Trust",
    "Verdict",
    "open_anchor",
    "verdict_of",
    "verify_archive",
    "verify_files",
    "verify_leaf",
    "verify_proof_text",
    "verify_rows",
    "verify_tiles",
]
