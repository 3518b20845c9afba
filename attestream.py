"""attestream for other people's code: verify logs and the evidence in alerts, offline.

    import attestream

    keys = Path("keys.txt").read_text()
    verdict = attestream.verify(["decisions-0.avro"], keys=keys, state="seen.json")
    verdict.status        # 0: intact

    attestream.verify_alert(value, keys=keys)    # of a Kafka record, or OCSF; raises BreakError

Needs nothing but the base install. Keys are the lines `attestream keys show` prints; anchors are
checkpoint notes kept outside the deployment.
"""

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from schemas.alerts import AnomalyAlert, Evidence
from schemas.codec import BUILT_IN, WriterSchema, decode_alert
from schemas.errors import RejectedInput
from schemas.framing import ReferenceKind, SchemaReference
from schemas.ocsf import alert_in
from schemas.record_types import ALERT, RECORD_TYPES
from schemas.records import Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.leaf import leaf_entry, leaf_hash
from streams.audit.note import TrustedKeys
from streams.audit.proofs import (
    TlogProof,
    parse_tlog_proof,
    render_tlog_proof,
    verify_consistency,
    verify_inclusion,
)
from streams.cli.archive_source import ArchiveOptions, prepared
from streams.cli.histories import Inquiry, verify_histories
from streams.clock import SystemClock
from streams.errors import (
    AttestreamError,
    BreakError,
    SettingsError,
    SourceUnreadableError,
    VerificationError,
)
from streams.verifier import (
    SILENT,
    LogVerdict,
    Progress,
    SeenNotes,
    Trust,
    Verdict,
    anchor_keys,
    cores,
    open_anchor,
    verdict_of,
    verify_leaf,
)
from streams.verifier import verify_alert as _verify_alert
from streams.verifier import verify_files as _verify_files
from streams.verifier import verify_rows as _verify_rows

__all__ = [
    "AnomalyAlert",
    "AttestreamError",
    "BreakError",
    "CheckpointText",
    "Evidence",
    "LogVerdict",
    "Options",
    "Progress",
    "Record",
    "SettingsError",
    "SourceUnreadableError",
    "TlogProof",
    "TrustedKeys",
    "Verdict",
    "VerificationError",
    "__version__",
    "leaf_entry",
    "leaf_hash",
    "parse_tlog_proof",
    "render_tlog_proof",
    "verify",
    "verify_alert",
    "verify_consistency",
    "verify_evidence",
    "verify_files",
    "verify_inclusion",
    "verify_rows",
]

__version__ = version("attestream")


class Options(NamedTuple):
    """How `verify` works.

    Attributes:
        level: of an archive: `list` names and locks, `file` digests too, `record` everything.
        replica: of an archive: the address of a bucket or directory that must hold the same.
        locked_for: of an archive: every lock must hold so many days more.
        resume: of an archive: a file that remembers what was verified. Needs keys.
        whole: read everything, whatever `resume` remembers.
        percent: of an archive: so many percent of its segments are read; None for all.
        seed: which ones; None for a random choice, which the verdict names.
        source: compare each log with its source topic, in the same cluster or directory.
        jobs: how many processes read a file; None: one a core, 1: none beside this one.
        progress: told what is read, as it is read.
    """

    level: str = "record"
    replica: str | None = None
    locked_for: int | None = None
    resume: str | PathLike[str] | None = None
    whole: bool = False
    percent: float | None = None
    seed: str | None = None
    source: bool = False
    jobs: int | None = None
    progress: Progress = SILENT


DEFAULTS = Options()


def verify(
    sources: Iterable[str | PathLike[str]],
    *,
    keys: str | TrustedKeys | None = None,
    anchors: Iterable[str] = (),
    state: str | PathLike[str] | None = None,
    options: Options = DEFAULTS,
) -> Verdict:
    """Verify logs wherever they are, as the command `attestream verify` does.

    Not to be called inside a running event loop.

    Args:
        sources: `kafka://host:port/topic[/partition]`, `s3://bucket/prefix`, the directory of an
            embedded engine, of an archive or of a static log, an exported file. Segment files of
            one log are joined.
        keys: the text of a keys file, or keys; None checks shape and roots alone.
        anchors: checkpoint notes kept outside the deployment.
        state: a file that remembers what was seen; no log may ever contradict it. Needs keys.
        options: how deep, and with how much help.

    Raises:
        SettingsError: a key, an anchor, an address or a state file that cannot be used.
        MissingExtraError: a broker or bucket, and its client is not installed.
    """
    trust = _trust(keys, anchors)
    with ExitStack() as stack:
        seen = None
        if state is not None:
            seen = stack.enter_context(SeenNotes.open(Path(state), trust.keys))
            trust = replace(trust, anchors=(*trust.anchors, *seen.anchors))
        asked = prepared(_archive_options(options), options.level, trust.keys, SystemClock())
        inquiry = Inquiry(
            trust=trust,
            archive=stack.enter_context(asked),
            environ=os.environ,
            progress=options.progress,
            jobs=options.jobs or cores(),
            with_source=options.source,
        )
        verdict = verify_histories([str(source) for source in sources], inquiry)
        if seen is not None:
            seen.advance(verdict)
    return verdict


