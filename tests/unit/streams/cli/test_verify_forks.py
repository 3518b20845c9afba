"""`verify` of logs that an operator forked: both epochs, and forks that somebody forged."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.codec import encode_head
from schemas.heads import LogHead
from schemas.records import Record
from streams.audit.operations import EpochForked, KeyAdded, operator_name
from streams.audit.trail import Trail
from streams.cli.verify import verify
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.ports import NewRecord
from streams.verifier import Trust, verify_rows
from tests.support.forgeries import anchor
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.root_logs import root_log, sealed_at_once
from tests.support.signed_logs import (
    BASE,
    FIRST_TIMESTAMP,
    KEY,
    ORIGIN,
    PARTITION,
    TOPIC,
    Key,
    SignedLog,
)

OPERATIONS, HEADS = "attestream.operations", "attestream.heads"
OPERATOR_KEY = OPERATOR.vkey(operator_name(BASE)).render()
NEXT, THIEF = f"{ORIGIN}/e1", Key("thief")
EVENTS = [
    Record(n, FIRST_TIMESTAMP + n, b"k%d" % (n % 3), b"event %d " % n + bytes(200))
    for n in range(16)
]


def log_of(events: Sequence[Record], origin: str = ORIGIN, key: Key = KEY) -> SignedLog:
    log = SignedLog(key, origin)
    for first in range(0, len(events), 4):
        log.append(events[first : first + 4]).checkpoint()
    return log


OLD, NEW = log_of(EVENTS[:12]), log_of(EVENTS[8:], NEXT)
FORK = EpochForked(
    origin=ORIGIN,
    size=8,
    root=anchor(OLD, 8).root,
    epoch=1,
    cluster_id="cluster",
    topic_id="topic",
    offset=8,
)
ADDED = signed_order(KeyAdded(vkey=KEY.vkey(), prefix=BASE))


async def fill(home: Path, logs: Mapping[str, Sequence[Record]], source: Sequence[Record]) -> None:
    database = EmbeddedDatabase.open(home)
    for topic, rows in logs.items():
        partition = 0 if topic.startswith("audit.attestream") else PARTITION
        await database.ensure_topic(topic, partition + 1, audit=True)
        await write(database, topic, partition, rows)
    if source:
        await database.ensure_topic(TOPIC, PARTITION + 1)
        await write(database, TOPIC, PARTITION, source)
    database.close()


async def write(
    database: EmbeddedDatabase, topic: str, partition: int, rows: Sequence[Record]
) -> None:
    writer = EmbeddedPartitionWriter(database, topic, partition)
    await writer.start()
    await writer.append([NewRecord(r.timestamp, r.value or b"", r.key) for r in rows])


class Home:
    """A deployment with a fork, as honest as can be until a test changes something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = OLD.rows, NEW.rows
        self.orders = [ADDED, signed_order(FORK)]
        self.heads: list[bytes] = []
        self.source: Sequence[Record] = ()
        self.more: dict[str, Sequence[Record]] = {}

    def told(self, *more: str) -> tuple[int, dict[str, Any]]:
        logs = {
            f"audit.{TOPIC}": self.old,
            f"audit.{TOPIC}.e1": self.new,
            f"audit.{OPERATIONS}": root_log(OPERATIONS, self.orders),
            f"audit.{HEADS}": root_log(HEADS, self.heads),
        }
        there = {topic: rows for topic, rows in (logs | self.more).items() if rows}
        asyncio.run(fill(self.folder / "home", there, self.source))
        (self.folder / "keys.txt").write_text(OPERATOR_KEY)
        arguments = [str(self.folder / "home"), "--keys", str(self.folder / "keys.txt"), "--json"]
        result = CliRunner().invoke(verify, [*arguments, *more])
        return result.exit_code, {log["origin"]: log for log in json.loads(result.stdout)["logs"]}

    def kept(self, log: SignedLog, size: int) -> str:
        """An anchor that somebody keeps, as an option."""
        note = KEY.note(size, anchor(log, size).root, log.origin)
        (self.folder / f"{size}.note").write_text(note)
        return str(self.folder / f"{size}.note")


