"""Verdicts on rows, files and proofs."""

from io import BytesIO
from pathlib import Path

import pytest

from schemas.records import Checkpoint
from streams.audit.merkle import Frontier
from streams.audit.proofs import TlogProof, inclusion_proof, render_tlog_proof
from streams.errors import BreakError, SettingsError, SourceUnreadableError
from streams.segments import encode_segment
from streams.verifier import (
    LogVerdict,
    LogWalk,
    Trust,
    Verdict,
    open_anchor,
    verdict_of,
    verify_files,
    verify_leaf,
    verify_proof_text,
    verify_rows,
)
from tests.support.forgeries import anchor, changed, flipped
from tests.support.progress import Counted
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    Key,
    SignedLog,
    audit_record,
    checkpoint_of,
    usual_log,
)

TRUST = Trust(keys=KEY.trusted())


def kinds(verdict: LogVerdict) -> list[tuple[str, int]]:
    return [(found.kind, found.index) for found in verdict.breaks]


def anchored(*anchors: object) -> Trust:
    return Trust(keys=KEY.trusted(), anchors=anchors)  # type: ignore[arg-type]


def segments(log: SignedLog, *cuts: int) -> list[bytes]:
    """The log archived in segments that close at these sizes."""
    sealed: list[bytes] = []
    first, opening = 0, None
    for size in cuts:
        rows, closing = [], None
        for row in log.rows:
            try:
                index = audit_record(row).index
                belongs = first <= index < size
            except AssertionError:
                at = int(checkpoint_of(row).note.split("\n")[1])
                belongs = first < at <= size or at == first == 0
                closing = checkpoint_of(row) if at == size else closing
            if belongs:
                rows.append(row)
        sealed.append(encode_segment(log.origin, first, opening, rows))
        first, opening = size, closing
    return sealed


def write(folder: Path, files: list[bytes]) -> list[Path]:
    paths = [folder / f"{number}.avro" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return paths


# --- rows ---


def test_intact_log_has_its_size_root_and_tail() -> None:
    log = usual_log()
    verdict = verify_rows(log.rows, TRUST)
    assert verdict == LogVerdict(
        origin=ORIGIN,
        size=12,
        root=anchor(log, 12).root.hex(),
        records=14,
        tail=2,
        checkpoints=4,
    )


def test_size_and_root_are_the_last_good_ones_before_the_first_break() -> None:
    log = usual_log()
    verdict = verify_rows(changed(log.rows, 5, flipped), TRUST)
    assert kinds(verdict) == [("altered", 5)]
    assert (verdict.size, verdict.root) == (4, anchor(log, 4).root.hex())


def test_later_breaks_of_other_kinds_are_told_by_index() -> None:
    log = usual_log()
    rows = changed(changed(log.rows, 6, flipped), 5, flipped)
    del rows[-4]  # record 11
    verdict = verify_rows(rows, anchored(anchor(log, 14)))
    assert kinds(verdict) == [("altered", 5), ("sequence", 11)]
    assert (verdict.size, verdict.root) == (4, anchor(log, 4).root.hex())
    assert verify_rows(log.rows[:6], anchored(anchor(log, 12))).breaks[0].index == 4


def test_empty_source_is_a_verdict_on_nothing() -> None:
    assert verify_rows([], TRUST) == LogVerdict(origin="")


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        (TRUST, "not given"),
        (anchored(anchor(usual_log(), 8)), "checked"),
        (anchored(anchor(usual_log(), 8, f"{BASE}/authz.decisions/9")), "missing"),
        (anchored(anchor(usual_log(), 40)), "checked"),
    ],
)
def test_verdict_tells_whether_an_anchor_was_compared(trust: Trust, expected: str) -> None:
    assert verify_rows(usual_log().rows, trust).anchored == expected


