"""The command `verify` on everything that lies on a disk."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.audit.merkle import Frontier
from streams.audit.proofs import TlogProof, inclusion_proof, render_tlog_proof
from streams.cli.verify import verify
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.objects import DirectoryObjectStore
from streams.ports import NewRecord
from streams.segments import encode_segment, segment_name
from tests.support.forgeries import changed, flipped
from tests.support.signed_logs import (
    KEY,
    ORIGIN,
    PARTITION,
    TOPIC,
    Key,
    SignedLog,
    usual_log,
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"# test\n{KEY.vkey().render()}\n")
    return path


@pytest.fixture
def anchor_file(tmp_path: Path) -> Path:
    log = usual_log()
    frontier = Frontier()
    frontier.extend(log.leaves[:12])
    path = tmp_path / "anchor.note"
    path.write_text(KEY.note(12, frontier.root()))
    return path


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, usual_log().rows[:-2]))
    return path


def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(verify, [str(a) for a in arguments], env=env)


def told(*arguments: object) -> Any:  # JSON
    result = run(*arguments, "--json")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def embedded(home: Path, log: SignedLog) -> Path:
    asyncio.run(fill(home, log))
    return home


async def fill(home: Path, log: SignedLog) -> None:
    database = EmbeddedDatabase.open(home)
    await database.ensure_topic(f"audit.{TOPIC}", PARTITION + 1, audit=True)
    writer = EmbeddedPartitionWriter(database, f"audit.{TOPIC}", PARTITION)
    await writer.start()
    if log.rows:
        await writer.append([NewRecord(r.timestamp, r.value or b"") for r in log.rows])
    database.close()


def test_export_with_keys_and_anchor_is_intact(
    export: Path, keys: Path, anchor_file: Path
) -> None:
    result = run(export, "--keys", keys, "--anchor", anchor_file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "intact"


def test_export_without_anchor_is_intact_as_presented(export: Path, keys: Path) -> None:
    result = run(export, "--keys", keys)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "intact as presented")


def test_export_without_keys_is_never_called_intact(export: Path) -> None:
    result = run(export)
    assert result.exit_code == 0
    assert "intact" not in result.stdout


def test_flipped_byte_is_named_in_words_and_in_json(export: Path, keys: Path) -> None:
    rows = changed(usual_log().rows[:-2], 9, flipped)
    export.write_bytes(encode_segment(ORIGIN, 0, None, rows))
    result = run(export, "--keys", keys)
    assert result.exit_code == 20
    assert "BREAK altered at index 9" in result.stdout
    assert told(export, "--keys", keys)["logs"][0]["breaks"][0]["index"] == 9


def test_json_of_an_intact_log(export: Path, keys: Path) -> None:
    found = told(export, "--keys", keys)
    assert (found["verdict"], found["signatures"]) == ("intact", "checked")
    (log,) = found["logs"]
    assert (log["origin"], log["first"], log["size"], log["records"]) == (ORIGIN, 0, 12, 12)


def test_key_of_somebody_else_is_unknown(export: Path, keys: Path) -> None:
    keys.write_text(Key("thief").vkey().render())
    assert run(export, "--keys", keys).exit_code == 23


@pytest.mark.parametrize("text", ["", "nonsense", "\N{EM DASH}"])
def test_bad_key_file_is_a_wrong_setting(export: Path, keys: Path, text: str) -> None:
    keys.write_text(text)
    result = run(export, "--keys", keys)
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(keys) in result.stderr


def test_key_file_that_is_not_there_is_a_wrong_setting(export: Path, tmp_path: Path) -> None:
    assert run(export, "--keys", tmp_path / "gone").exit_code == 2


def test_bad_anchor_is_a_wrong_setting(export: Path, keys: Path, anchor_file: Path) -> None:
    anchor_file.write_text(anchor_file.read_text().replace("\n12\n", "\n13\n"))
    result = run(export, "--keys", keys, "--anchor", anchor_file)
    assert (result.exit_code, result.stdout) == (2, "")


def test_source_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    assert run(tmp_path / "gone").exit_code == 3
    assert told(tmp_path / "gone")["verdict"] == "unreadable"


def test_file_and_directory_of_no_known_form_are_unreadable(tmp_path: Path, keys: Path) -> None:
    result = run(keys)
    assert (result.exit_code, "neither a segment" in result.stdout) == (3, True)
    assert run(tmp_path).exit_code == 3


def test_broken_log_weighs_more_than_an_unreadable_source(export: Path, tmp_path: Path) -> None:
    rows = changed(usual_log().rows[:-2], 9, flipped)
    export.write_bytes(encode_segment(ORIGIN, 0, None, rows))
    result = run(tmp_path / "gone", export)
    assert result.exit_code == 20
    assert "unreadable:" in result.stdout


def test_embedded_home_and_a_copy_of_its_file_are_verified(
    tmp_path: Path, keys: Path, anchor_file: Path
) -> None:
    home = embedded(tmp_path / "home", usual_log())
    result = run(home, "--keys", keys, "--anchor", anchor_file)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "intact")
    copy = tmp_path / "copy"
    copy.write_bytes((home / "attestream.db").read_bytes())
    (log,) = told(copy, "--keys", keys)["logs"]
    assert (log["origin"], log["size"], log["tail"]) == (ORIGIN, 12, 2)


def test_embedded_home_without_a_log_is_unreadable_unless_an_anchor_knows_one(
    tmp_path: Path, keys: Path, anchor_file: Path
) -> None:
    log = usual_log()
    log.rows.clear()
    home = embedded(tmp_path / "home", log)
    assert run(home, "--keys", keys).exit_code == 3
    result = run(home, "--keys", keys, "--anchor", anchor_file)
    assert (result.exit_code, ORIGIN in result.stdout) == (24, True)


def test_anchor_of_another_deployment_with_the_same_topic_says_nothing(
    tmp_path: Path, keys: Path
) -> None:
    other = tmp_path / "other.note"
    other.write_text(KEY.note(4, b"\1" * 32, f"audit.example.com/test/b/{TOPIC}/{PARTITION}"))
    home = embedded(tmp_path / "home", usual_log())
    (log,) = told(home, "--keys", keys, "--anchor", other)["logs"]
    assert (log["anchored"], log["breaks"]) == ("missing", [])


@pytest.mark.parametrize("level", ["list", "file", "record"])
def test_archive_directory_is_verified(tmp_path: Path, keys: Path, level: str) -> None:
    store = DirectoryObjectStore(tmp_path / "archive-home")
    body = encode_segment(ORIGIN, 0, None, usual_log().rows[:-2])
    asyncio.run(store.create(segment_name(ORIGIN, 0), body, retain_days=1))
    result = run(
        tmp_path / "archive-home", "--keys", keys, "--level", level, env={"S3_REGION": ""}
    )
    assert (result.exit_code, ORIGIN in result.stdout) == (0, True)


def test_tlog_proof_needs_the_leaf_it_proves(tmp_path: Path, keys: Path) -> None:
    log = usual_log()
    frontier = Frontier()
    frontier.extend(log.leaves[:12])
    proof = TlogProof(5, inclusion_proof(Frontier(), log.leaves[:12], 5), "")
    note = KEY.note(12, frontier.root())
    path = tmp_path / "5.tlog-proof"
    path.write_text(render_tlog_proof(proof._replace(checkpoint=note)))
    assert run(path, "--keys", keys).exit_code == 2
    assert run(path, "--keys", keys, "--leaf", "12").exit_code == 2
    assert run(path, "--keys", keys, "--leaf", log.leaves[4].hex()).exit_code == 20
    assert run(path, "--keys", keys, "--leaf", log.leaves[5].hex()).exit_code == 0


@pytest.mark.parametrize(
    "address", ["kafka://", "kafka://localhost:1", "kafka://localhost:1/topic/x", "s3://No_Bucket"]
)
def test_address_that_is_none_is_a_wrong_setting(address: str) -> None:
    assert run(address, env={"ATTESTREAM_NO_SUCH_SETTING": "1"}).exit_code == 2


def test_help_has_an_example_and_the_exit_statuses() -> None:
    result = run("--help")
    assert "attestream verify decisions-0.avro" in result.stdout
    assert "24 shorter" in result.stdout


def test_long_work_says_so_where_there_is_no_terminal(
    export: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.cli.progress.SECONDS_A_LINE", 0)
    result = run(export, "--keys", keys, "--json")
    assert "files: 16 records verified, 100%, 0:00:00 left\n" in result.stderr
    assert json.loads(result.stdout)["verdict"] == "intact"


def test_bar_on_a_terminal_stays_off_stdout(export: Path, keys: Path) -> None:
    result = run(export, "--keys", keys, "--json", env={"FORCE_COLOR": "1"})
    assert "records" in result.stderr
    assert json.loads(result.stdout)["verdict"] == "intact"