def head_of(log: SignedLog, size: int) -> bytes:
    note = KEY.note(size, anchor(log, size).root, log.origin)
    return encode_head(LogHead(origin=log.origin, note=note))


def breaks(log: dict[str, Any]) -> list[tuple[str, int]]:
    return [(b["kind"], b["index"]) for b in log["breaks"]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_both_epochs_of_a_forked_log_are_verified(home: Home) -> None:
    home.heads = [head_of(OLD, 12), head_of(NEW, 8)]
    status, logs = home.told("--anchor", home.kept(OLD, 4), "--anchor", home.kept(NEW, 8))
    assert status == 0
    old, new = logs[ORIGIN], logs[NEXT]
    assert (old["size"], old["root"]) == (8, FORK.root.hex())
    assert (old["void_from"], old["records"], old["tail"]) == (8, 12, 0)
    assert (new["size"], new.get("void_from")) == (8, None)
    assert {log[name] for log in (old, new) for name in ("anchored", "roster")} == {"checked"}


def test_what_is_void_is_read_and_not_judged(home: Home) -> None:
    home.old = [row for n, row in enumerate(OLD.rows) if n != 12]
    assert OLD.rows[12] not in home.old
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN]), logs[ORIGIN]["size"]) == (0, [], 8)
    home.folder = home.folder / "other"
    home.folder.mkdir()
    home.orders = [ADDED]
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN])[0]) == (21, ("sequence", 9))


def test_an_altered_record_below_a_fork_is_named(home: Home) -> None:
    home.old = [row for n, row in enumerate(OLD.rows) if n != 3]
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN])[0]) == (21, ("sequence", 2))


def test_a_log_cut_below_its_fork_is_shorter_than_that(home: Home) -> None:
    home.old = OLD.rows[:6]
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN])) == (24, [("shorter_than_anchor", 4)])


def test_a_fork_that_the_operator_did_not_sign_hides_nothing(home: Home) -> None:
    """A thief drops the newest records and says that an operator did."""
    home.heads = [head_of(OLD, 12)]
    home.orders = [ADDED, signed_order(FORK, THIEF)]
    home.old = OLD.rows[:11]
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN])) == (24, [("shorter_than_anchor", 8)])


def test_a_fork_that_the_key_of_the_log_signed_hides_nothing(home: Home) -> None:
    home.heads = [head_of(OLD, 12)]
    home.orders = [ADDED, signed_order(FORK, KEY)]
    home.old = OLD.rows[:11]
    assert home.told()[0] == 24


def test_a_fork_ordered_for_another_deployment_hides_nothing(home: Home) -> None:
    other = replace(FORK, origin=ORIGIN.replace(BASE, "audit.example.com/other"))
    home.heads = [head_of(OLD, 12)]
    home.orders = [ADDED, signed_order(other, base="audit.example.com/other")]
    home.old = OLD.rows[:11]
    assert home.told()[0] == 24


def test_a_second_fork_of_one_log_moves_nothing(home: Home) -> None:
    """Sent again, or signed once more by mistake: the first one stands."""
    again = replace(FORK, size=4, root=anchor(OLD, 4).root)
    home.orders = [ADDED, signed_order(FORK), signed_order(again)]
    home.old = OLD.rows[:6]
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN])) == (24, [("shorter_than_anchor", 4)])


def test_a_fork_with_a_root_the_log_never_had_is_a_break(home: Home) -> None:
    home.orders = [ADDED, signed_order(replace(FORK, root=bytes(32)))]
    status, logs = home.told()
    assert (status, breaks(logs[ORIGIN])[0][0]) == (25, "fork")


def test_a_fork_hides_no_difference_from_an_anchor_below_it(home: Home) -> None:
    kept = home.kept(log_of([EVENTS[15], *EVENTS[1:12]]), 4)
    status, logs = home.told("--anchor", kept)
    assert (status, breaks(logs[ORIGIN])) == (25, [("fork", 0)])