def test_anchor_below_the_opening_says_nothing(tmp_path: Path) -> None:
    log = usual_log()
    (_, second) = write(tmp_path, segments(log, 8, 12))
    (verdict,) = verify_files([second], anchored(anchor(log, 4)))
    assert (verdict.first, verdict.anchored, verdict.breaks) == (8, "missing", ())
    (verdict,) = verify_files([second], anchored(anchor(log, 8)))
    assert (verdict.anchored, verdict.breaks) == ("checked", ())


# --- anchors and keys ---


def test_anchor_is_opened_with_the_keys() -> None:
    note = KEY.note(4, b"\1" * 32)
    assert open_anchor(note.encode(), KEY.trusted()).size == 4
    assert open_anchor(note.encode(), None).size == 4


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff",
        KEY.note(4, b"\1" * 32).replace("\n4\n", "\n5\n").encode(),
        Key("thief").note(4, b"\1" * 32).encode(),
        KEY.note(4, b"\1" * 32, BASE).encode(),
    ],
    ids=["empty", "not UTF-8", "changed", "of another key", "of no partition"],
)
def test_bad_anchor_is_a_problem_of_settings(note: bytes) -> None:
    with pytest.raises(SettingsError):
        open_anchor(note, KEY.trusted())


# --- files ---


def test_segment_files_join_in_whatever_order_they_come(tmp_path: Path) -> None:
    paths = write(tmp_path, segments(usual_log(), 4, 8, 12))
    (verdict,) = verify_files(paths[::-1], TRUST)
    assert (verdict.first, verdict.size, verdict.records) == (0, 12, 12)
    assert verdict.breaks == ()


def test_middle_segment_alone_says_from_which_index(tmp_path: Path) -> None:
    paths = write(tmp_path, segments(usual_log(), 4, 8, 12))
    (verdict,) = verify_files(paths[1:2], TRUST)
    assert (verdict.first, verdict.size, verdict.records, verdict.breaks) == (4, 8, 4, ())


def test_missing_segment_between_two_is_missed_at_its_first_index(tmp_path: Path) -> None:
    paths = write(tmp_path, segments(usual_log(), 4, 8, 12))
    (verdict,) = verify_files([paths[0], paths[2]], TRUST)
    assert kinds(verdict) == [("sequence", 4)]


def test_segment_given_twice_is_out_of_sequence(tmp_path: Path) -> None:
    paths = write(tmp_path, segments(usual_log(), 4, 8))
    (verdict,) = verify_files([*paths, paths[1]], TRUST)
    assert kinds(verdict) == [("sequence", 8)]


def test_later_segment_without_opening_is_out_of_sequence(tmp_path: Path) -> None:
    log = usual_log()
    rows = log.rows[6:11]
    paths = write(tmp_path, [encode_segment(ORIGIN, 4, None, rows)])
    (verdict,) = verify_files(paths, TRUST)
    assert kinds(verdict)[0] == ("sequence", 0)


def test_opening_that_is_not_the_closing_checkpoint_before_is_altered(tmp_path: Path) -> None:
    log = usual_log()
    other = Checkpoint(
        checkpoint_of(log.rows[5]).note + "\N{EM DASH} x AAAAAAA=\n",
        checkpoint_of(log.rows[5]).frontier,
    )
    files = [segments(log, 4)[0], encode_segment(ORIGIN, 4, other, log.rows[6:11])]
    (verdict,) = verify_files(write(tmp_path, files), TRUST)
    assert kinds(verdict) == [("altered", 4)]


def test_opening_signed_by_somebody_else_has_no_known_key(tmp_path: Path) -> None:
    log = usual_log(Key("thief"))
    (verdict,) = verify_files(write(tmp_path, segments(log, 4, 8))[1:], TRUST)
    assert kinds(verdict) == [("unknown_key", 4)]


def test_export_that_does_not_end_sealed_has_an_unsealed_tail(tmp_path: Path) -> None:
    log = usual_log()
    paths = write(tmp_path, [encode_segment(ORIGIN, 0, None, log.rows)])
    (verdict,) = verify_files(paths, TRUST)
    assert kinds(verdict) == [("unsealed_tail", 12)]


