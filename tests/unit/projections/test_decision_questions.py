"""What a hypothetical decision would be worth: answered alike anywhere, and nothing learned."""

import asyncio
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from projections.api.search import SearchPages
from projections.api.server import serve
from projections.cli.main import main
from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.embedding import Features, embed_known
from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows, Tiers
from projections.decision_index.scoring import Rules, Surprise, factors_of, score
from projections.decision_index.search import DecisionSearch, FoldedLog
from projections.search import LocalSearch, Question, SearchError
from schemas.alerts import AnomalyAlert
from streams.embedded.engine import EmbeddedEngine
from streams.ports import NewRecord
from streams.settings import load_settings
from streams.telemetry.health import Health
from streams.topology import Topology
from tests.support.decision_log import EventLog, habits
from tests.support.sealed_log import BASE, ORIGIN, TOPIC, batches_of
from tests.support.searched import searched

RULES = Rules(threshold=0.2, warm_up=30, alerts_per_hour=3)
VALUES = list(habits(160, seed=11, odd_share=0.1))
QUESTIONS = [
    Features("", "person-3", ("role-3",), "ward", "kind-1", "r1", "do-2", "ALLOW"),
    Features("", "person-3", (), "", "", "", "", ""),
    Features("acme", "person-1", ("role-1", "new"), "scope-9", "kind-7", "r", "do-4", "DENY"),
    Features("nobody", "x", (), "s", "k", "r", "a", "ALLOW"),
    Features("", "stranger", ("role-x",), "vault", "secret", "s-1", "export", "ALLOW"),
]
ASKED = [
    *("--principal", "person-3", "--role", "role-3", "--kind", "kind-7", "--action", "do-4"),
    *("--resource", "r1", "--scope", "vault", "--effect", "ALLOW", "--explain"),
]


def small_graph() -> DecisionRows:
    """Rows with every tier in use: some scanned, the rest in a graph."""
    return DecisionRows(FoldedGraph, Tiers(16, 40))


def plain() -> DecisionRows:
    return DecisionRows(FoldedGraph, Tiers(512, 10**9))


@cache
def log() -> EventLog:
    return EventLog.sealed(VALUES, [50, 60])


def alerts(*, asking: bool) -> list[AnomalyAlert]:
    fold, told = DecisionFold(RULES, small_graph), []
    for batch in batches_of(log()):
        found = []
        for record in batch.records:
            if asking:
                for features in QUESTIONS:
                    fold.assess(features)
                    fold.nearest(features.tenant, embed_known(features), 7)
            found += fold.apply(record)
        told += alerts_of(found, batch, Stamp.of(RULES)) if found else []
    return told


def folded() -> DecisionFold:
    fold = DecisionFold(RULES, plain)
    for batch in batches_of(log()):
        for record in batch.records:
            fold.apply(record)
    return fold


@cache
def known() -> DecisionFold:
    """The same, for tests that only ask."""
    return folded()


def learned(fold: DecisionFold) -> object:
    """All that a fold holds but its schemas: rows, counts, limits, tallies, in their order."""
    return held((fold._tenants, fold._holding, fold.timestamp, fold.tallies))


