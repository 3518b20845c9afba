"""`verify` with an operator's key alone, and with the roster: trust and logs that moved."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.codec import encode_head
from schemas.heads import LogHead
from schemas.records import Checkpoint, Record
from streams.audit.operations import EpochForked, KeyAdded, KeyRetired, operator_name
from streams.cli.verify import verify
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.ports import NewRecord
from streams.segments import encode_segment
from tests.support.forgeries import anchor
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.root_logs import root_log
from tests.support.signed_logs import BASE, KEY, ORIGIN, PARTITION, TOPIC, Key, SignedLog

NEW, THIEF = Key("new"), Key("thief")
OPERATOR_KEY = OPERATOR.vkey(operator_name(BASE)).render()
LOG_KEY = KEY.vkey().render()
OPERATIONS, HEADS = "attestream.operations", "attestream.heads"


def head_of(log: SignedLog, size: int, key: Key = KEY) -> bytes:
    note = key.note(size, anchor(log, size).root, log.origin)
    return encode_head(LogHead(origin=log.origin, note=note))


def log_of(size: int, origin: str = ORIGIN, key: Key = KEY) -> SignedLog:
    log = SignedLog(key, origin)
    for _ in range(size // 4):
        log.extend(4).checkpoint()
    return log


async def fill(home: Path, logs: Mapping[tuple[str, int], Sequence[Record]]) -> None:
    database = EmbeddedDatabase.open(home)
    for (topic, partition), rows in logs.items():
        await database.ensure_topic(f"audit.{topic}", partition + 1, audit=True)
        writer = EmbeddedPartitionWriter(database, f"audit.{topic}", partition)
        await writer.start()
        await writer.append([NewRecord(r.timestamp, r.value or b"") for r in rows])
    database.close()


class World:
    """A home, what is in it, and what `verify` says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs: dict[tuple[str, int], Sequence[Record]] = {}

    def told(self, keys: str = OPERATOR_KEY, *more: str) -> tuple[int, dict[str, Any]]:
        asyncio.run(fill(self.folder / "home", self.logs))
        return run(self.folder, [self.folder / "home"], keys, *more)


def run(
    folder: Path, sources: Sequence[Path], keys: str, *more: str
) -> tuple[int, dict[str, Any]]:
    (folder / "keys.txt").write_text(keys)
    arguments = [*map(str, sources), "--keys", str(folder / "keys.txt"), "--json", *more]
    result = CliRunner().invoke(verify, arguments)
    logs = json.loads(result.stdout)["logs"] if result.stdout else []
    return result.exit_code, {log["origin"]: log for log in logs}


def breaks(log: dict[str, Any]) -> list[tuple[str, int]]:
    return [(b["kind"], b["index"]) for b in log["breaks"]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def added(key: Key) -> bytes:
    return signed_order(KeyAdded(vkey=key.vkey(), prefix=BASE))


def retired(key: Key, log: SignedLog, size: int) -> bytes:
    return signed_order(KeyRetired(vkey=key.vkey(), heads=(anchor(log, size),)))


def rotated(log: SignedLog, size: int, *after: Key) -> SignedLog:
    """Sealed to `size` by KEY, signed there by both, and 4 more by each of `after`."""
    both = [KEY.note(size, log.frontier.root()), NEW.note(size, log.frontier.root())]
    text = both[0].rpartition("\n\n")[0]
    lines = "".join(note.rpartition("\n\n")[2] for note in both)
    log.rows.append(log.row(Checkpoint(f"{text}\n\n{lines}", log.frontier.nodes)))
    log._offset += 2
    for key in after:
        log.extend(4).checkpoint(key=key)
    return log


# --- keys by the operator's orders ---


def test_an_operator_key_alone_finds_the_keys_of_the_logs(world: World) -> None:
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, [added(KEY)])
    world.logs[TOPIC, PARTITION] = log_of(8).rows
    status, logs = world.told()
    assert (status, set(logs)) == (0, {ORIGIN, f"{BASE}/{OPERATIONS}/0"})


def test_without_the_orders_no_key_is_known(world: World) -> None:
    world.logs[TOPIC, PARTITION] = log_of(8).rows
    status, logs = world.told()
    assert (status, breaks(logs[ORIGIN])) == (23, [("unknown_key", 0)])


def test_an_order_that_the_operator_did_not_sign_is_ignored(world: World) -> None:
    order = signed_order(KeyAdded(vkey=THIEF.vkey(), prefix=BASE), THIEF)
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, [added(KEY), order])
    world.logs[TOPIC, PARTITION] = log_of(8, key=THIEF).rows
    status, logs = world.told()
    assert (status, breaks(logs[ORIGIN])) == (23, [("unknown_key", 0)])


def test_the_operator_signs_orders_and_no_log(world: World) -> None:
    origin = f"{operator_name(BASE)}/{TOPIC}/{PARTITION}"
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, [added(KEY)])
    world.logs[TOPIC, PARTITION] = log_of(8, origin, OPERATOR).rows
    status, logs = world.told()
    assert (status, breaks(logs[origin])) == (23, [("unknown_key", 0)])


