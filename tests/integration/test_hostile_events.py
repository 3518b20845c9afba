"""Events no producer should send: each has a clear end, and nothing stops for any of them."""

import asyncio
import json
import struct
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest

from schemas.codec import _encode, decode_dead_letter
from schemas.dead_letters import DeadLetter
from schemas.events import Action, AuthorizationDecision, Entity, Evaluation, Event, MemoryMutation
from schemas.limits import EVALUATIONS_MAX
from schemas.record_types import DECISION, MUTATION
from streams.embedded.engine import EmbeddedEngine
from streams.history import last_records
from streams.ports import NewRecord
from streams.settings import load_settings
from tests.support.decision_log import decision, mutation
from tests.support.embedded_command import EmbeddedHome
from tests.support.events import full_decision, full_mutation
from tests.support.sealed_log import START_MS

TUNING = {"ATTESTREAM_WARM_UP": "20", "ATTESTREAM_RISK_THRESHOLD": "0.5"}
USUAL = [decision(i, ("bea", "nurse", "chart", "view"), resource=f"r{i % 3}") for i in range(60)]
ODD = decision(99, ("karim", "billing", "chart", "burn"))
X, Y = (1.0, 0.0), (0.0, 1.0)
pytestmark = [pytest.mark.slow]


def unchecked(event: Event) -> bytes:
    """What a producer writes who does not keep our rules."""
    name = MUTATION if isinstance(event, MemoryMutation) else DECISION
    return _encode(name, event, None)


def floats(*values: float) -> bytes:
    packed = struct.pack(f"<{len(values)}f", *values)
    return unchecked(replace(full_mutation(), vector=packed, dimension=len(values)))


def asked(count: int, principal: str = "p") -> bytes:
    one = Evaluation(subject=Entity(id=principal), action=Action(name="a"))
    return unchecked(AuthorizationDecision(event_id="many", evaluations=(one,) * count))


BAD_DECISIONS = [
    (unchecked(replace(full_decision(), metrics={"x": nan})), "metrics: a number is infinite"),
    (unchecked(replace(full_decision(), metrics={"x": inf})), "metrics: a number is infinite"),
    (asked(EVALUATIONS_MAX + 1), f"at most {EVALUATIONS_MAX} fit"),
    (asked(10_000), f"evaluations: 10000 items, at most {EVALUATIONS_MAX} fit"),
    (asked(1, "x" * 5000), "subject.id: 5000 characters"),
    (USUAL[0] + bytes(1_100_000), "bytes"),
    (unchecked(replace(full_decision(), event_id="")), "event_id: is empty"),
    (unchecked(full_mutation()), "expected attestream.authz.v1.AuthorizationDecision"),
    (b"\x00" * 64, ""),
    (json.dumps({"principal": "bea"}).encode(), ""),
]
GOOD_DECISIONS = [asked(0), asked(EVALUATIONS_MAX), *USUAL, ODD]
BAD_MEMORIES = [
    (floats(nan, 1.0), "infinite or not a number"),
    (floats(inf, 1.0), "infinite or not a number"),
    (floats(inf, -inf), "infinite or not a number"),
    (floats(0.0, -0.0), "all components are 0"),
    (floats(*[1.0] * 8193), "of 1 to 8192 components"),
    (unchecked(replace(full_mutation(), dimension=3)), "are not 3 float32 values"),
    (unchecked(replace(full_mutation(), vector=b"", dimension=0)), "of 1 to 8192 components"),
    (unchecked(replace(full_mutation(), metadata_json="{")), "metadata_json: is not JSON"),
    (unchecked(replace(full_mutation(), node_id="n" * 5000)), "node_id: 5000 characters"),
    (decision(1, ("a", "b", "c", "d")), "expected attestream.memory.v1.MemoryMutation"),
]
GOOD_MEMORIES = [
    mutation("x", 1, vector=X),
    mutation("odd", 1, vector=(1.0, 2.0, 3.0)),  # not of its namespace's dimension
    mutation("y", 1, vector=Y),
]


