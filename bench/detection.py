"""What the decision index finds, and how fast: `python -m bench.detection [--quick]`.

The streams are those of `bench.streams`, taken over unchanged: score each line before it is
learned, count only lines with `warm` false. Every score is exact. The Kubernetes stream needs
`ATTESTREAM_SAMPLES`, the folder that holds `access-logs/kubernetes-audit.jsonl.gz`.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import streams
from projections.decision_index.budget import BUDGET_LEAVES, Budget, threshold_for
from projections.decision_index.embedding import Features
from projections.decision_index.fold import DecisionFold, Finding
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import Rules
from projections.ports import SealedRecord
from schemas.audit_values import encode_content
from schemas.codec import encode_event
from schemas.events import Action, AuthorizationDecision, Decision, Entity, Evaluation
from schemas.records import Record, Source

SEEDS = {"kubernetes": 5, "generated": 3}
KINDS = ("principal_swap", "action_swap", "new_principal", "new_scope")
BUDGETS = (100, 200, 400)
LEAST = 0.1  # the configured threshold while a budget is tried: only the budget is to matter
SAMPLE = "access-logs/kubernetes-audit.jsonl.gz"

Line = dict[str, Any]
Numbers = NDArray[np.float64]


class Quality(NamedTuple):
    """Area under the ROC curve, average precision, and recall at two false positive rates."""

    auc: float
    ap: float
    at_1_percent: float
    at_01_percent: float


def report(*, quick: bool) -> list[str]:
    """The Markdown lines of all tables."""
    scored = {(name, seed): risks_of(name, seed) for name, seed in wanted(quick=quick)}
    return [*quality_table(scored), "", *budget_table(scored), "", *speed_table(scored)]


class Risks(NamedTuple):
    """A stream, and the exact risk of each of its lines, scored before it was learned."""

    rows: list[Line]
    risks: Numbers


def wanted(*, quick: bool) -> Iterator[tuple[str, int]]:
    for name in available():
        for seed in range(1 if quick else SEEDS[name]):
            yield name, seed


def risks_of(name: str, seed: int) -> Risks:
    rows = list(getattr(streams, name)(seed))
    return Risks(rows, exact_risks(rows))


def quality_table(scored: dict[tuple[str, int], Risks]) -> list[str]:
    lines = [
        "| stream | against benign | AUC | AP | TPR at 1 % FPR | TPR at 0.1 % FPR |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted({name for name, _ in scored}, reverse=True):
        of_stream = [found for (one, _), found in scored.items() if one == name]
        for kind in ("all", *(KINDS if name == "kubernetes" else ())):
            qualities = [quality(rows, risks, kind) for rows, risks in of_stream]
            cells = " | ".join(map(mean_and_range, zip(*qualities, strict=True)))
            lines.append(f"| {name}, seeds 0–{len(of_stream) - 1} | {kind} | {cells} |")
    return lines


def budget_table(scored: dict[tuple[str, int], Risks]) -> list[str]:
    """Benign alerts of the second half, for budgets of benign alerts in a half."""
    columns = ["stream", "budget of a half", "alerts in the second, threshold of the first kept"]
    columns.append("threshold that follows the log")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (name, seed), (rows, risks) in scored.items():
        benign = np.array([row["label"] == 0 for row in rows])
        for budget in BUDGETS:
            kept, followed = after_calibrating(np.where(benign, risks, 0.0), budget)
            lines.append(f"| {name}, seed {seed} | {budget} | {kept} | {followed} |")
    return lines


def after_calibrating(risks: Numbers, budget: int) -> tuple[int, int]:
    """Alerts of the second half: with a threshold that is kept, and one that follows the log."""
    rules, middle = Rules(), len(risks) // 2
    first = risks[rules.warm_up : middle].tolist()
    kept = int((risks[middle:] >= max(threshold_for(first, budget), LEAST)).sum())
    following = Budget(Rules(threshold=LEAST, alert_budget=round(budget * BUDGET_LEAVES / middle)))
    told = [
        leaf
        for leaf, risk in enumerate(risks.tolist())
        if leaf >= rules.warm_up and risk >= LEAST and following.admits(leaf, risk)
    ]
    return kept, sum(leaf >= middle for leaf in told)


def speed_table(scored: dict[tuple[str, int], Risks]) -> list[str]:
    columns = ["stream", "decisions", "rows", "decisions/s", "score µs p50 / p99"]
    columns += ["learn µs p50 / p99", "findings", "as if exact"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    rules = Rules(alerts_per_hour=100_000, dedup_window_ms=1)
    for name in available():
        rows, risks = scored[name, 0]
        records = [sealed(index, row) for index, row in enumerate(rows)]
        fold = DecisionFold(rules, lambda: DecisionRows(FoldedGraph))
        findings: set[int] = set()
        spent = np.zeros((len(records), 2))
        for index, record in enumerate(records):
            began = time.perf_counter()
            found = fold.score(record)
            learning = time.perf_counter()
            told = fold.learn(found)
            spent[index] = learning - began, time.perf_counter() - learning
            findings |= {item.leaf for item in told if isinstance(item, Finding)}
        exact = set(np.flatnonzero(risks >= rules.threshold).tolist())
        same = "yes" if findings == {leaf for leaf in exact if leaf >= rules.warm_up} else "NO"
        score_us, learn_us = (np.percentile(spent * 1e6, [50, 99], axis=0)).T
        lines.append(
            f"| {name} | {len(rows)} | {fold.rows} | {len(rows) / spent.sum():,.0f} | "
            f"{score_us[0]:.0f} / {score_us[1]:.0f} | {learn_us[0]:.0f} / {learn_us[1]:.0f} | "
            f"{len(findings)} | {same} |"
        )
    return lines


def available() -> Iterator[str]:
    samples = os.environ.get("ATTESTREAM_SAMPLES")
    if samples:
        streams.SAMPLE = Path(samples) / SAMPLE
        yield "kubernetes"
    yield "generated"


def exact_risks(rows: Sequence[Line]) -> Numbers:
    """The risk of every line, scored before it is learned."""
    fold = DecisionFold(Rules(), lambda: DecisionRows(FoldedGraph))
    risks = np.zeros(len(rows))
    for index, row in enumerate(rows):
        risks[index] = fold.exact_score(features_of_line(row)).risk
        fold.apply(sealed(index, row))
    return risks


def features_of_line(row: Line) -> Features:
    return Features(
        "",
        row["principal"],
        tuple(sorted(set(row["roles"]))),
        row["scope"],
        row["resource_kind"],
        row["resource_id"],
        row["action"],
        row["effect"],
    )


def sealed(index: int, row: Line) -> SealedRecord:
    """A line as the audit record of a decision event."""
    evaluation = Evaluation(
        subject=Entity(id=row["principal"], roles=tuple(row["roles"])),
        action=Action(name=row["action"]),
        resource=Entity(type=row["resource_kind"], id=row["resource_id"], scope=row["scope"]),
        decision=Decision(row["effect"]),
    )
    event = AuthorizationDecision(event_id=row["id"], evaluations=(evaluation,))
    record = Record(index, 1_700_000_000_000 + 15 * index, None, encode_event(event))
    source = Source("authz.decisions", 0, index, record.timestamp)
    return SealedRecord(index, source, encode_content(record), bytes(32), record)


def quality(rows: Sequence[Line], risks: Numbers, kind: str) -> Quality:
    wanted = {"-", *KINDS, "stray"} if kind == "all" else {"-", kind}
    counted = np.array([not row["warm"] and row["anomaly"] in wanted for row in rows])
    labels = np.array([row["label"] for row in rows])[counted]
    scores = risks[counted]
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(
        np.flatnonzero(np.diff(ranked)), len(ranked) - 1
    )  # equal scores fall together
    hits = np.cumsum(labels[order])[ends]
    alarms = ends + 1 - hits
    recall = np.append(0.0, hits / labels.sum())
    false = np.append(0.0, alarms / (len(labels) - labels.sum()))
    precision = hits / (ends + 1)
    return Quality(
        float(np.trapezoid(recall, false)),
        float((np.diff(recall) * precision).sum()),
        float(recall[false <= 0.01].max()),
        float(recall[false <= 0.001].max()),
    )


def mean_and_range(values: tuple[float, ...]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed of each stream")
    print("\n".join(report(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