def test_an_epoch_that_is_dropped_is_named_by_the_roster(home: Home) -> None:
    home.heads = [head_of(OLD, 8), head_of(NEW, 8)]
    home.new = []
    status, logs = home.told()
    assert (status, breaks(logs[NEXT])) == (24, [("shorter_than_anchor", 0)])


def test_an_epoch_in_the_topic_of_another_is_a_stranger(home: Home) -> None:
    home.old, home.new = NEW.rows, OLD.rows
    status, logs = home.told()
    assert status == 24  # neither is where it belongs, and so both are missing as well
    assert ("bad_signature", 0) in breaks(logs[NEXT])


def test_the_source_is_compared_with_the_epoch_that_is_open(home: Home) -> None:
    """Of the log before it says nothing: it was cut, or is another one now."""
    home.source = [EVENTS[15]._replace(offset=0), *EVENTS[1:]]
    status, logs = home.told("--source")
    assert (status, logs[ORIGIN]["source"], logs[NEXT]["source"]) == (0, "missing", "checked")


def test_a_record_between_the_fork_and_the_first_leaf_of_its_epoch_was_left_out(
    home: Home,
) -> None:
    home.source = EVENTS
    home.new = log_of(EVENTS[9:], NEXT).rows
    status, logs = home.told("--source")
    assert (status, breaks(logs[NEXT])) == (21, [("sequence", 0)])


def test_orders_in_the_void_part_of_their_own_log_do_not_count(home: Home) -> None:
    """A log of operations is forked like any other, and the fork stands in its next epoch."""
    origin = f"{BASE}/{OPERATIONS}/0"
    planted = signed_order(KeyAdded(vkey=THIEF.vkey(), prefix=BASE))
    good = Trail(origin)
    good.feed_all(root_log(OPERATIONS, [ADDED]))
    own = replace(FORK, origin=origin, size=1, root=good.root)
    home.orders = [ADDED, planted]
    home.more = {
        f"audit.{OPERATIONS}.e1": sealed_at_once(
            OPERATIONS, [Record(0, 1, None, signed_order(own))], origin=f"{origin}/e1"
        )
    }
    home.old, home.new = log_of(EVENTS, key=THIEF).rows, []
    status, logs = home.told()
    assert breaks(logs[ORIGIN])[0] == ("unknown_key", 0)
    assert (logs[origin]["void_from"], breaks(logs[origin])) == (1, [])
    assert status == 23


def test_nothing_is_void_that_an_anchor_of_the_caller_covers(home: Home) -> None:
    """Not even the operator takes back what somebody outside has seen."""
    seen = ("--anchor", home.kept(OLD, 12))
    status, logs = home.told(*seen)
    assert (status, logs[ORIGIN]["size"], logs[ORIGIN]["anchored"]) == (0, 8, "checked")
    home.folder = home.folder / "changed"
    home.folder.mkdir()
    home.old = [row._replace(value=b"junk") if n == 12 else row for n, row in enumerate(OLD.rows)]
    status, logs = home.told(*seen)
    assert (status, breaks(logs[ORIGIN])[0]) == (20, ("altered", 9))
    home.folder = home.folder / "cut"
    home.folder.mkdir()
    home.old = OLD.rows[:11]
    status, logs = home.told(*seen)
    assert (status, breaks(logs[ORIGIN])) == (24, [("shorter_than_anchor", 8)])


def test_an_epoch_that_no_order_opened_is_no_log(home: Home) -> None:
    """Whoever holds the key of the logs can sign one; only the operator opens it."""
    home.orders = [ADDED]
    status, logs = home.told()
    assert (status, breaks(logs[NEXT])) == (21, [("sequence", 0)])
    assert breaks(logs[ORIGIN]) == []


@pytest.mark.parametrize(("may_lag", "expected"), [(False, ["sequence"]), (True, [])])
def test_an_archive_may_lack_the_order_of_an_epoch_that_it_has(
    *, may_lag: bool, expected: list[str]
) -> None:
    """Logs are archived one by one, and that of the orders may be behind."""
    trust = Trust(keys=KEY.trusted(), has_orders=True, may_lag=may_lag)
    assert [found.kind for found in verify_rows(NEW.rows, trust).breaks] == expected
