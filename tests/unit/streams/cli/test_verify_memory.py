"""What `verify` knows from elsewhere: what it saw before, and whole stores of anchors."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from schemas.records import Record
from streams.cli.verify import verify
from streams.segments import anchor_name, encode_segment
from streams.verifier import SeenNotes, Trust, Verdict, verdict_of
from tests.support.attacks import SILENT_ATTACKS
from tests.support.forgeries import anchor, changed, flipped
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    Key,
    SignedLog,
    checkpoint_of,
    usual_log,
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{KEY.vkey().render()}\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(verify, [str(a) for a in arguments])


def told(*arguments: object) -> Any:  # JSON
    return json.loads(run(*arguments, "--json").stdout)["logs"][0]


def export(folder: Path, rows: list[Record], name: str = "export.avro") -> Path:
    path = folder / name
    path.write_bytes(encode_segment(ORIGIN, 0, None, rows))
    return path


def sealed(size: int) -> list[Record]:
    log = SignedLog()
    for _ in range(size // 4):
        log.extend(4).checkpoint()
    return log.rows


# --- what was seen before ---


def test_a_first_look_is_remembered_verbatim(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    path = export(tmp_path, sealed(12))
    assert run(path, "--keys", keys, "--state", state).exit_code == 0
    note = checkpoint_of(sealed(12)[-1]).note
    assert json.loads(state.read_text())["notes"] == {ORIGIN: note}


def test_a_log_that_grew_moves_the_memory_on(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    path = tmp_path / "export.avro"
    for size in (4, 8, 12):
        export(tmp_path, sealed(size))
        assert run(path, "--keys", keys, "--state", state).exit_code == 0
    found = told(path, "--keys", keys, "--state", state)
    assert (found["size"], found["anchored"]) == (12, "checked")


@pytest.mark.parametrize("attack", SILENT_ATTACKS)
def test_what_contradicts_the_memory_is_named_and_not_remembered(
    tmp_path: Path, keys: Path, attack: str
) -> None:
    state = tmp_path / "seen.json"
    run(export(tmp_path, sealed(12)), "--keys", keys, "--state", state)
    before = state.read_text()
    forge, kind, index = SILENT_ATTACKS[attack]
    forged = export(tmp_path, forge())
    assert run(forged, "--keys", keys).exit_code == 0
    result = run(forged, "--keys", keys, "--state", state, "--json")
    (found,) = json.loads(result.stdout)["logs"][0]["breaks"]
    assert (found["kind"], found["index"]) == (kind, index)
    assert result.exit_code == {"shorter_than_anchor": 24, "fork": 25}[kind]
    assert state.read_text() == before


def test_a_broken_log_is_not_remembered(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    broken = export(tmp_path, changed(sealed(12), 5, flipped))
    assert run(broken, "--keys", keys, "--state", state).exit_code == 20
    assert not state.exists()


def test_no_log_is_remembered_beside_a_broken_one(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    other = SignedLog(origin=f"{BASE}/authz.decisions/2/e1").extend(2).checkpoint()
    good = tmp_path / "good.avro"
    good.write_bytes(encode_segment(other.origin, 0, None, other.rows))
    broken = export(tmp_path, changed(sealed(12), 5, flipped))
    assert run(good, broken, "--keys", keys, "--state", state).exit_code == 20
    assert not state.exists()


def test_a_file_behind_the_memory_does_not_move_it(tmp_path: Path, keys: Path) -> None:
    # The second half alone does not show that it follows from what was seen.
    state = tmp_path / "seen.json"
    run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state)
    before = state.read_text()
    rows = sealed(12)
    opening = checkpoint_of(rows[10])
    half = tmp_path / "half.avro"
    half.write_bytes(encode_segment(ORIGIN, 8, opening, rows[11:]))
    found = told(half, "--keys", keys, "--state", state)
    assert (found["first"], found["size"], found["anchored"]) == (8, 12, "missing")
    assert state.read_text() == before


def test_logs_are_remembered_beside_each_other(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state)
    other = SignedLog(origin=f"{ORIGIN}/e1").extend(2).checkpoint()
    path = tmp_path / "other.avro"
    path.write_bytes(encode_segment(other.origin, 0, None, other.rows))
    assert run(path, "--keys", keys, "--state", state).exit_code == 0
    assert set(json.loads(state.read_text())["notes"]) == {ORIGIN, f"{ORIGIN}/e1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "[]",
        "{}",
        '{"format": "attestream.seen/v2", "notes": {}}',
        '{"format": "attestream.seen/v1", "notes": []}',
        '{"format": "attestream.seen/v1", "notes": {"a": 1}}',
        '{"format": "attestream.seen/v1", "notes": {"a": "no note"}}',
        "\udcff",
    ],
)
def test_a_file_that_is_no_memory_is_refused_and_kept(
    tmp_path: Path, keys: Path, text: str
) -> None:
    state = tmp_path / "seen.json"
    state.write_bytes(text.encode(errors="surrogateescape"))
    result = run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state)
    assert result.exit_code == 2
    assert str(state) in result.stderr
    assert state.read_bytes() == text.encode(errors="surrogateescape")


def test_notes_of_somebody_else_are_refused(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    note = Key("thief").note(4, anchor(usual_log(), 4).root)
    state.write_text(json.dumps({"format": "attestream.seen/v1", "notes": {ORIGIN: note}}))
    assert run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state).exit_code == 2


def test_a_note_under_the_name_of_another_log_is_refused(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    note = KEY.note(4, anchor(usual_log(), 4).root)
    notes = {f"{ORIGIN}/e1": note}
    state.write_text(json.dumps({"format": "attestream.seen/v1", "notes": notes}))
    assert run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state).exit_code == 2


def test_what_nobody_signed_is_not_remembered(tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    result = run(export(tmp_path, sealed(4)), "--state", state)
    assert (result.exit_code, state.exists()) == (2, False)


def test_two_verifiers_never_share_a_memory(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    with state.with_name("seen.json.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state)
    assert result.exit_code == 2
    assert "another verifier" in result.stderr


def test_a_memory_in_no_folder_is_refused_before_anything_is_read(
    tmp_path: Path, keys: Path
) -> None:
    state = tmp_path / "nowhere" / "seen.json"
    assert run(tmp_path / "no.avro", "--keys", keys, "--state", state).exit_code == 2


def test_a_memory_that_cannot_be_written_is_an_error_and_stays(tmp_path: Path, keys: Path) -> None:
    state = tmp_path / "seen.json"
    run(export(tmp_path, sealed(4)), "--keys", keys, "--state", state)
    before = state.read_text()
    (tmp_path / "seen.json.unfinished").mkdir()
    result = run(export(tmp_path, sealed(8)), "--keys", keys, "--state", state)
    assert result.exit_code == 2
    assert state.read_text() == before


def test_an_empty_verdict_moves_nothing(tmp_path: Path) -> None:
    trust = Trust(keys=KEY.trusted())
    with SeenNotes.open(tmp_path / "seen.json", KEY.trusted()) as seen:
        seen.advance(Verdict(logs=(), signed=True))
        seen.advance(verdict_of([], trust))
    assert not (tmp_path / "seen.json").exists()


# --- stores of anchors ---


def anchors(folder: Path, *sizes: int, key: Key = KEY) -> Path:
    for size in sizes:
        path = folder / anchor_name(ORIGIN, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key.note(size, anchor(usual_log(), size).root))
    return folder


def test_a_directory_of_anchors_is_an_anchor(tmp_path: Path, keys: Path) -> None:
    store = anchors(tmp_path / "second", 4, 12)
    (store / f"anchors/v1/{ORIGIN}/claim").write_text("{}")
    path = export(tmp_path, sealed(12))
    assert told(path, "--keys", keys, "--anchor", store)["anchored"] == "checked"


def test_a_log_cut_behind_the_newest_anchor_of_a_store_is_named(
    tmp_path: Path, keys: Path
) -> None:
    store = anchors(tmp_path / "second", 4, 8, 12)
    result = run(export(tmp_path, sealed(8)), "--keys", keys, "--anchor", store)
    assert result.exit_code == 24


def test_a_planted_note_in_a_store_neither_counts_nor_hides_one(
    tmp_path: Path, keys: Path
) -> None:
    store = anchors(anchors(tmp_path / "second", 12), 16 - 4, key=KEY)
    folder = store / f"anchors/v1/{ORIGIN}"
    small = KEY.note(4, anchor(usual_log(), 4).root)
    (folder / f"{99:020d}.note").write_text(small)  # a good note under a large name
    (folder / f"{98:020d}.note").write_text(Key("thief").note(98, b"\1" * 32))
    (folder / f"{97:020d}.note").write_bytes(b"\xff")
    assert run(export(tmp_path, sealed(12)), "--keys", keys, "--anchor", store).exit_code == 0
    assert run(export(tmp_path, sealed(8)), "--keys", keys, "--anchor", store).exit_code == 24


def test_planted_notes_in_any_number_hide_no_anchor(tmp_path: Path, keys: Path) -> None:
    store = anchors(tmp_path / "second", 12)
    small = KEY.note(4, anchor(usual_log(), 4).root)
    for size in range(100, 230):
        (store / f"anchors/v1/{ORIGIN}/{size:020d}.note").write_text(small)
    assert run(export(tmp_path, sealed(8)), "--keys", keys, "--anchor", store).exit_code == 24


def test_signed_anchors_in_any_number_push_no_honest_one_out(tmp_path: Path, keys: Path) -> None:
    store = anchors(tmp_path / "second", 4, 8, 12)
    forged = SignedLog()
    forged.next_source_offset += 1
    forged.extend(100).checkpoint()
    folder = store / f"anchors/v1/{ORIGIN}"
    for size in range(13, 101):
        note = KEY.note(size, anchor(forged, size).root)
        (folder / f"{size:020d}.note").write_text(note)
    path = tmp_path / "forged.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, forged.rows))
    assert run(path, "--keys", keys, "--anchor", store).exit_code == 25


def test_a_store_without_a_good_anchor_is_a_wrong_setting(tmp_path: Path, keys: Path) -> None:
    path = export(tmp_path, sealed(4))
    store = anchors(tmp_path / "second", 4, key=Key("thief"))
    assert run(path, "--keys", keys, "--anchor", store).exit_code == 2
    (tmp_path / "empty").mkdir()
    assert run(path, "--keys", keys, "--anchor", tmp_path / "empty").exit_code == 2


def test_a_store_and_a_file_are_anchors_together(tmp_path: Path, keys: Path) -> None:
    note = tmp_path / "anchor.note"
    note.write_text(KEY.note(8, b"\1" * 32))
    store = anchors(tmp_path / "second", 4)
    path = export(tmp_path, sealed(12))
    result = run(path, "--keys", keys, "--anchor", store, "--anchor", note, "--json")
    (found,) = json.loads(result.stdout)["logs"][0]["breaks"]
    assert (found["kind"], found["index"]) == ("fork", 4)