def test_flipped_byte_in_a_row_of_a_file_is_named_by_its_record(tmp_path: Path) -> None:
    log = usual_log()
    rows = changed(log.rows[:-2], 9, flipped)
    paths = write(tmp_path, [encode_segment(ORIGIN, 0, None, rows)])
    (verdict,) = verify_files(paths, TRUST)
    assert kinds(verdict) == [("altered", 9)]


@pytest.mark.parametrize("at", [0, 2, 900, -5])
def test_flipped_byte_in_the_container_is_a_fault_of_the_archive(tmp_path: Path, at: int) -> None:
    (data,) = segments(usual_log(), 12)
    broken = bytearray(data)
    broken[at] ^= 0x55
    (verdict,) = verify_files(write(tmp_path, [bytes(broken)]), TRUST)
    assert kinds(verdict) == [("archive", 0)]


def test_container_fault_in_one_file_is_told_once_and_the_rest_is_read(tmp_path: Path) -> None:
    files = segments(usual_log(), 4, 8, 12)
    files[1] = files[1][:-20]
    (verdict,) = verify_files(write(tmp_path, files), TRUST)
    assert kinds(verdict) == [("archive", 4)]
    assert verdict.records == 8


def test_logs_are_told_apart_and_come_in_the_order_of_their_origins(tmp_path: Path) -> None:
    other = SignedLog(origin=f"{BASE}/authz.decisions/1").checkpoint()
    logs = [usual_log(), other]
    rows = encode_segment(logs[0].origin, 0, None, logs[0].rows[:-2])
    paths = write(tmp_path, [rows, encode_segment(other.origin, 0, None, other.rows)])
    verdict = verdict_of(verify_files(paths, TRUST), TRUST)
    assert [log.origin for log in verdict.logs] == [other.origin, ORIGIN]
    assert verdict.status == 21


def test_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadableError, match=r"gone\.avro"):
        verify_files([tmp_path / "gone.avro"], TRUST)


def test_rows_are_counted_for_whoever_watches(tmp_path: Path) -> None:
    seen = Counted()
    paths = write(tmp_path, segments(usual_log(), 4, 12))
    verify_files(paths, TRUST, progress=seen)
    assert seen.rows == 16
    assert seen.units == seen.done == sum(path.stat().st_size for path in paths)


def test_walk_of_a_stream_is_the_walk_of_a_file() -> None:
    walk = LogWalk(TRUST)
    for data in segments(usual_log(), 4, 12):
        walk.feed_file(BytesIO(data))
    assert (walk.records, walk.head[0]) == (12, 12)
    assert walk.verdict().breaks == ()


# --- one record ---


def evidence(log: SignedLog, index: int, size: int) -> tuple[tuple[bytes, ...], str]:
    frontier = Frontier()
    frontier.extend(log.leaves[:size])
    proof = inclusion_proof(Frontier(), log.leaves[:size], index)
    return proof, KEY.note(size, frontier.root())


def test_evidence_of_a_record_holds() -> None:
    log = usual_log()
    text = verify_leaf(ORIGIN, 5, log.leaves[5], evidence(log, 5, 12), KEY.trusted())
    assert text.size == 12


@pytest.mark.parametrize(
    ("origin", "index", "leaf", "kind"),
    [
        (ORIGIN, 4, 5, "altered"),
        (ORIGIN, 5, 4, "altered"),
        (ORIGIN, 12, 5, "altered"),
        (ORIGIN + "0", 5, 5, "bad_signature"),
    ],
)
def test_evidence_of_another_record_is_refused(
    origin: str, index: int, leaf: int, kind: str
) -> None:
    log = usual_log()
    with pytest.raises(BreakError) as caught:
        verify_leaf(origin, index, log.leaves[leaf], evidence(log, 5, 12), KEY.trusted())
    assert (caught.value.kind, caught.value.index) == (kind, index)


