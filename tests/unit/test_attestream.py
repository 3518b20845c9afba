"""The one module other people's code imports."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import attestream
from schemas.alerts import Evidence
from schemas.records import Record
from streams.audit.merkle import Frontier
from streams.audit.proofs import inclusion_proof
from streams.cli.verify import verify
from streams.segments import encode_segment
from tests.support.forgeries import changed, flipped
from tests.support.progress import Counted
from tests.support.signed_logs import KEY, ORIGIN, usual_log
from tests.tidy.repository import ROOT

KEYS = KEY.vkey().render()


def evidence(index: int) -> Evidence:
    log = usual_log()
    frontier = Frontier()
    frontier.extend(log.leaves[:12])
    return Evidence(
        origin=ORIGIN,
        index=index,
        leaf_hash=log.leaves[index],
        inclusion_proof=inclusion_proof(Frontier(), log.leaves[:12], index),
        checkpoint=KEY.note(12, frontier.root()),
    )


def test_evidence_of_an_alert_is_verified_with_the_keys_alone() -> None:
    assert attestream.verify_evidence(evidence(5), keys=KEYS).size == 12


def test_evidence_of_another_record_is_refused() -> None:
    forged = evidence(5)
    object.__setattr__(forged, "leaf_hash", evidence(6).leaf_hash)
    with pytest.raises(attestream.BreakError, match="altered at index 5"):
        attestream.verify_evidence(forged, keys=KEYS)


def test_keys_that_are_none_are_refused() -> None:
    with pytest.raises(attestream.SettingsError):
        attestream.verify_evidence(evidence(5), keys="")


def test_exported_file_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "export.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, usual_log().rows[:-2]))
    anchor = evidence(0).checkpoint
    verdict = attestream.verify_files([str(path)], keys=KEYS, anchors=[anchor])
    assert (verdict.status, verdict.to_text().splitlines()[-1]) == (0, "intact")


def test_example_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    guide = (ROOT / "docs/how-to/verify-offline.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    rows = usual_log().rows[:-2]
    (tmp_path / "keys.txt").write_text(KEYS)
    (tmp_path / "anchor.note").write_text(evidence(0).checkpoint)

    def said(exported: list[Record]) -> str:
        (tmp_path / "decisions-0.avro").write_bytes(encode_segment(ORIGIN, 0, None, exported))
        command = [sys.executable, "-c", example]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        return done.stdout

    assert said(rows) == said(rows) == f"0\n{ORIGIN} 12 checked []\n"
    assert said(rows[:6]) == f"24\n{ORIGIN} 4 checked ['shorter_than_anchor']\n"


def test_verdict_of_the_function_is_that_of_the_command(tmp_path: Path) -> None:
    path = tmp_path / "export.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, changed(usual_log().rows[:-2], 5, flipped)))
    keys = tmp_path / "keys.txt"
    keys.write_text(KEYS)
    told = CliRunner().invoke(verify, [str(path), "--keys", str(keys), "--json"])
    verdict = attestream.verify([path], keys=KEYS)
    assert (verdict.to_json(), verdict.status) == (json.loads(told.stdout), told.exit_code)


def test_progress_is_told_to_whoever_asks(tmp_path: Path) -> None:
    path = tmp_path / "export.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, usual_log().rows[:-2]))
    seen = Counted()
    options = attestream.Options(progress=seen, jobs=1)
    assert attestream.verify([path], keys=KEYS, options=options).status == 0
    assert (seen.rows, seen.done) == (16, path.stat().st_size)


def test_memory_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(attestream.SettingsError, match="give keys"):
        attestream.verify([tmp_path], state=tmp_path / "seen.json")


def test_rows_are_verified_and_the_break_is_named() -> None:
    rows = changed(usual_log().rows, 5, flipped)
    verdict = attestream.verify_rows(rows, keys=KEYS, origin=ORIGIN)
    assert [(b.kind, b.index) for b in verdict.logs[0].breaks] == [("altered", 5)]


def test_import_loads_no_optional_dependency() -> None:
    optional = {"aiohttp", "aiokafka", "boto3", "faust", "hnswlib", "numpy"}
    code = (
        f"import sys, attestream, streams.cli.verify; print(sorted({optional} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_that_of_the_package() -> None:
    assert attestream.__version__[0].isdigit()
