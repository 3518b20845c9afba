"""What `audit fork` refuses to order, whatever its operator was told to run."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.anchors import AnchorStore, Claim
from streams.audit.checkpoint import CheckpointText, make_note
from streams.audit.note import ED25519, Vkey
from streams.audit.operations import operator_name
from streams.cli.forking import fork
from streams.history import read_tail
from streams.keys.local import LocalSigner
from streams.objects.directory import DirectoryObjectStore
from tests.support.sealing_world import BASE, KEY, SealingWorld, sealing_world

OPERATOR = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
ORIGIN = f"{BASE}/authz.decisions/0"
OTHER = "33" * 32


class Desk:
    """Where an operator sits, with the settings of a deployment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        vkey = Vkey(operator_name(BASE), ED25519, LocalSigner(OPERATOR).public_key)
        self.environment = {
            "ATTESTREAM_HOME": str(folder / "home"),
            "ATTESTREAM_ARCHIVE": str(folder / "archive"),
            "ATTESTREAM_OPERATOR_KEY": vkey.render(),
            "ATTESTREAM_OPERATOR_PRIVATE_KEY": "06" * 32,
            "AUDIT_SIGNING_PRIVATE_KEY": "05" * 32,
        }
        for name in ("KAFKA_BOOTSTRAP_SERVERS", "ATTESTREAM_ORIGIN"):
            monkeypatch.delenv(name, raising=False)

    def told(self, *arguments: str, **changed: str) -> tuple[int, str]:
        result = CliRunner().invoke(fork, [*arguments, "--yes"], env=self.environment | changed)
        return result.exit_code, result.output + result.stderr

    def made_again(self, topic: str, *, kept: int) -> None:
        """The topic is another one now, with its first records."""
        with closing(sqlite3.connect(self.folder / "home" / "attestream.db")) as database:
            found = "SELECT id FROM partitions WHERE topic = ?"
            (number,) = database.execute(found, (topic,)).fetchone()
            database.execute(f"DELETE FROM records_{number} WHERE offset >= ?", (kept,))
            database.execute("UPDATE partitions SET end_offset = ? WHERE id = ?", (kept, number))
            database.execute("UPDATE topics SET topic_id = 'x' WHERE name = ?", (topic,))
            database.commit()

    def seals(self, count: int, then: Callable[[SealingWorld], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with sealing_world(self.folder) as world:
                await world.produce(*(b"%d" % n for n in range(count)))
                await world.seal(count)
                await then(world)

        asyncio.run(run())


async def anchored(world: SealingWorld) -> None:
    """All of the log is anchored."""
    reader = world.engine.reader(world.engine.topology.audit(world.topic), 0)
    tail = await read_tail(reader, await reader.bounds(), world.origin, None)
    assert tail is not None
    text = CheckpointText(world.origin, tail.signed.size, tail.signed.root())
    await keep(AnchorStore(world.objects, retain_days=1), text)


async def keep(anchors: AnchorStore, text: CheckpointText) -> None:
    public_key = LocalSigner(KEY).public_key
    note = make_note(text, ED25519, public_key, KEY.sign(text.render().encode()))
    await anchors.put(text.origin, text.size, note)


async def anchor_of_orders(folder: Path) -> None:
    """The log of the orders had seven of them, and its audit topic is empty now."""
    anchors = AnchorStore(DirectoryObjectStore(folder / "archive"), retain_days=1)
    await keep(anchors, CheckpointText(f"{BASE}/attestream.operations/0", 7, bytes(32)))


async def claim_orders(folder: Path) -> None:
    """The log of the orders began once, and its audit topic is empty now."""
    anchors = AnchorStore(DirectoryObjectStore(folder / "archive"), retain_days=1)
    origin = f"{BASE}/attestream.operations/0"
    await anchors.make_claim(origin, Claim("c", "audit", "c", "source", 0))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path, monkeypatch)
    desk.seals(5, anchored)
    return desk


def test_a_good_log_is_not_ended(desk: Desk) -> None:
    status, told = desk.told(ORIGIN)
    assert (status, "only end a good log" in told) == (2, True)
    status, told = desk.told("--all")
    assert (status, "nothing is to be forked" in told) == (2, True)


@pytest.mark.parametrize("which", [[ORIGIN], ["--all"]])
def test_a_log_that_the_keys_at_hand_do_not_verify_is_not_given_up(
    desk: Desk, which: list[str]
) -> None:
    """Somebody emptied the orders, and a rotation is forgotten: all logs look forged."""
    status, told = desk.told(*which, AUDIT_SIGNING_PRIVATE_KEY=OTHER)
    assert (status, "cannot be judged" in told) == (2, True)


@pytest.mark.parametrize("which", [[ORIGIN], ["--all"]])
def test_what_is_anchored_is_not_given_up_unless_that_is_said(
    desk: Desk, which: list[str]
) -> None:
    desk.made_again("audit.authz.decisions", kept=2)
    status, told = desk.told(*which)
    assert (status, "restore it from the archive first" in told) == (2, True)


def test_another_archive_is_no_reason_to_end_every_log(desk: Desk) -> None:
    other = str(desk.folder / "another")
    status, told = desk.told("--all", ATTESTREAM_ARCHIVE=other)
    assert (status, "nothing is to be forked" in told) == (2, True)


@pytest.mark.parametrize("which", [[ORIGIN], ["--all"]])
@pytest.mark.parametrize("left", ["a claim", "an anchor"])
def test_orders_that_are_gone_are_restored_first(desk: Desk, which: list[str], left: str) -> None:
    """Keys are among them: without them nobody can say which log is good."""
    asyncio.run(claim_orders(desk.folder) if left == "a claim" else anchor_of_orders(desk.folder))
    status, told = desk.told(*which)
    assert (status, "attestream.operations/0 is anchored up to" in told) == (2, True)


def test_a_file_that_nobody_signed_among_the_anchors_refuses_nothing(desk: Desk) -> None:
    place = desk.folder / "archive" / "anchors" / "v1" / f"{BASE}/attestream.operations/0"
    place.mkdir(parents=True)
    (place / f"{9:020}.note").write_text(f"{BASE}/attestream.operations/0\n9\n{'A' * 43}=\n")
    status, told = desk.told("--all")
    assert (status, "nothing is to be forked" in told) == (2, True)


@pytest.mark.parametrize(
    "arguments", [[], [ORIGIN, "--all"], [ORIGIN, ORIGIN, "--size", "1"], ["--all", "--size", "1"]]
)
def test_one_log_at_a_time_is_chosen_for(desk: Desk, arguments: list[str]) -> None:
    assert desk.told(*arguments)[0] == 2


@pytest.mark.parametrize(
    "origin", ["x", f"{BASE}/nothing/0", f"{ORIGIN}/e1", "other/authz.decisions/0"]
)
def test_a_log_that_nobody_opened_is_not_forked(desk: Desk, origin: str) -> None:
    status, told = desk.told(origin)
    assert (status, "no log is called" in told) == (2, True)