def test_tlog_proof_is_verified_and_compared_with_an_anchor() -> None:
    log = usual_log()
    proof, note = evidence(log, 5, 12)
    text = render_tlog_proof(TlogProof(5, proof, note))
    verdict = verify_proof_text(text, log.leaves[5], anchored(anchor(log, 12)))
    assert (verdict.first, verdict.size, verdict.records) == (5, 12, 1)
    assert (verdict.anchored, verdict.breaks) == ("checked", ())
    assert kinds(verify_proof_text(text, log.leaves[4], TRUST)) == [("altered", 5)]
    other = anchor(usual_log(), 12)._replace(root=b"\1" * 32)
    assert kinds(verify_proof_text(text, log.leaves[5], anchored(other))) == [("fork", 5)]
    thief = Trust(keys=Key("thief").trusted())
    assert kinds(verify_proof_text(text, log.leaves[5], thief)) == [("unknown_key", 5)]


def test_text_that_is_no_proof_is_unreadable() -> None:
    with pytest.raises(SourceUnreadableError):
        verify_proof_text("c2sp.org/tlog-proof@v1\nindex 07\n\nx", b"\0" * 32, TRUST)


# --- what is said ---


def verdict(*breaks: BreakError, signed: bool = True, told: str = "checked") -> Verdict:
    log = LogVerdict(origin=ORIGIN, anchored=told, breaks=breaks)
    return Verdict(logs=(log,), signed=signed)


@pytest.mark.parametrize(
    ("one", "last"),
    [
        (verdict(), "intact"),
        (verdict(told="missing"), "intact as presented"),
        (verdict(told="not given"), "intact as presented"),
        (verdict(BreakError("fork", 3, "x")), "broken"),
        (Verdict(logs=(), signed=True, unreadable=("x: gone",)), "unreadable"),
    ],
)
def test_only_keys_and_an_anchor_make_it_plainly_intact(one: Verdict, last: str) -> None:
    assert one.to_text().splitlines()[-1] == last


def test_without_keys_nothing_is_called_intact_to_people() -> None:
    text = verdict(signed=False).to_text()
    assert "intact" not in text
    assert "no signature was checked" in text
    assert verdict(signed=False).to_json()["verdict"] == "intact"
    assert verdict(signed=False).to_json()["signatures"] == "not given"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("altered", 20),
        ("sequence", 21),
        ("bad_signature", 22),
        ("unknown_key", 23),
        ("shorter_than_anchor", 24),
        ("fork", 25),
        ("unsealed_tail", 26),
        ("lock", 27),
        ("archive", 28),
    ],
)
def test_first_break_decides_the_status(kind: str, status: int) -> None:
    assert verdict(BreakError(kind, 1, "x"), BreakError("fork", 2, "y")).status == status
    assert f"BREAK {kind} at index 1: x" in verdict(BreakError(kind, 1, "x")).to_text()


def test_source_that_cannot_be_read_is_no_intact_log() -> None:
    logs = (LogVerdict(origin=ORIGIN),)
    assert Verdict(logs=logs, signed=True, unreadable=("x",)).status == 3
    assert Verdict(logs=(), signed=True).status == 3


def test_json_has_the_members_that_are_promised() -> None:
    told = verdict_of([verify_rows(changed(usual_log().rows, 5, flipped), TRUST)], TRUST).to_json()
    assert list(told) == ["verdict", "signatures", "logs"]
    (log,) = told["logs"]
    assert list(log) == [
        "origin", "first", "size", "root", "records", "tail", "checkpoints",
        "anchored", "roster", "source", "breaks",
    ]  # fmt: skip
    assert log["breaks"][0].keys() == {"kind", "index", "detail"}
    assert (told["verdict"], told["signatures"]) == ("broken", "checked")


def test_lagging_checkpoints_are_no_break() -> None:
    log = SignedLog().extend(3).extend(2).checkpoint(3).checkpoint(5)
    assert verify_rows(log.rows, TRUST).breaks == ()
