"""An alert explained: every factor of its risk, what is unlike, and whether its evidence holds.

As data (`explained`), and the same in words (`words_of`). Nothing but the alert and the keys is
needed: no log is read.
"""

from typing import Any

from projections.decision_index.scoring import factors_of
from schemas.alerts import AnomalyAlert, RuleType
from schemas.readable import as_json
from streams.audit.note import TrustedKeys
from streams.errors import BreakError, VerificationError
from streams.verifier import BREAK_STATUS, verify_alert

__all__ = ["explained", "lines_of", "status_of", "words_of"]

TOLERANCE = 1e-6  # other machines' logarithms differ in their last digits
TOLD = ("alert_id", "title", "description", "severity", "confidence", "confidence_score")
BROKEN_STATUS = BREAK_STATUS["altered"]  # of an alert that carries no evidence


def lines_of(alert: AnomalyAlert) -> str:
    """One alert in short: what, how odd, why, and where its evidence is."""
    where = alert.evidence[0] if alert.evidence else None
    proof = f"{where.origin} leaf {where.index}" if where else "no evidence"
    return (
        f"{alert.severity:<13} risk {alert.risk:.2f}  {alert.title}\n"
        f"    {alert.description}\n"
        f"    {alert.alert_id}  {proof}{'  (replayed)' if alert.replayed else ''}"
    )


def explained(alert: AnomalyAlert, keys: TrustedKeys | None) -> dict[str, Any]:
    """One JSON object: what the alert says, `risk` by its formula, `evidence` as it was checked.

    `risk` is absent where the alert's rule has no formula; `risk.reproduced` says whether the
    formula gives the alert's risk again. Without keys no signature is checked.
    """
    whole = as_json(alert)
    told: dict[str, Any] = {name: whole[name] for name in TOLD if name in whole}
    told |= {
        "replayed": alert.replayed,
        "count": alert.count,
        "suppressed_count": alert.suppressed_count,
        "rule": whole["rule"],
        "decision": whole["decision"],
        "features": [as_json(feature) for feature in alert.features],
        "neighbours": [as_json(near) for near in alert.neighbours],
        "evidence": _checked(alert, keys),
    }
    if alert.rule.type is RuleType.STATISTICAL:
        told["risk"] = _risk(alert)
    return told


def status_of(told: dict[str, Any]) -> int:
    """The exit status of what `explained` gave: 0, or that of the break in the evidence."""
    kind = told["evidence"].get("kind")
    return BREAK_STATUS.get(kind, BROKEN_STATUS) if kind else 0


def words_of(told: dict[str, Any]) -> str:
    """What `explained` gave, for people."""
    lines = [told.get("title", told["alert_id"]), told.get("description", "")]
    severity, confidence = told["severity"], told["confidence"]
    score = told["confidence_score"]
    replayed = "; replayed: it pages nobody" if told["replayed"] else ""
    lines.append(f"severity {severity}, confidence {confidence} ({score} of 100){replayed}")
    lines += _risk_words(told["risk"]) if "risk" in told else []
    if told["features"]:
        lines += ["Unlike the nearest decision before:", *map(_feature, told["features"])]
    if told["neighbours"]:
        lines += ["Nearest decisions before:", *map(_neighbour, told["neighbours"])]
    if told["suppressed_count"]:
        lines.append(f"{told['suppressed_count']} findings were held back and are counted here.")
    return "\n".join([*filter(None, lines), *_evidence_words(told["evidence"])])


def _risk(alert: AnomalyAlert) -> dict[str, Any]:
    factors = factors_of(alert.similarity, alert.novelty, alert.rarity)
    return {
        **factors._asdict(),
        "risk": alert.risk,
        "threshold": alert.threshold,
        "formula": str(factors),
        "reproduced": abs(factors.risk - alert.risk) < TOLERANCE,
    }


def _risk_words(risk: dict[str, Any]) -> list[str]:
    lines = [f"risk {risk['risk']:.4f}, threshold {risk['threshold']}:", f"  {risk['formula']}"]
    if not risk["reproduced"]:
        lines.append("  That is not the risk the alert gives: another formula, or altered.")
    return lines


def _checked(alert: AnomalyAlert, keys: TrustedKeys | None) -> dict[str, Any]:
    signatures = "not given" if keys is None else "checked"
    try:
        checkpoint = verify_alert(alert, keys)
    except BreakError as error:
        return {
            "verdict": "broken",
            "signatures": signatures,
            "kind": error.kind,
            "detail": error.detail,
        }
    except VerificationError as error:
        return {
            "verdict": "broken",
            "signatures": signatures,
            "kind": "missing",
            "detail": str(error),
        }
    return {
        "verdict": "intact",
        "signatures": signatures,
        "origin": checkpoint.origin,
        "index": alert.evidence[0].index,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
    }


def _evidence_words(evidence: dict[str, Any]) -> list[str]:
    if evidence["verdict"] == "broken":
        return [f"Evidence BROKEN, {evidence['kind']}: {evidence['detail']}"]
    signed = (
        "signed by a key you gave"
        if evidence["signatures"] == "checked"
        else "whose signature was NOT checked: give --keys"
    )
    where = f"leaf {evidence['index']} of {evidence['origin']}"
    return [f"Evidence intact: {where} is under its checkpoint of {evidence['size']}, {signed}."]


def _feature(feature: dict[str, Any]) -> str:
    here = f"“{feature.get('observed', '')}” seen {_times(feature['observed_count'])}"
    there = f"“{feature.get('expected', '')}” seen {_times(feature['expected_count'])}"
    share = f"{feature['weight']:.0%} of the distance"
    return f"  {feature['name']}: {here}; there {there}  ({share})"


def _neighbour(near: dict[str, Any]) -> str:
    seen = _times(near["count"])
    return f"  leaf {near['index']}  {near['similarity']:.4f}  {near.get('summary', '')}  ({seen})"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
