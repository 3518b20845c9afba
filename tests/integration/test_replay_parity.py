"""A copy of a real log leads to the same index and to the very alerts that were published."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from projections.cli.demo_data import decisions
from projections.cli.replay import replay
from projections.demo import work_off
from projections.replay.rebuilt import Outcome, Published, differences
from streams.cli.send import send
from streams.settings import load_settings

COUNT = 2500
pytestmark = pytest.mark.slow

ALERTS = {"a": 10, "b": 20, "c": 30}
SAME = Outcome(b"d", 3, ALERTS)


def typed(command: Any, *arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(command, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def sealed(folder: Path, events: list[bytes]) -> None:
    (folder / "decisions.ndjson").write_bytes(b"\n".join(events) + b"\n")
    typed(send, "--format", "cerbos", str(folder / "decisions.ndjson"))
    settings = load_settings({"ATTESTREAM_HOME": str(folder / "home")})
    asyncio.run(work_off(settings, lambda _: None))


def test_a_copy_leads_to_the_same_index_and_the_same_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTESTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    sealed(tmp_path, list(decisions(COUNT)))
    typed(replay, "run", "--from", "archive", "--into", str(tmp_path / "staging"))
    # The log goes on meanwhile: it is compared as far as the copy goes.
    later = list(decisions(2 * COUNT))
    sealed(tmp_path, later[COUNT : COUNT + 100])
    sealed(tmp_path, later[COUNT + 100 :])
    found = typed(replay, "check", "--into", str(tmp_path / "staging"))
    (log,) = [log for log in found if "/authz.decisions/" in log["origin"]]
    assert (log["size"], log["problems"]) == (COUNT, [])
    assert log["index"]["alerts"] > 0
    assert log["index"]["rows"] > 100


@pytest.mark.parametrize(
    ("copy", "published", "says"),
    [
        (SAME, Published(ALERTS, -1), []),
        (SAME, Published({"c": 30}, 20), []),
        (Outcome(b"x", 3, ALERTS), Published(ALERTS, -1), ["the index over the copy is"]),
        (
            Outcome(b"d", 3, {"a": 10}),
            Published(ALERTS, -1),
            ["2 alerts differ", "2 alerts were published"],
        ),
        (SAME, Published({"a": 10, "b": 20}, -1), ["1 alerts follow from the copy"]),
        (SAME, Published(ALERTS | {"z": 40}, 20), ["1 alerts were published"]),
    ],
)
def test_what_differs_is_told(copy: Outcome, published: Published, says: list[str]) -> None:
    told = list(differences(copy, SAME, published))
    assert len(told) == len(says)
    assert all(sentence.startswith(said) for sentence, said in zip(told, says, strict=True))
