"""`send` on the embedded engine: what arrives, what is said, and the exit status."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from schemas.codec import decode_decision, decode_event, decode_mutation
from schemas.events import AuthorizationDecision, Decision
from schemas.records import Record
from streams.app import open_engine
from streams.cli.send import send
from streams.settings import load_settings

FIXTURES = Path(__file__).parents[2] / "fixtures"
CERBOS = FIXTURES / "cerbos.ndjson"
MEMORIES = FIXTURES / "memories.jsonl"


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTESTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    return tmp_path / "home"


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(send, [str(each) for each in arguments], input=stdin)


def records(home: Path, topic: str) -> list[Record]:
    async def read() -> list[Record]:
        async with open_engine(load_settings({"ATTESTREAM_HOME": str(home)})) as engine:
            reader = engine.reader(topic, 0)
            found = (await reader.fetch(0, max_records=1_000, max_wait_ms=0)).records
            await reader.close()
        return found

    return asyncio.run(read())


def test_decisions_arrive_with_their_key_time_and_bytes(home: Path) -> None:
    result = run("--format", "cerbos", "--tenant", "acme", CERBOS)
    assert result.exit_code == 1
    assert result.stdout == "sent 6, rejected 2\n"
    found = records(home, "authz.decisions")
    assert [decode_decision(each).tenant for each in found] == ["acme"] * 6
    assert (found[0].key, found[0].timestamp) == (b"acme/amina", 1_770_091_506_123)


def test_every_rejected_line_is_named() -> None:
    result = run("--format", "cerbos", CERBOS)
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{CERBOS}:6: INVALID_EVENT: a Cerbos access log entry")
    assert lines[1].startswith(f"{CERBOS}:7: a broken document: ")


def test_json_says_the_same_and_nothing_else() -> None:
    result = run("--format", "cerbos", "--json", CERBOS)
    told = json.loads(result.stdout)
    assert (told["sent"], told["rejected"], result.exit_code, result.stderr) == (6, 2, 1, "")
    assert [each["line"] for each in told["rejections"]] == [6, 7]
    assert set(told["rejections"][0]) == {"file", "line", "reason"}


def test_memories_go_to_their_own_topic(home: Path) -> None:
    assert run("--format", "memories-jsonl", MEMORIES).exit_code == 1
    found = records(home, "memory.mutations")
    assert [decode_mutation(each).node_id for each in found] == ["n-1", "n-2", "n-1", "n-2"]
    assert found[0].key == b"blue/notes/n-1"


def test_an_event_without_time_is_stamped_with_the_present(home: Path) -> None:
    run("--format", "memories-jsonl", MEMORIES)
    found = records(home, "memory.mutations")
    assert found[0].timestamp == 1_770_091_506_000
    assert found[2].timestamp > 1_770_091_506_000


def test_standard_input_and_several_files(home: Path) -> None:
    line = CERBOS.read_bytes().splitlines()[0]
    result = run("--format", "cerbos", "-", CERBOS, stdin=line)
    assert "sent 7, rejected 2" in result.stdout
    assert len(records(home, "authz.decisions")) == 7


def test_hashed_sources_are_not_kept(home: Path) -> None:
    assert run("--format", "opa", "--raw", "hash", FIXTURES / "opa.ndjson").exit_code == 0
    for each in records(home, "authz.decisions"):
        event = decode_event(each)
        assert isinstance(event, AuthorizationDecision)
        assert event.source_record.content is None


def test_a_mapping_says_where_an_opa_decision_stands(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text("decision: input.method\nsubject_id: [/input/path]\n")
    (tmp_path / "log").write_text('{"result": true, "input": {"method": "deny", "path": "p"}}')
    result = run("--format", "opa", "--opa-mapping", tmp_path / "mapping.yaml", tmp_path / "log")
    assert result.exit_code == 0
    (found,) = records(home, "authz.decisions")
    (evaluation,) = decode_decision(found).evaluations
    assert (evaluation.decision, evaluation.subject.id) == (Decision.DENY, "p")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour: /x", "colour: is none of"),
        ("action: 7", "action: expected a path"),
        ("- a", "is no list of names with paths"),
        ("a: [", "mapping.yaml"),
    ],
)
def test_a_wrong_mapping_ends_with_status_2(
    home: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "mapping.yaml").write_text(text)
    result = run("--format", "opa", "--opa-mapping", tmp_path / "mapping.yaml", CERBOS)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not home.exists()


def test_a_mapping_is_for_opa_alone(tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text("action: /x")
    result = run("--format", "cerbos", "--opa-mapping", tmp_path / "mapping.yaml", CERBOS)
    assert result.exit_code == 2


def test_a_file_that_is_not_there_ends_with_status_3(tmp_path: Path) -> None:
    result = run("--format", "cerbos", tmp_path / "nothing")
    assert result.exit_code == 3
    assert "No such file" in result.stderr


def test_an_unknown_format_and_an_unknown_topic_end_with_status_2() -> None:
    assert run("--format", "syslog", CERBOS).exit_code == 2
    assert run("--format", "cerbos", "--topic", "no.such.topic", CERBOS).exit_code == 2


def test_an_empty_file_sends_nothing_and_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    result = run("--format", "cerbos", tmp_path / "empty")
    assert (result.exit_code, result.stdout) == (0, "sent 0, rejected 0\n")
