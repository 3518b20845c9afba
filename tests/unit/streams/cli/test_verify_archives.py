"""The command `verify` on archives in directories, with all that may be asked of them alone."""

import asyncio
import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import attestream
from schemas.codec import encode_head
from schemas.heads import LogHead
from streams.cli.verify import verify
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.ports import NewRecord
from streams.segments import anchor_name, encode_segment, manifest_name, segment_name
from tests.support.archived_logs import Archive, Folder
from tests.support.forgeries import anchor
from tests.support.root_logs import root_log
from tests.support.signed_logs import BASE, KEY, ORIGIN

HEADS = "attestream.heads"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{KEY.vkey().render()}\n")
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return asyncio.run(Archive(Folder(tmp_path / "archive")).fill())


def place(archive: Archive) -> Path:
    assert isinstance(archive.store, Folder)
    return archive.store.path


def run(archive: Archive, keys: Path, *arguments: object) -> Result:
    command = [str(place(archive)), "--keys", str(keys), *map(str, arguments)]
    return CliRunner().invoke(verify, command)


def log_in(result: Result) -> dict[str, Any]:
    logs: list[dict[str, Any]] = json.loads(result.stdout)["logs"]
    return next(log for log in logs if log["origin"] == ORIGIN)


def test_json_says_what_was_read_of_an_archive(archive: Archive, keys: Path) -> None:
    size = sum(map(len, archive.files.values()))
    assert log_in(run(archive, keys, "--json"))["archive"] == {
        "level": "record",
        "segments": 3,
        "read": 3,
        "without_manifest": 0,
        "remembered": 0,
        "remembered_since": None,
        "bytes": size,
        "bytes_read": size,
        "percent": None,
        "seed": None,
        "locked_until": None,
        "locks_ended": 0,
        "replica": None,
    }


