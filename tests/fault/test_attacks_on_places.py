"""Named attacks on an exported file and an embedded directory: what the command says."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.records import Record
from streams.audit.merkle import Frontier
from streams.audit.proofs import TlogProof, inclusion_proof, render_tlog_proof
from streams.cli.verify import verify
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.ports import NewRecord
from streams.segments import encode_segment
from streams.verifier import BREAK_STATUS
from tests.support.attacks import ATTACKS, SILENT_ATTACKS
from tests.support.forgeries import anchor
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    PARTITION,
    TOPIC,
    Key,
    SignedLog,
    usual_log,
)

OF_KEYS = {"unknown_key", "bad_signature"}
Place = Callable[[Path, Sequence[Record]], Path]


def exported(folder: Path, rows: Sequence[Record]) -> Path:
    path = folder / "export.avro"
    path.write_bytes(encode_segment(ORIGIN, 0, None, rows))
    return path


def kept(folder: Path, rows: Sequence[Record]) -> Path:
    asyncio.run(fill(folder / "home", {PARTITION: rows}))
    return folder / "home"


async def fill(home: Path, logs: dict[int, Sequence[Record]]) -> None:
    database = EmbeddedDatabase.open(home)
    await database.ensure_topic(f"audit.{TOPIC}", PARTITION + 1, audit=True)
    for partition, rows in logs.items():
        writer = EmbeddedPartitionWriter(database, f"audit.{TOPIC}", partition)
        await writer.start()
        await writer.append([NewRecord(r.timestamp, r.value or b"", r.key) for r in rows])
    database.close()


PLACES: dict[str, Place] = {"an exported file": exported, "an embedded directory": kept}


@pytest.fixture(params=PLACES.values(), ids=list(PLACES))
def place(request: pytest.FixtureRequest) -> Place:
    chosen: Place = request.param
    return chosen


def told(
    source: Path, *anchors: str, keys: str = KEY.vkey().render()
) -> tuple[int, list[tuple[str, int]], str]:
    """Exit status, breaks of the first log, and whether it was anchored."""
    logs, status = all_told(source, *anchors, keys=keys)
    found = [(b["kind"], b["index"]) for b in logs[0]["breaks"]]
    return status, found, logs[0]["anchored"]


def all_told(source: Path, *anchors: str, keys: str = KEY.vkey().render()) -> tuple[Any, int]:
    folder = source.parent
    (folder / "keys.txt").write_text(keys)
    arguments = [str(source), "--keys", str(folder / "keys.txt"), "--json"]
    for number, note in enumerate(anchors):
        (folder / f"{number}.note").write_text(note)
        arguments += ["--anchor", str(folder / f"{number}.note")]
    result = CliRunner().invoke(verify, arguments)
    return json.loads(result.stdout)["logs"], result.exit_code


def note_of(size: int) -> str:
    """A checkpoint of the honest log, kept elsewhere."""
    return KEY.note(size, anchor(usual_log(), size).root)


def honest() -> list[Record]:
    return usual_log().rows[:-2]


def test_honest_log_is_intact(tmp_path: Path, place: Place) -> None:
    assert told(place(tmp_path, honest()), note_of(12)) == (0, [], "checked")


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(tmp_path: Path, place: Place, attack: str) -> None:
    forge, kind, index = ATTACKS[attack]
    status, found, _ = told(place(tmp_path, forge(honest())))
    assert found[0] == (kind, index)
    assert status == BREAK_STATUS[kind]


@pytest.mark.parametrize(
    "attack", [name for name, one in ATTACKS.items() if one.kind not in OF_KEYS]
)
def test_attack_is_found_without_keys_too(tmp_path: Path, attack: str) -> None:
    forge, kind, index = ATTACKS[attack]
    path = exported(tmp_path, forge(honest()))
    result = CliRunner().invoke(verify, [str(path), "--json"])
    (log,) = json.loads(result.stdout)["logs"]
    assert (log["breaks"][0]["kind"], log["breaks"][0]["index"]) == (kind, index)


@pytest.mark.parametrize("attack", SILENT_ATTACKS)
def test_attack_that_only_an_anchor_shows(tmp_path: Path, place: Place, attack: str) -> None:
    forge, kind, index = SILENT_ATTACKS[attack]
    source = place(tmp_path, forge())
    assert told(source) == (0, [], "not given")
    assert told(source, note_of(12)) == (BREAK_STATUS[kind], [(kind, index)], "checked")


@pytest.mark.parametrize("attack", SILENT_ATTACKS)
def test_anchor_from_another_log_does_not_help(tmp_path: Path, place: Place, attack: str) -> None:
    source = place(tmp_path, SILENT_ATTACKS[attack].forge())
    other = KEY.note(12, b"\1" * 32, f"elsewhere.example/{TOPIC}/{PARTITION}")
    keys = f"{KEY.vkey().render()}\n{KEY.vkey('elsewhere.example').render()}"
    assert told(source, other, keys=keys) == (0, [], "missing")


def test_partition_that_is_dropped_is_named_by_its_anchor_alone(tmp_path: Path) -> None:
    other = SignedLog(origin=f"{BASE}/{TOPIC}/{PARTITION - 1}")
    asyncio.run(fill(tmp_path / "home", {PARTITION - 1: other.rows}))
    logs, status = all_told(tmp_path / "home")
    assert status == 0
    assert [(log["anchored"], log["roster"]) for log in logs] == [("not given", "not given")]
    logs, status = all_told(tmp_path / "home", note_of(12))
    assert status == 24
    lost = {log["origin"]: log["breaks"] for log in logs}[ORIGIN]
    assert [(b["kind"], b["index"]) for b in lost] == [("shorter_than_anchor", 0)]


def test_log_of_another_partition_put_in_its_place_is_named(tmp_path: Path) -> None:
    other = SignedLog(origin=f"{BASE}/{TOPIC}/{PARTITION - 1}")
    source = kept(tmp_path, other.rows)
    assert told(source)[:2] == (22, [("bad_signature", 0)])


def test_log_sealed_again_by_somebody_else_is_named(tmp_path: Path, place: Place) -> None:
    source = place(tmp_path, usual_log(Key("thief")).rows[:-2])
    assert told(source)[:2] == (23, [("unknown_key", 0)])


# --- the proof of one record ---


def proof_of(index: int = 5) -> TlogProof:
    return TlogProof(
        index, inclusion_proof(Frontier(), usual_log().leaves[:12], index), note_of(12)
    )


PROOFS: dict[str, tuple[TlogProof, int]] = {
    "as it was made": (proof_of(), 0),
    "with a node more": (proof_of()._replace(proof=(*proof_of().proof, bytes(32))), 20),
    "with a node less": (proof_of()._replace(proof=proof_of().proof[1:]), 20),
    "without its last node": (proof_of()._replace(proof=proof_of().proof[:-1]), 20),
    "with two nodes swapped": (proof_of()._replace(proof=proof_of().proof[::-1]), 20),
    "of another record": (proof_of(6), 20),
    "under another index": (proof_of()._replace(leaf_index=4), 20),
    "of a record behind the end": (proof_of()._replace(leaf_index=12), 20),
    "under a smaller checkpoint": (proof_of()._replace(checkpoint=note_of(8)), 20),
    "under the checkpoint of a thief": (
        proof_of()._replace(
            checkpoint=Key("thief").note(12, anchor(usual_log(), 12).root),
        ),
        23,
    ),
    "under a checkpoint with a root of its own": (
        proof_of()._replace(checkpoint=KEY.note(12, usual_log().leaves[5])),
        20,
    ),
}


@pytest.mark.parametrize("proof", PROOFS)
def test_proof(tmp_path: Path, proof: str) -> None:
    forged, status = PROOFS[proof]
    path, keys = tmp_path / "5.tlog-proof", tmp_path / "keys.txt"
    path.write_text(render_tlog_proof(forged))
    keys.write_text(KEY.vkey().render())
    leaf = usual_log().leaves[5].hex()
    arguments = [str(path), "--keys", str(keys), "--leaf", leaf, "--json"]
    result = CliRunner().invoke(verify, arguments)
    (log,) = json.loads(result.stdout)["logs"]
    assert result.exit_code == status
    assert [b["index"] for b in log["breaks"]] == [forged.leaf_index] * bool(status)
