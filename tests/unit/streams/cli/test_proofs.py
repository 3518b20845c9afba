"""The commands `audit prove` and `audit consistency`, with and without published tiles."""

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from projections.tiles.projection import PublishRules, TilesProjection, TilesWorld
from schemas.audit_values import decode_audit_value
from schemas.records import Checkpoint
from streams.audit.proofs import parse_tlog_proof, verify_consistency
from streams.cli.audit import audit
from streams.cli.verify import verify
from streams.clock import SystemClock
from streams.embedded.engine import EmbeddedEngine
from streams.objects import DirectoryObjectStore
from streams.ports import NewRecord
from streams.settings import load_settings
from tests.support.sealed_log import BASE, KEYS, ORIGIN, TOPIC, SealedLog, batches_of

SIZE = 300


def log_of(salt: bytes = b"") -> SealedLog:
    log = SealedLog(salt)
    for length in (7, 250, 43):
        log.append(length)
        log.checkpoint()
    return log


LOG = log_of()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An embedded home whose audit partition holds LOG."""
    path = tmp_path / "home"
    asyncio.run(fill(path))
    return path


def environment(home: Path) -> dict[str, str]:
    return {"ATTESTREAM_HOME": str(home), "ATTESTREAM_ORIGIN": BASE}


async def fill(home: Path) -> None:
    engine = await EmbeddedEngine.open(load_settings(environment(home)), create=True)
    writer = engine.writer(engine.topology.audit(TOPIC), 0)
    await writer.start()
    await writer.append([NewRecord(r.timestamp, r.value or b"") for r in LOG.rows])
    await writer.close()
    await engine.close()


async def publish(home: Path, size: int) -> None:
    """Tiles up to the checkpoint of `size`."""
    world = TilesWorld(
        objects=DirectoryObjectStore(home / "archive"),
        keys=KEYS,
        clock=SystemClock(),
        open_reader=lambda: pytest.fail("nothing is published yet"),
        rules=PublishRules(records_max=1),
    )
    projection = TilesProjection(world, ORIGIN)
    await projection.resume()
    for batch in batches_of(LOG):
        if batch.size <= size:
            await projection.apply(batch)


@pytest.fixture
def tiled(home: Path) -> Path:
    asyncio.run(publish(home, SIZE))
    return home


def run(home: Path, *arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(a) for a in arguments], env=environment(home))


def told(result: Result) -> Any:  # JSON
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("published", [0, 7, SIZE])
def test_a_proof_is_written_and_verifies(home: Path, tmp_path: Path, published: int) -> None:
    asyncio.run(publish(home, published))
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{vkey.render()}\n" for vkey in KEYS.vkeys))
    for index in (0, 6, 7, 255, 256, SIZE - 1):
        out = tmp_path / f"{index}.tlog-proof"
        result = run(home, "prove", ORIGIN, index, "-o", out, "--json")
        made = told(result)
        assert made["leaf"] == LOG.leaves()[index].hex()
        assert ("from the log" in result.stderr) == (index >= published)
        assert parse_tlog_proof(out.read_text()).leaf_index == index
        checked = CliRunner().invoke(
            verify, [str(out), "--keys", str(keys), "--leaf", made["leaf"], "--json"]
        )
        assert checked.exit_code == 0, checked.output
        assert json.loads(checked.stdout)["logs"][0]["size"] == made["size"]


def test_a_proof_never_overwrites_a_file(tiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tlog-proof"
    assert run(tiled, "prove", ORIGIN, 3, "-o", out).exit_code == 0
    before = out.read_bytes()
    again = run(tiled, "prove", ORIGIN, 4, "-o", out)
    assert (again.exit_code, out.read_bytes()) == (2, before)
    assert "exists already" in again.stderr


def test_what_cannot_be_proved_is_said(tiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tlog-proof"
    beyond = run(tiled, "prove", ORIGIN, SIZE, "-o", out)
    assert (beyond.exit_code, out.exists()) == (3, False)
    assert f"has no record {SIZE}" in beyond.stderr
    for origin in ("test.example/nothing/0", "test.example/../0", "a//b"):
        assert run(tiled, "prove", origin, 0, "-o", out).exit_code == 2
        assert run(tiled, "consistency", origin, 1).exit_code == 2


def test_damaged_tiles_are_named_and_the_log_proves_instead(tiled: Path, tmp_path: Path) -> None:
    tile = tiled / "archive" / "tiles" / "v1" / ORIGIN / "tile" / "0" / "000"
    body = tile.read_bytes()
    tile.unlink()
    tile.write_bytes(bytes(32) + body[32:])
    result = run(tiled, "prove", ORIGIN, 1, "-o", tmp_path / "a", "--json")
    assert told(result)["leaf"] == LOG.leaves()[1].hex()
    assert "the tiles cannot be used: archive at index 1" in result.stderr
    compared = run(tiled, "consistency", ORIGIN, 1, "--json")
    assert told(compared)["verdict"] == "consistent"
    assert "the tiles cannot be used" in compared.stderr


@pytest.mark.parametrize("published", [0, 257, SIZE])
@pytest.mark.parametrize(
    ("sizes", "expected"), [((1, 7), (1, 7)), ((7, SIZE), (7, SIZE)), ((5, 5), (5, 5))]
)
def test_two_sizes_are_proved_consistent(
    home: Path, published: int, sizes: tuple[int, ...], expected: tuple[int, int]
) -> None:
    asyncio.run(publish(home, published))
    found = told(run(home, "consistency", ORIGIN, *sizes, "--json"))
    assert (found["verdict"], tuple(found["sizes"])) == ("consistent", expected)
    check(found)


def check(found: Any) -> None:
    old, new = (bytes.fromhex(root) for root in found["roots"])
    proof = [b64decode(node, validate=True) for node in found["proof"]]
    verify_consistency(tuple(found["sizes"]), (old, new), proof)
    assert found["roots"] == [LOG._frontiers[size].root().hex() for size in found["sizes"]]


def test_the_larger_size_is_the_newest_by_default(tiled: Path) -> None:
    found = told(run(tiled, "consistency", ORIGIN, 12, "--json"))
    assert found["sizes"] == [12, SIZE]
    check(found)


def test_people_read_proof_lines_and_a_verdict(tiled: Path) -> None:
    result = run(tiled, "consistency", ORIGIN, 256, 257)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == ORIGIN
    assert lines[-1] == "consistent: the log of 257 records begins with the one of 256"
    assert len(lines[3:-1]) == 1


@pytest.mark.parametrize("published", [0, SIZE])
@pytest.mark.parametrize("size", [7, SIZE])
def test_an_honest_anchor_is_consistent(
    home: Path, tmp_path: Path, published: int, size: int
) -> None:
    asyncio.run(publish(home, published))
    found = told(
        run(home, "consistency", ORIGIN, "--anchor", anchor(tmp_path, LOG, size), "--json")
    )
    assert (found["verdict"], found["sizes"]) == ("consistent", [size, SIZE])
    assert found["anchor"] == found["roots"][0]
    check(found)


@pytest.mark.parametrize("published", [0, SIZE])
def test_an_anchor_of_another_history_is_a_fork(
    home: Path, tmp_path: Path, published: int
) -> None:
    asyncio.run(publish(home, published))
    other = anchor(tmp_path, log_of(b"other"), 7)
    result = run(home, "consistency", ORIGIN, "--anchor", other)
    assert result.exit_code == 25
    assert "FORK" in result.stdout
    found = run(home, "consistency", ORIGIN, "--anchor", other, "--json")
    assert found.exit_code == 25
    assert json.loads(found.stdout)["verdict"] == "fork"


@pytest.mark.parametrize("published", [0, SIZE])
def test_a_log_shorter_than_its_anchor_is_named(
    home: Path, tmp_path: Path, published: int
) -> None:
    asyncio.run(publish(home, published))
    longer = log_of()
    longer.append(5)
    longer.checkpoint()
    path = anchor(tmp_path, longer, SIZE + 5)
    result = run(home, "consistency", ORIGIN, "--anchor", path, "--json")
    assert result.exit_code == 24
    found = json.loads(result.stdout)
    assert (found["verdict"], found["sizes"]) == ("shorter_than_anchor", [SIZE + 5, SIZE])
    assert found["roots"][0] is None
    assert "SHORTER" in run(home, "consistency", ORIGIN, "--anchor", path).stdout


def test_sizes_that_make_no_sense_are_refused(tiled: Path, tmp_path: Path) -> None:
    note = anchor(tmp_path, LOG, 7)
    foreign = tmp_path / "foreign.note"
    foreign.write_text(note.read_text().replace("decisions/0", "decisions/1"))
    for arguments in (
        (),
        (9, 3),
        (3, 9, "--anchor", note),
        (3, "--anchor", note),
        ("--anchor", foreign),
        ("--anchor", anchor(tmp_path, LOG, 0)),
    ):
        assert run(tiled, "consistency", ORIGIN, *arguments).exit_code == 2, arguments
    assert run(tiled, "consistency", ORIGIN, 3, SIZE + 1).exit_code == 3
    assert run(tiled, "consistency", ORIGIN, SIZE + 1).exit_code == 3


def anchor(folder: Path, log: SealedLog, size: int) -> Path:
    path = folder / f"{size}.note"
    values = (decode_audit_value(row.value or b"") for row in log.rows)
    notes = [value.note for value in values if isinstance(value, Checkpoint)]
    path.write_text(next(note for note in notes if note.split("\n")[1] == str(size)))
    return path


def test_verify_reads_the_static_logs_below_a_directory(tiled: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{vkey.render()}\n" for vkey in KEYS.vkeys))
    root = tiled / "archive"
    for place in (root, root / "tiles", root / "tiles" / "v1", root / "tiles" / "v1" / ORIGIN):
        done = CliRunner().invoke(verify, [str(place), "--keys", str(keys), "--json"])
        assert done.exit_code == 0, done.output
        (log,) = json.loads(done.stdout)["logs"]
        assert (log["origin"], log["size"], log["records"]) == (ORIGIN, SIZE, SIZE)


def test_verify_knows_a_static_log_that_was_moved_or_renamed(tiled: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{vkey.render()}\n" for vkey in KEYS.vkeys))
    standing = tiled / "archive" / "tiles" / "v1" / ORIGIN
    moved = standing.rename(tmp_path / "copied")
    done = CliRunner().invoke(verify, [str(moved), "--keys", str(keys)])
    assert done.exit_code == 0, done.output
    # Under another origin's name it is not that log.
    renamed = tmp_path / "tiles" / "v1" / BASE / TOPIC / "1"
    renamed.parent.mkdir(parents=True)
    moved.rename(renamed)
    assert CliRunner().invoke(verify, [str(renamed), "--keys", str(keys)]).exit_code == 22


def test_verify_names_the_altered_entry_of_a_static_log(tiled: Path) -> None:
    standing = tiled / "archive" / "tiles" / "v1" / ORIGIN
    bundle = standing / "tile" / "entries" / "001.p" / "44"
    body = bundle.read_bytes()
    bundle.unlink()
    bundle.write_bytes(body.replace(b"\n280\n", b"\n281\n"))
    done = CliRunner().invoke(verify, [str(standing), "--json"])
    assert done.exit_code == 20
    breaks = json.loads(done.stdout)["logs"][0]["breaks"]
    assert ("altered", 280) in [(b["kind"], b["index"]) for b in breaks]
