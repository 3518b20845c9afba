"""The rules of the decision index as the settings give them."""

from datetime import UTC, datetime

from projections.decision_index.scoring import Mode, Rules
from streams.settings import Settings

__all__ = ["rules_of", "what_is_published"]


def rules_of(settings: Settings) -> Rules:
    """Every parameter of a verdict that can be set."""
    return Rules(
        threshold=settings.risk_threshold,
        warm_up=settings.warm_up,
        dedup_window_ms=settings.dedup_window_s * 1000,
        alerts_per_hour=settings.alerts_per_hour,
        mode=Mode(settings.pipeline_mode),
        percentage=settings.pipeline_percent,
        alert_budget=settings.alert_budget,
        neighbours=settings.alert_neighbours,
        since_ms=settings.alerts_from_ms,
    )


def what_is_published(rules: Rules) -> str:
    """In a sentence what becomes of findings, for operators; empty where all are published."""
    match rules.mode:
        case Mode.OFF:
            return "off: no decision is scored, none can be searched for"
        case Mode.SHADOW:
            return "shadow: findings are counted and not published"
        case Mode.ON:
            share = f" for {rules.percentage} % of the principals" * (rules.percentage < 100)
            since = f" from {_moment(rules.since_ms)} on" * bool(rules.since_ms)
            others = f"on{share}{since}: findings about others are counted and not published"
            return others if share or since else ""


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