def test_an_order_that_is_not_sealed_yet_does_not_count(world: World) -> None:
    rows = root_log(OPERATIONS, [added(KEY), added(NEW)])
    (tail,) = root_log(OPERATIONS, [added(KEY), added(NEW), added(THIEF)])[3:4]
    world.logs[OPERATIONS, 0] = [*rows, tail]
    world.logs[TOPIC, PARTITION] = log_of(8, key=THIEF).rows
    status, logs = world.told()
    assert (status, breaks(logs[ORIGIN])) == (23, [("unknown_key", 0)])


def test_a_rotation_is_followed(world: World) -> None:
    log = rotated(log_of(8), 8, NEW, NEW)
    orders = [added(KEY), added(NEW), retired(KEY, log, 8)]
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, orders, NEW)
    world.logs[TOPIC, PARTITION] = log.rows
    status, logs = world.told()
    assert (status, logs[ORIGIN]["size"], breaks(logs[ORIGIN])) == (0, 16, [])


def test_a_retired_key_signs_nothing_behind_its_head(world: World) -> None:
    log = rotated(log_of(8), 8, NEW, KEY)
    orders = [added(KEY), added(NEW), retired(KEY, log, 8)]
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, orders, NEW)
    world.logs[TOPIC, PARTITION] = log.rows
    status, logs = world.told()
    assert (status, breaks(logs[ORIGIN])) == (23, [("unknown_key", 12)])


def test_cut_and_sealed_again_with_a_retired_key_is_a_fork(world: World) -> None:
    log = log_of(8)
    forged = SignedLog().extend(4).checkpoint().append([Record(900, 1, None, b"new")])
    forged.next_source_offset = 901
    forged.extend(3).checkpoint()
    world.logs[OPERATIONS, 0] = root_log(
        OPERATIONS, [added(KEY), added(NEW), retired(KEY, log, 8)], NEW
    )
    world.logs[TOPIC, PARTITION] = forged.rows
    status, logs = world.told()
    assert (status, breaks(logs[ORIGIN])) == (25, [("fork", 0)])


def test_a_log_shorter_than_the_head_of_a_retired_key_is_named(world: World) -> None:
    log = log_of(8)
    world.logs[OPERATIONS, 0] = root_log(
        OPERATIONS, [added(KEY), added(NEW), retired(KEY, log, 8)], NEW
    )
    world.logs[TOPIC, PARTITION] = log_of(4).rows
    status, logs = world.told()
    assert (status, breaks(logs[ORIGIN])) == (24, [("shorter_than_anchor", 4)])


def test_an_order_of_the_operator_that_nobody_knows_is_not_passed_over(world: World) -> None:
    text = "attestream.operation/everything-forgiven/v9\norigin x\n"
    vkey = OPERATOR.vkey(operator_name(BASE))
    line = vkey.key_id + OPERATOR.sign(text.encode())
    note = f"{text}\n\N{EM DASH} {vkey.name} {b64encode(line).decode()}\n".encode()
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, [added(KEY), note])
    world.logs[TOPIC, PARTITION] = log_of(8).rows
    assert world.told()[0] == 3


def test_what_is_behind_a_fork_of_the_operator_is_void(world: World) -> None:
    log = log_of(8)
    fork = EpochForked(
        origin=ORIGIN,
        size=4,
        root=anchor(log, 4).root,
        epoch=1,
        cluster_id="c",
        topic_id="t",
        offset=104,
    )
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, [added(KEY), signed_order(fork)])
    world.logs[TOPIC, PARTITION] = [r for n, r in enumerate(log.rows) if n != 8]
    status, logs = world.told()
    assert (status, logs[ORIGIN]["size"], breaks(logs[ORIGIN])) == (0, 4, [])
    assert world_without_order(world) == 21


def world_without_order(world: World) -> int:
    other = World(world.folder / "other")
    other.folder.mkdir()
    other.logs = {(TOPIC, PARTITION): world.logs[TOPIC, PARTITION]}
    return other.told(LOG_KEY)[0]


def test_exported_files_follow_the_operator_too(tmp_path: Path) -> None:
    log = rotated(log_of(8), 8, NEW)
    orders = [added(KEY), added(NEW), retired(KEY, log, 8)]
    operations = tmp_path / "operations.avro"
    origin = f"{BASE}/{OPERATIONS}/0"
    operations.write_bytes(encode_segment(origin, 0, None, root_log(OPERATIONS, orders, NEW)))
    export = tmp_path / "export.avro"
    export.write_bytes(encode_segment(ORIGIN, 0, None, log.rows))
    assert run(tmp_path, [export, operations], OPERATOR_KEY)[0] == 0
    assert run(tmp_path, [export], OPERATOR_KEY)[0] == 23