def test_other_sources_have_no_archive_in_their_verdict(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    path = tmp_path / "export.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, archive.log.rows[:-2]))
    result = CliRunner().invoke(verify, [str(path), "--keys", str(keys), "--json"])
    assert "archive" not in log_in(result)


def test_sample_is_never_called_intact_and_its_seed_repeats_it(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    note = tmp_path / "anchor.note"
    note.write_text(KEY.note(12, anchor(archive.log, 12).root))
    result = run(archive, keys, "--percent", "1", "--anchor", note, "--json")
    said = log_in(result)["archive"]
    assert (result.exit_code, said["percent"], len(said["seed"])) == (0, 1, 16)
    assert said["read"] in {1, 2}
    again = run(archive, keys, "--percent", "1", "--seed", said["seed"], "--json")
    assert log_in(again)["archive"] == said
    text = run(archive, keys, "--percent", "1", "--seed", said["seed"], "--anchor", note).stdout
    assert f"a sample of 1 %, seed {said['seed']}" in text
    last = text.splitlines()[-1]
    assert last == f"intact as far as it was read: {said['read']} of 3 segments"


def test_second_run_goes_on_where_the_first_ended(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    resume = ("--resume", tmp_path / "verified.json")
    assert log_in(run(archive, keys, *resume, "--json"))["archive"]["remembered"] == 0
    said = log_in(run(archive, keys, *resume, "--json"))["archive"]
    assert (said["read"], said["remembered"]) == (1, 2)
    assert said["remembered_since"].endswith("Z")
    whole = log_in(run(archive, keys, *resume, "--whole", "--json"))["archive"]
    assert (whole["read"], whole["remembered"]) == (3, 0)
    text = run(archive, keys, *resume).stdout
    assert "2 segments verified in earlier runs, since 20" in text


def test_what_is_remembered_and_what_was_seen_go_together(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    both = ("--resume", tmp_path / "verified.json", "--state", tmp_path / "seen.json")
    assert run(archive, keys, *both).exit_code == 0
    assert run(archive, keys, *both).exit_code == 0
    for name in (segment_name(ORIGIN, 8), manifest_name(ORIGIN, 8), anchor_name(ORIGIN, 12)):
        (place(archive) / name).unlink()
    found = log_in(run(archive, keys, *both, "--json"))["breaks"]
    assert {b["kind"] for b in found} == {"archive", "shorter_than_anchor"}
    assert run(archive, keys, "--state", tmp_path / "seen.json").exit_code == 24
    assert run(archive, keys, "--resume", tmp_path / "verified.json").exit_code == 28


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--percent", "0"), "--percent"),
        (("--percent", "101"), "--percent"),
        (("--percent", "nan"), "--percent"),
        (("--percent", "5", "--resume", "verified.json"), "--resume"),
        (("--percent", "5", "--whole"), "--whole"),
        (("--seed", "7"), "--percent"),
        (("--level", "list", "--percent", "5"), "--level list"),
        (("--level", "list", "--resume", "verified.json"), "--level list"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: tuple[str, ...], word: str, archive: Archive, keys: Path
) -> None:
    result = run(archive, keys, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr


def test_nothing_is_remembered_without_keys(archive: Archive, tmp_path: Path) -> None:
    resume = tmp_path / "verified.json"
    command = [str(place(archive)), "--resume", str(resume)]
    result = CliRunner().invoke(verify, command)
    assert (result.exit_code, resume.exists()) == (2, False)


def test_replica_that_lags_is_said_and_one_that_lies_ends_with_28(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    replica = tmp_path / "replica"
    shutil.copytree(place(archive), replica)
    said = log_in(run(archive, keys, "--replica", replica, "--json"))["archive"]["replica"]
    assert said == {"state": "checked", "size": 12, "lacking": 0, "read": 3}
    (replica / manifest_name(ORIGIN, 8)).unlink()
    result = run(archive, keys, "--replica", replica)
    assert result.exit_code == 0
    assert "replica: lags: whole below index 8, 1 objects are not there" in result.stdout
    (replica / segment_name(ORIGIN, 4)).unlink()
    (replica / segment_name(ORIGIN, 4)).write_bytes(archive.encoded_again(4))
    assert run(archive, keys, "--replica", replica).exit_code == 28


def test_library_takes_the_options_of_the_command(archive: Archive, tmp_path: Path) -> None:
    options = attestream.Options(resume=tmp_path / "verified.json", replica=str(place(archive)))
    for remembered in (0, 2):
        verdict = attestream.verify([place(archive)], keys=KEY.trusted(), options=options)
        assert verdict.status == 0
        (log,) = verdict.logs
        assert log.archive is not None
        assert (log.archive.remembered, log.archive.replica is None) == (remembered, False)
    sampled = attestream.Options(percent=1, seed="x")
    verdict = attestream.verify([place(archive)], keys=KEY.trusted(), options=sampled)
    assert verdict.to_json()["logs"][0]["archive"]["seed"] == "x"
    with pytest.raises(attestream.SettingsError):
        attestream.verify([place(archive)], options=attestream.Options(seed="x"))


# --- sealed heads from elsewhere ---


def heads(archive: Archive, path: Path, *told: tuple[int, int]) -> Path:
    """An exported log of heads: the manifest that was the newest, and the size of the log."""
    values = []
    for first, size in told:
        note = KEY.note(size, anchor(archive.log, size).root)
        digest = sha256(archive.manifests[first]).digest()
        values.append(encode_head(LogHead(origin=ORIGIN, note=note, manifest_sha256=digest)))
    origin = f"{BASE}/{HEADS}/0"
    path.write_bytes(encode_segment(origin, 0, None, root_log(HEADS, values)))
    return path


def put_back(archive: Archive) -> None:
    for name in (segment_name(ORIGIN, 8), manifest_name(ORIGIN, 8), anchor_name(ORIGIN, 12)):
        (place(archive) / name).unlink()


@pytest.mark.parametrize("level", ["list", "file", "record"])
def test_archive_put_back_as_a_whole_is_told_by_heads_of_another_source(
    level: str, archive: Archive, keys: Path, tmp_path: Path
) -> None:
    roster = heads(archive, tmp_path / "heads.avro", (0, 4), (8, 12))
    result = run(archive, keys, roster, "--level", level, "--json")
    assert (result.exit_code, log_in(result)["roster"]) == (0, "checked")
    put_back(archive)
    assert run(archive, keys, "--level", level).exit_code == 0, "alone it shows nothing"
    result = run(archive, keys, roster, "--level", level, "--json")
    (found,) = log_in(result)["breaks"]
    assert (result.exit_code, found["kind"], found["index"]) == (28, "archive", 8)
    assert "manifests that the roster names" in found["detail"]


def test_heads_sealed_after_an_archive_was_put_back_do_not_launder_it(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    roster = heads(archive, tmp_path / "heads.avro", (0, 4), (8, 12), (4, 12))
    assert run(archive, keys, roster).exit_code == 0
    put_back(archive)
    assert run(archive, keys, roster).exit_code == 28


def test_head_of_another_source_convicts_an_archive_of_another_past(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    note = KEY.note(8, b"\1" * 32)
    origin = f"{BASE}/{HEADS}/0"
    head = encode_head(LogHead(origin=ORIGIN, note=note))
    path = tmp_path / "heads.avro"
    path.write_bytes(encode_segment(origin, 0, None, root_log(HEADS, [head])))
    assert run(archive, keys, path).exit_code == 25


def test_heads_of_a_source_named_behind_the_archive_count_as_well(
    archive: Archive, keys: Path, tmp_path: Path
) -> None:
    async def fill(home: Path) -> None:
        digest = sha256(archive.manifests[8]).digest()
        note = KEY.note(12, anchor(archive.log, 12).root)
        head = encode_head(LogHead(origin=ORIGIN, note=note, manifest_sha256=digest))
        database = EmbeddedDatabase.open(home)
        await database.ensure_topic(f"audit.{HEADS}", 1, audit=True)
        writer = EmbeddedPartitionWriter(database, f"audit.{HEADS}", 0)
        await writer.start()
        rows = root_log(HEADS, [head])
        await writer.append([NewRecord(r.timestamp, r.value or b"") for r in rows])
        database.close()

    home = tmp_path / "home"
    asyncio.run(fill(home))
    put_back(archive)
    logs = json.loads(run(archive, keys, home, "--json").stdout)["logs"]
    found = [b for log in logs if "archive" in log for b in log["breaks"]]
    assert [(b["kind"], b["index"]) for b in found] == [("archive", 8)]