def test_every_bad_event_ends_as_a_dead_letter_that_says_why_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    home = EmbeddedHome(tmp_path / "home", TUNING)
    letters = asyncio.run(written(home))
    told = home.run("run", "--once")
    for source, bad in (("decisions", BAD_DECISIONS), ("memory", BAD_MEMORIES)):
        found = asyncio.run(letters_of(home, source))
        assert [letter.index for letter in found] == list(range(len(bad))), source
        for letter, (_, why) in zip(found, bad, strict=True):
            assert why in letter.detail, letter
            assert letter.detail
            assert len(letter.detail) < 1000
    assert letters == len(BAD_DECISIONS) + len(BAD_MEMORIES)
    (alert,) = [a for a in home.alerts() if a["decision"]["principal"] == "karim"]
    assert alert["evidence"][0]["index"] == len(BAD_DECISIONS) + len(GOOD_DECISIONS) - 1
    (rejected,) = home.logged(told, "mutation rejected")
    assert "3 components, vectors of the namespace have 2" in rejected["why"]
    question = ["--namespace", "notes", "--vector", "[1, 0.1]", "-k", "5", "--json"]
    hits = home.lines("search", "memory", *question)
    assert [hit["node_id"] for hit in hits] == ["x", "y"]


async def written(home: EmbeddedHome) -> int:
    """What any producer can send: bytes. The bad ones come first. How many they are."""
    engine = await EmbeddedEngine.open(load_settings(settings(home)), create=True)
    topology, count = engine.topology, 0
    for topic, bad, good in (
        (topology.decisions, BAD_DECISIONS, GOOD_DECISIONS),
        (topology.memory, BAD_MEMORIES, GOOD_MEMORIES),
    ):
        async with engine.sink(topic) as sink:
            for number, value in enumerate([*(value for value, _ in bad), *good]):
                await sink.send(NewRecord(START_MS + number, value))
        count += len(bad)
    await engine.close()
    return count


async def letters_of(home: EmbeddedHome, source: str) -> list[DeadLetter]:
    engine = await EmbeddedEngine.open(load_settings(settings(home)))
    try:
        topic = engine.topology.decisions if source == "decisions" else engine.topology.memory
        reader = engine.reader(engine.topology.dead_letters(topic), 0)
        return [decode_dead_letter(row) for row in await last_records(reader, 1000)]
    finally:
        await engine.close()


def settings(home: EmbeddedHome) -> dict[str, str]:
    return {name: v for name, v in home.environment().items() if name.startswith("ATTESTREAM_")}


def test_lines_that_are_no_events_are_named_and_the_rest_is_sent(tmp_path: Path) -> None:
    home, file = EmbeddedHome(tmp_path / "home", {}), tmp_path / "memories.jsonl"
    good = {"namespace": "s", "node_id": "n", "operation": "UPSERT", "version": 1}
    lines = [
        json.dumps({**good, "vector": [1.0, 2.0]}),
        json.dumps({**good, "vector": [1.0, 1e39]}),
        '{"namespace":"s","node_id":"n","operation":"UPSERT","version":1,"vector":[NaN]}',
        json.dumps({**good, "vector": [0.0, 0.0]}),
        json.dumps({**good, "vector": []}),
        json.dumps({**good, "vector": ["1"]}),
        json.dumps({**good, "vector": "no base64"}),
        json.dumps({**good, "operation": "ERASE"}),
        json.dumps({**good, "node_id": 7, "vector": [1.0]}),
        json.dumps({**good, "vector": [1.0] * 9000}),
    ]
    file.write_text("\n".join(lines) + "\n")
    done = home.command("send", "--format", "memories-jsonl", "--json", str(file))
    assert done.status == 1
    told = json.loads(done.out)
    assert (told["sent"], told["rejected"]) == (1, len(lines) - 1)
    assert [one["line"] for one in told["rejections"]] == list(range(2, len(lines) + 1))
    assert all(one["reason"] for one in told["rejections"])