@pytest.mark.parametrize("stranger", ["aaa.example/x", "zzz.example/x"])
def test_logs_that_only_claim_to_be_the_roots_hide_nothing(tmp_path: Path, stranger: str) -> None:
    log, lost = log_of(8), log_of(8, f"{BASE}/{TOPIC}/7")
    logs = {
        f"{BASE}/{OPERATIONS}/0": root_log(OPERATIONS, [added(KEY)]),
        f"{BASE}/{HEADS}/0": root_log(HEADS, [head_of(log, 8), head_of(lost, 8)]),
        f"{stranger}/{OPERATIONS}/0": root_log(OPERATIONS, [b"x"], THIEF, stranger),
        f"{stranger}/{HEADS}/0": root_log(HEADS, [b"x"], THIEF, stranger),
        ORIGIN: log.rows[:6],
    }
    paths = []
    for number, (origin, rows) in enumerate(logs.items()):
        paths.append(tmp_path / f"{number}.avro")
        paths[-1].write_bytes(encode_segment(origin, 0, None, rows))
    _, found = run(tmp_path, paths, OPERATOR_KEY)
    assert breaks(found[ORIGIN]) == [("shorter_than_anchor", 4)]
    assert found[ORIGIN]["roster"] == "checked"


def test_memory_and_operator_go_together(tmp_path: Path, world: World) -> None:
    world.logs[OPERATIONS, 0] = root_log(OPERATIONS, [added(KEY)])
    world.logs[TOPIC, PARTITION] = log_of(8).rows
    state = str(tmp_path / "seen.json")
    assert world.told(OPERATOR_KEY, "--state", state)[0] == 0
    other = World(tmp_path / "other")
    other.folder.mkdir()
    other.logs = {**world.logs, (TOPIC, PARTITION): log_of(4).rows}
    assert other.told(OPERATOR_KEY, "--state", state)[0] == 24


# --- the roster ---


def test_a_log_is_compared_with_the_roster(world: World) -> None:
    log = log_of(8)
    world.logs[TOPIC, PARTITION] = log.rows
    world.logs[HEADS, 0] = root_log(HEADS, [head_of(log, 4), head_of(log, 8)])
    status, logs = world.told(LOG_KEY)
    assert (status, logs[ORIGIN]["roster"], logs[ORIGIN]["anchored"]) == (
        0,
        "checked",
        "not given",
    )


def test_a_dropped_partition_is_named_by_the_roster(world: World) -> None:
    lost = log_of(8, f"{BASE}/{TOPIC}/7")
    log = log_of(8)
    world.logs[TOPIC, PARTITION] = log.rows
    world.logs[HEADS, 0] = root_log(HEADS, [head_of(log, 8), head_of(lost, 8)])
    status, logs = world.told(LOG_KEY)
    assert status == 24
    assert breaks(logs[lost.origin]) == [("shorter_than_anchor", 0)]
    assert breaks(logs[ORIGIN]) == []


def test_a_dropped_partition_without_a_roster_goes_unnoticed_and_is_said_so(
    world: World,
) -> None:
    world.logs[TOPIC, PARTITION] = log_of(8).rows
    status, logs = world.told(LOG_KEY)
    assert (status, logs[ORIGIN]["roster"]) == (0, "not given")


def test_a_log_the_roster_does_not_name_is_missing_there(world: World) -> None:
    world.logs[TOPIC, PARTITION] = log_of(8).rows
    world.logs[HEADS, 0] = root_log(HEADS, [head_of(log_of(4, f"{BASE}/{TOPIC}/2/e1"), 4)])
    _, logs = world.told(LOG_KEY)
    assert logs[ORIGIN]["roster"] == "missing"


def test_a_truncated_log_is_shorter_than_the_roster_says(world: World) -> None:
    world.logs[TOPIC, PARTITION] = log_of(4).rows
    world.logs[HEADS, 0] = root_log(HEADS, [head_of(log_of(8), 8)])
    status, logs = world.told(LOG_KEY)
    assert (status, breaks(logs[ORIGIN])) == (24, [("shorter_than_anchor", 4)])


def test_a_head_that_no_key_of_the_log_signed_says_nothing(world: World) -> None:
    log = log_of(8)
    world.logs[TOPIC, PARTITION] = log.rows
    planted = [head_of(log_of(40), 40, THIEF), head_of(log_of(8, f"{BASE}/x/1"), 8, THIEF)]
    world.logs[HEADS, 0] = root_log(HEADS, [*planted, b"no head", head_of(log, 8)])
    status, logs = world.told(LOG_KEY)
    assert (status, logs[ORIGIN]["roster"]) == (0, "checked")


def test_a_roster_sealed_by_somebody_else_says_nothing(world: World) -> None:
    world.logs[TOPIC, PARTITION] = log_of(4).rows
    world.logs[HEADS, 0] = root_log(HEADS, [head_of(log_of(8), 8)], THIEF)
    status, logs = world.told(LOG_KEY)
    assert (status, breaks(logs[ORIGIN])) == (23, [])
    assert breaks(logs[f"{BASE}/{HEADS}/0"]) == [("unknown_key", 0)]