def verify_files(
    paths: Iterable[str | PathLike[str]],
    *,
    keys: str | TrustedKeys | None = None,
    anchors: Iterable[str] = (),
) -> Verdict:
    """Verify exported or archived segment files; those of one log are joined.

    Args:
        paths: the files.
        keys: the text of a keys file, or keys; None checks shape and roots alone.
        anchors: checkpoint notes kept outside the deployment.

    Raises:
        SettingsError: a key or an anchor that cannot be used.
        SourceUnreadableError: a file cannot be read.
    """
    trust = _trust(keys, anchors)
    return verdict_of(_verify_files([Path(path) for path in paths], trust), trust)


def verify_rows(
    rows: Iterable[Record],
    *,
    keys: str | TrustedKeys | None = None,
    anchors: Iterable[str] = (),
    origin: str | None = None,
) -> Verdict:
    """Verify one log from the committed records of its audit partition, in order.

    Args:
        rows: what a read_committed consumer gets, from the first offset on.
        keys: as for `verify_files`.
        anchors: as for `verify_files`.
        origin: the log that is expected; None takes it from the first checkpoint.

    Raises:
        SettingsError: a key or an anchor that cannot be used.
    """
    trust = _trust(keys, anchors)
    return verdict_of([_verify_rows(rows, trust, origin)], trust)


def verify_evidence(evidence: Evidence, *, keys: str | TrustedKeys) -> CheckpointText:
    """Demand that a record stands in its log, as the evidence in an alert says.

    To check the record itself too, compare `evidence.leaf_hash` with `leaf_hash` of what you have.

    Returns:
        The checkpoint that covers the record: origin, size, root.

    Raises:
        BreakError: the checkpoint or the inclusion proof is not good.
        SettingsError: keys that cannot be used.
    """
    return verify_leaf(
        evidence.origin,
        evidence.index,
        evidence.leaf_hash,
        (evidence.inclusion_proof, evidence.checkpoint),
        _keys(keys),
    )


def verify_alert(
    alert: AnomalyAlert | bytes,
    *,
    keys: str | TrustedKeys,
    origin: str | None = None,
    rule_version: str | None = None,
) -> CheckpointText:
    """Demand that an alert bears its own id and speaks of records that stand in their log.

    What it says about the decision is proven by the record alone: its leaf hash (`leaf_hash`)
    must be that of the evidence.

    Args:
        alert: the alert, or its bytes: the value of a Kafka record, or an OCSF finding in JSON.
        keys: the text of a keys file, or keys.
        origin: the log it must speak of; None: any that the keys vouch for.
        rule_version: of the rule it must be by; None: any.

    Returns:
        The checkpoint that covers the record: origin, size, root.

    Raises:
        BreakError: its id, the checkpoint or the inclusion proof is not good.
        VerificationError: it carries no evidence.
        SourceUnreadableError: bytes that are no alert.
        SettingsError: keys that cannot be used.
    """
    told = _alert_in(alert) if isinstance(alert, bytes) else alert
    return _verify_alert(told, _keys(keys), origin=origin, rule_version=rule_version)


def _alert_in(value: bytes) -> AnomalyAlert:
    try:
        if value[:1] == b"{":
            return alert_in(json.loads(value))
        return decode_alert(Record(0, 0, None, value), _AlertsOfToday())
    except (RejectedInput, ValueError, RecursionError) as error:
        raise SourceUnreadableError(f"no alert: {error}") from error


class _AlertsOfToday:
    """Without its registry an id says nothing: what it frames is read as an alert of today."""

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        if reference.kind is not ReferenceKind.FINGERPRINT:
            ours = RECORD_TYPES[ALERT].fingerprint
            reference = SchemaReference(ReferenceKind.FINGERPRINT, ours)
        return BUILT_IN.find(reference)


def _archive_options(options: Options) -> ArchiveOptions:
    return ArchiveOptions(
        replica=options.replica,
        locked_for=options.locked_for,
        resume=None if options.resume is None else Path(options.resume),
        whole=options.whole,
        percent=options.percent,
        seed=options.seed,
    )


def _trust(keys: str | TrustedKeys | None, anchors: Iterable[str]) -> Trust:
    trusted = None if keys is None else _keys(keys)
    return Trust(
        keys=trusted,
        anchors=tuple(open_anchor(note.encode(), anchor_keys(trusted)) for note in anchors),
    )


def _keys(keys: str | TrustedKeys) -> TrustedKeys:
    return TrustedKeys.parse(keys) if isinstance(keys, str) else keys
