"""From distance and surprise to a risk between 0 and 1, and the rules by which it alerts.

    raw  = distance · (0.3 + novelty) · rarity ^ 1.5
    risk = raw / (raw + NEUTRAL · 3/7)

`distance` is 1 − the similarity to the nearest decision learned before, 0 to 1. `novelty` and
`rarity` come from `habits`, in nats. Neutral is a principal one in ten of whose decisions is new
(novelty ln 10 = 2.30) and a rarity of 13: three parts of 4.3 nats, one in 76, each. NEUTRAL is the
raw score there at a distance of 0.3, so that this has a risk of exactly 0.7: with neutral novelty
and rarity a risk of 0.7 and a similarity of 0.7 are one line. Risk rises with each of the three.

Risk is rounded to nine decimals, so that the last bit of a C library's logarithm shows nowhere.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b, sha256
from math import log
from typing import NamedTuple

from projections.decision_index.embedding import EMBEDDING_VERSION

__all__ = [
    "HELD_BACK_RULE",
    "HOUR_MS",
    "RISK_RULE",
    "Factors",
    "Mode",
    "Rules",
    "Score",
    "Surprise",
    "factors_of",
    "repeated",
    "rule_version",
    "score",
]

RISK_RULE = "decision-risk"
HELD_BACK_RULE = "decision-risk-held-back"
HOUR_MS = 3_600_000

NEUTRAL_DISTANCE, NEUTRAL_RISK = 0.3, 0.7
NEUTRAL_NOVELTY, NEUTRAL_RARITY = log(10), 13.0
NOTHING_NEW = 0.3  # a decision of which nothing is new to its principal is not without risk
RARITY_POWER = 1.5  # three times as rare is worse than three times as far
NEUTRAL = NEUTRAL_DISTANCE * (NOTHING_NEW + NEUTRAL_NOVELTY) * NEUTRAL_RARITY**RARITY_POWER
HALF = NEUTRAL * (1 - NEUTRAL_RISK) / NEUTRAL_RISK  # the raw score whose risk is one half
REPEAT_DISTANCE = 0.03
DECIMALS = 9
FORMULA_VERSION = 2  # of habits, scoring, throttle: rises with every change that moves a verdict


class Mode(StrEnum):
    """What becomes of findings: nothing is scored, they are counted, or they are published."""

    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Every parameter of a verdict.

    Attributes:
        threshold: the risk from which on a decision is a finding.
        warm_up: leaves of a tenant that are learned before any is a finding.
        dedup_window_ms: one alert for a principal, kind and action in this much record time.
        alerts_per_hour: alerts of a tenant and log in an hour of record time; more are held back.
        mode: what becomes of findings.
        percentage: share of principals, by hash, whose findings are published; 100 for all.
        alert_budget: alerts of a tenant and log that are wanted in 10,000 of its leaves; 0: any.
        neighbours: how many nearest decisions an alert shows.
        since_ms: findings about leaves of an earlier timestamp are counted, not published.
    """

    threshold: float = 0.7
    warm_up: int = 1000
    dedup_window_ms: int = HOUR_MS
    alerts_per_hour: int = 100
    mode: Mode = Mode.ON
    percentage: int = 100
    alert_budget: int = 0
    neighbours: int = 5
    since_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or not 0 <= self.percentage <= 100:
            raise ValueError(f"a threshold or percentage off its scale: {self}")
        if self.warm_up < 0 or self.dedup_window_ms < 1 or self.alerts_per_hour < 1:
            raise ValueError(f"a limit below what it may be: {self}")
        if self.alert_budget < 0 or self.neighbours < 1 or self.since_ms < 0:
            raise ValueError(f"a limit below what it may be: {self}")

    def publishes(self, principal: str) -> bool:
        """Whether a finding about this principal is published, not only counted."""
        if self.mode is not Mode.ON:
            return False
        digest = blake2b(principal.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % 100 < self.percentage


class Surprise(NamedTuple):
    """How unexpected an evaluation is: `novelty` to its principal, `rarity` of its crosses."""

    novelty: float
    rarity: float


class Score(NamedTuple):
    """A verdict's numbers; `similarity` is 1 − `distance`, not below 0."""

    risk: float
    similarity: float
    novelty: float
    rarity: float


def score(similarity: float, surprise: Surprise) -> Score:
    """The risk of a decision at this similarity to its nearest neighbour."""
    nearest = min(max(similarity, 0.0), 1.0)
    raw = _raw(1.0 - nearest, surprise)
    return Score(round(raw / (raw + HALF), DECIMALS), nearest, surprise.novelty, surprise.rarity)


def repeated(times: int) -> float:
    """The similarity at which a decision counts that was learned `times` before.

    Seen once, it is less of a habit than seen a hundred times: by the rule of succession it is
    another the next time with a chance of 1 in times + 2. It keeps that share of a small distance.
    """
    return 1.0 - REPEAT_DISTANCE / (times + 2)


class Factors(NamedTuple):
    """The written formula with its numbers: risk = raw / (raw + half)."""

    distance: float
    novelty: float
    rarity: float
    raw: float
    half: float
    risk: float

    def __str__(self) -> str:
        distance, novelty, rarity, raw, half, risk = self
        return (
            f"distance {distance:.4f} · ({NOTHING_NEW} + novelty {novelty:.4f}) · "
            f"rarity {rarity:.4f} ^ {RARITY_POWER} = {raw:.4f};  "
            f"{raw:.4f} / ({raw:.4f} + {half:.4f}) = risk {risk:.4f}"
        )


def factors_of(similarity: float, novelty: float, rarity: float) -> Factors:
    """Every factor of the risk `score` gives at these three."""
    again = score(similarity, Surprise(novelty, rarity))
    distance = 1.0 - again.similarity
    raw = _raw(distance, Surprise(novelty, rarity))
    return Factors(distance, novelty, rarity, raw, HALF, again.risk)


def _raw(distance: float, surprise: Surprise) -> float:
    rarity = float(surprise.rarity**RARITY_POWER)
    return distance * (NOTHING_NEW + surprise.novelty) * rarity


def rule_version(rules: Rules) -> str:
    """A name for everything that can change a verdict: 16 hexadecimal digits."""
    parameters = (
        FORMULA_VERSION,
        EMBEDDING_VERSION,
        (NEUTRAL_DISTANCE, NEUTRAL_RISK, NEUTRAL_NOVELTY.hex(), NEUTRAL_RARITY, DECIMALS),
        rules.threshold,
        rules.warm_up,
        rules.dedup_window_ms,
        rules.alerts_per_hour,
        rules.mode.value,
        rules.percentage,
        rules.alert_budget,
        rules.neighbours,
        rules.since_ms,
    )
    return sha256(repr(parameters).encode()).hexdigest()[:16]
