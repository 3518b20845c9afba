"""One record, by its proof: a tlog-proof file, or the evidence in an alert (formats §6)."""

from collections.abc import Sequence

from schemas.alerts import AnomalyAlert, alert_id
from streams.audit.checkpoint import CheckpointText, open_note, parse_checkpoint
from streams.audit.note import MalformedError, TrustedKeys
from streams.audit.proofs import parse_tlog_proof, verify_inclusion
from streams.errors import BreakError, SourceUnreadableError, VerificationError
from streams.verifier.verdicts import LogVerdict, Trust

__all__ = ["verify_alert", "verify_leaf", "verify_proof_text"]


def verify_leaf(
    origin: str,
    index: int,
    leaf: bytes,
    evidence: tuple[Sequence[bytes], str],
    keys: TrustedKeys | None,
) -> CheckpointText:
    """Demand that `leaf` is leaf `index` of the log `origin`, as one of its checkpoints signs.

    Args:
        origin: the log.
        index: the leaf index.
        leaf: the leaf hash.
        evidence: the inclusion proof, and the checkpoint note it leads to.
        keys: whose signatures count; None checks none.

    Returns:
        What the checkpoint says.

    Raises:
        BreakError: the checkpoint is not good (by its kind), or the leaf is not under it
            (`altered`).
    """
    proof, note = evidence
    text = open_note(note, origin, keys, at=index)
    try:
        verify_inclusion(index, text.size, leaf, proof, text.root)
    except VerificationError as error:
        raise BreakError("altered", index, str(error)) from error
    return text


def verify_alert(
    alert: AnomalyAlert,
    keys: TrustedKeys | None,
    *,
    origin: str | None = None,
    rule_version: str | None = None,
) -> CheckpointText:
    """Demand that an alert speaks of records that stand in their log, and bears its own id.

    What it says about the decision follows from nothing here: compare the record itself, by its
    leaf hash. An id is no secret either; that the alert was published, its own log proves.

    Args:
        alert: the alert.
        keys: whose signatures count; None checks none.
        origin: the log it must speak of; None: any that the keys vouch for.
        rule_version: of the rule it must be by; None: any.

    Returns:
        What the checkpoint over the first record says.

    Raises:
        VerificationError: it carries no evidence.
        BreakError: by its kind: another log (`bad_signature`), an id or a rule version that is
            not the alert's (`altered`), a checkpoint or a proof that is not good.
    """
    if not alert.evidence:
        raise VerificationError(f"the alert {alert.alert_id} carries no evidence")
    at = alert.evidence[0].index
    if rule_version is not None and alert.rule.version != rule_version:
        detail = f"an alert by version {alert.rule.version!r} of its rule, not {rule_version!r}"
        raise BreakError("altered", at, detail)
    expected = alert_id(alert.evidence[0].origin, at, alert.rule)
    if alert.alert_id != expected:
        detail = f"the alert id {alert.alert_id!r} is not that of its leaf and rule, {expected!r}"
        raise BreakError("altered", at, detail)
    texts = []
    for evidence in alert.evidence:
        proof = evidence.inclusion_proof, evidence.checkpoint
        log = origin or evidence.origin
        if evidence.origin != log:
            detail = f"evidence of {evidence.origin!r}, where {log!r} was expected"
            raise BreakError("bad_signature", evidence.index, detail)
        texts.append(verify_leaf(log, evidence.index, evidence.leaf_hash, proof, keys))
    return texts[0]


def verify_proof_text(text: str, leaf: bytes, trust: Trust) -> LogVerdict:
    """Verify a tlog-proof file for the record with this leaf hash.

    Raises:
        SourceUnreadableError: not a tlog-proof.
    """
    try:
        parsed = parse_tlog_proof(text)
        claimed, _ = parse_checkpoint(parsed.checkpoint)
    except (MalformedError, BreakError) as error:
        raise SourceUnreadableError(f"not a tlog-proof: {error}") from error
    evidence = parsed.proof, parsed.checkpoint
    found: tuple[BreakError, ...] = ()
    try:
        verify_leaf(claimed.origin, parsed.leaf_index, leaf, evidence, trust.keys)
    except BreakError as error:
        found = (error,)
    comparable = [a for a in trust.anchors if a[:2] == claimed[:2]]
    if any(anchor.root != claimed.root for anchor in comparable):
        detail = f"the anchor of size {claimed.size} has another root"
        found = (*found, BreakError("fork", parsed.leaf_index, detail))
    anchored = "checked" if comparable else "missing" if trust.anchors else "not given"
    return LogVerdict(
        origin=claimed.origin,
        first=parsed.leaf_index,
        size=claimed.size,
        root=claimed.root.hex(),
        records=1,
        checkpoints=1,
        anchored=anchored,
        breaks=found,
    )