def held(value: Any) -> object:
    """A value as nested tuples; arrays as their bytes, functions as nothing."""
    if isinstance(value, dict):
        return tuple((held(key), held(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(held, value))
    if hasattr(value, "tobytes"):
        return value.tobytes()
    if callable(value) or value is None or isinstance(value, str | bytes | int | float):
        return None if callable(value) else value
    if isinstance(value, bytearray):
        return bytes(value)
    names = getattr(value, "__slots__", None) or vars(value)
    return tuple((name, held(getattr(value, name))) for name in names)


def test_questions_in_between_change_no_alert() -> None:
    straight = alerts(asking=False)
    assert len(straight) > 8
    assert alerts(asking=True) == straight


def test_an_index_that_was_asked_is_byte_for_byte_what_it_was() -> None:
    fold = folded()
    before = learned(fold)
    for features in QUESTIONS:
        assert fold.assess(features) == fold.assess(features)
    assert learned(fold) == before
    fold.assess(QUESTIONS[0])
    for batch in batches_of(EventLog.sealed(VALUES[:1])):
        for record in batch.records:
            fold.apply(record)
    assert learned(fold) != before


@pytest.mark.parametrize("features", QUESTIONS, ids=lambda asked: asked.principal)
def test_the_answer_holds_every_factor_of_the_risk(features: Features) -> None:
    query = {**features._asdict(), "roles": list(features.roles), "explain": True}
    (told,) = DecisionSearch(FoldedLog(known())).answer(Question("decisions", query))
    assert told["raw"] == told["distance"] * (0.3 + told["novelty"]) * told["rarity"] ** 1.5
    assert told["risk"] == round(told["raw"] / (told["raw"] + told["half"]), 9)
    assert told["distance"] == 1 - told["similarity"]
    expected = known().assess(features)
    assert told["risk"] == expected.score.risk
    assert told["principal_seen"] == expected.known
    assert told["not_given"] == [
        name
        for name in ("roles", "principal", "scope", "resource_kind", "resource_id")
        if not getattr(features, name)
    ] + [name for name in ("action", "effect") if not getattr(features, name)]
    assert len(told["features"]) == len(expected.differences)
    assert [near["index"] for near in told["neighbours"]] == [n.leaf for n in expected.neighbours]


def test_a_risk_is_what_the_log_would_have_said_of_it() -> None:
    """Asked about the decision that comes next, and then it comes."""
    fold = DecisionFold(replace(RULES, warm_up=0, threshold=1e-9), plain)
    compared = 0
    for batch in batches_of(log()):
        for record in batch.records:
            scored = fold.score(record)
            for risky in scored.risky:
                assert fold.assess(risky.features).score == risky.score
                compared += 1
            fold.learn(scored)
    assert compared > 50


def test_the_written_formula_is_the_one_that_scores() -> None:
    for similarity in (-0.5, 0.0, 0.3, 0.7, 1.0):
        for novelty, rarity in ((0.0, 0.0), (2.3, 15.0), (9.0, 40.0)):
            factors = factors_of(similarity, novelty, rarity)
            assert factors.risk == score(similarity, Surprise(novelty, rarity)).risk
            assert factors.raw == factors.distance * (0.3 + novelty) * rarity**1.5


class Known:
    """An index whose principal was seen so often."""

    def __init__(self, seen: int, similarity: float) -> None:
        self._told = {"principal_seen": seen, "similarity": similarity, "risk": 0.1}

    def answer(self, question: Question) -> list[dict[str, Any]]:
        del question
        return [self._told]


def test_of_many_logs_the_one_that_knows_the_principal_is_asked() -> None:
    local = LocalSearch()
    for number in range(20):
        local.add("decisions", f"o/d/{number}", Known(5 if number == 17 else 0, number / 20))
    (best,) = local.answer(Question("decisions", {"explain": True, "k": 1}))
    assert best["origin"] == "o/d/17"


@pytest.mark.parametrize("query", [{"principal": 5}, {"roles": "r"}, {"roles": [1]}], ids=str)
def test_a_question_that_cannot_be_read_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(SearchError):
        DecisionSearch(FoldedLog(known())).answer(Question("decisions", query))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An embedded home whose audit partition holds the log."""
    asyncio.run(fill(tmp_path / "home"))
    return tmp_path / "home"


async def fill(home: Path) -> None:
    engine = await EmbeddedEngine.open(load_settings(environment(home)), create=True)
    writer = engine.writer(engine.topology.audit(TOPIC), 0)
    await writer.start()
    await writer.append([NewRecord(r.timestamp, r.value or b"") for r in log().rows])
    await writer.close()
    await engine.close()


def environment(home: Path) -> dict[str, str]:
    # The key that signed the log: whoever reads the log trusts his own.
    return {
        "ATTESTREAM_HOME": str(home),
        "ATTESTREAM_ORIGIN": BASE,
        "AUDIT_SIGNING_PRIVATE_KEY": "07" * 32,
    }


def ask(environment: dict[str, str], *more: str) -> Result:
    arguments = ["search", "decisions", *ASKED, *more]
    return CliRunner(env=environment).invoke(main, arguments)


class OneLog:
    """As much of an engine as the search pages ask."""

    topology = Topology(base=BASE, decisions=TOPIC, memory="m")

    async def partitions(self, topic: str) -> int:
        del topic
        return 1

    async def peers(self, role: str) -> list[str]:
        del role
        return []


async def test_the_command_says_the_same_of_a_directory_and_of_a_worker(home: Path) -> None:
    local = LocalSearch()
    local.add("decisions", ORIGIN, DecisionSearch(FoldedLog(known())))
    pages = SearchPages(local, lambda: searched(OneLog()), "")
    async with serve("127.0.0.1", 0, Health(), pages) as url:
        worker = {**environment(home), "ATTESTREAM_URL": url}
        asked = await asyncio.to_thread(ask, worker, "--json")
    read = await asyncio.to_thread(ask, environment(home), "--json")
    again = await asyncio.to_thread(ask, environment(home), "--json")
    assert (read.exit_code, read.stderr) == (0, "")
    assert read.stdout == again.stdout == asked.stdout
    told = json.loads(read.stdout)
    assert 0 < told["risk"] < 1
    assert told["origin"] == ORIGIN
    words = (await asyncio.to_thread(ask, environment(home))).stdout
    assert told["formula"] in words
    assert (told["not_given"], "taken as empty" in words) == ([], False)
    assert f"risk {told['risk']:.2f}" in words
    assert f"leaf {told['neighbours'][0]['index']}" in words
