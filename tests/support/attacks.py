"""Attacks on a sealed log: how each is made, and what a verifier must say of it.

`usual_log` is attacked: records 0 to 11 under checkpoints of 0, 4, 8 and 12.
"""

from collections.abc import Callable
from typing import NamedTuple

from schemas.audit_values import encode_checkpoint
from schemas.records import AuditRecord, Checkpoint, Record
from streams.audit.merkle import Frontier, node_hash
from tests.support.forgeries import Change, changed, fitting, flipped, source
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    PARTITION,
    TOPIC,
    Key,
    SignedLog,
    audit_record,
    checkpoint_of,
    positions,
    renumbered,
    usual_log,
)

__all__ = ["ATTACKS", "SILENT_ATTACKS", "Attack", "SilentAttack"]

THIEF = Key("somebody else")
GENESIS, LAST = 0, 15  # where in the rows the first and the last checkpoint stand
Rows = list[Record]


class Attack(NamedTuple):
    """What is done to the rows of a log, and the first break it must be named by."""

    forge: Callable[[Rows], Rows]
    kind: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls


class SilentAttack(NamedTuple):
    """What nothing inside a log can show: the rows, and what an anchor of 12 makes of them."""

    forge: Callable[[], Rows]
    kind: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls


def on(index: int, change: Change) -> Callable[[Rows], Rows]:
    return lambda rows: changed(rows, index, change)


def row_of(index: int, **fields: object) -> Callable[[Rows], Rows]:
    """Fields of the Kafka record of a leaf, replaced."""

    def forge(rows: Rows) -> Rows:
        at = positions(rows)[index]
        rows[at] = rows[at]._replace(**fields)  # type: ignore[arg-type]
        return rows

    return forge


def dropped(*indexes: int) -> Callable[[Rows], Rows]:
    def forge(rows: Rows) -> Rows:
        gone = {positions(rows)[index] for index in indexes}
        return [row for at, row in enumerate(rows) if at not in gone]

    return forge


def swapped(one: int, other: int) -> Callable[[Rows], Rows]:
    def forge(rows: Rows) -> Rows:
        a, b = positions(rows)[one], positions(rows)[other]
        rows[a], rows[b] = rows[b], rows[a]
        return renumbered(rows)

    return forge


def inserted(what: Callable[[], Rows], at: int) -> Callable[[Rows], Rows]:
    """Rows of another history, put in where they were never written."""
    return lambda rows: renumbered([*rows[:at], *what(), *rows[at:]])


def checkpoint(
    change: Callable[[Checkpoint], Checkpoint], at: int = LAST
) -> Callable[[Rows], Rows]:
    def forge(rows: Rows) -> Rows:
        value = encode_checkpoint(change(checkpoint_of(rows[at])))
        rows[at] = rows[at]._replace(value=value)
        return rows

    return forge


def key_changed(record: AuditRecord) -> AuditRecord:
    return record._replace(content=record.content.replace(b"key-", b"kez-"))


def header_added(record: AuditRecord) -> AuditRecord:
    assert record.content[-1] == 0
    return record._replace(content=record.content[:-1] + b"\x02\x02h\x02\x02v\x00")


def leaf_replaced(record: AuditRecord) -> AuditRecord:
    return record._replace(leaf=bytes(32))


def resealed_by(key: Key) -> Callable[[Rows], Rows]:
    """Cut behind 8, something else appended, signed with `key`."""

    def forge(_rows: Rows) -> Rows:
        log = SignedLog().extend(4).checkpoint().extend(4).checkpoint()
        return log.append([Record(900, 1, None, b"new")]).checkpoint(key=key).rows

    return forge


def signature_of(partition: int) -> Callable[[Checkpoint], Checkpoint]:
    """The signature line of the same checkpoint of another partition, under our name."""

    def forge(mine: Checkpoint) -> Checkpoint:
        text = mine.note.rpartition("\n\n")[0]
        size, root = int(text.split("\n")[1]), Frontier.of(12, mine.frontier).root()
        other = f"{BASE}/{TOPIC}/{partition}"
        line = KEY.note(size, root, other).rpartition("\n\n")[2].replace(other, ORIGIN)
        return mine._replace(note=f"{text}\n\n{line}")

    return forge


def one_bit_of_the_signature(mine: Checkpoint) -> Checkpoint:
    at = mine.note.rindex("=") - 4
    other = "A" if mine.note[at] != "A" else "B"
    return mine._replace(note=mine.note[:at] + other + mine.note[at + 1 :])


def signed_again(origin: str) -> Callable[[Checkpoint], Checkpoint]:
    """The checkpoint as a log of another origin would sign it, with the same key."""
    return lambda mine: mine._replace(
        note=KEY.note(12, Frontier.of(12, mine.frontier).root(), origin)
    )


def ahead() -> Rows:
    return [SignedLog().extend(14).checkpoint().rows[-1]]


def earlier() -> Rows:
    return [usual_log().checkpoint(8).rows[-1]]


def another_root() -> Rows:
    log = SignedLog().append([Record(1, 2, None, b"other")]).extend(11).checkpoint()
    return [log.rows[-1]]


def aborted() -> Rows:
    """Two records of a transaction that was never committed, at their own indexes."""
    return (
        SignedLog()
        .extend(8)
        .append([Record(700, 1, None, b"x"), Record(701, 1, None, b"y")])
        .rows[-2:]
    )


def batch() -> Rows:
    rows = usual_log().rows
    return rows[positions(rows)[4] : positions(rows)[7] + 1]


def node_as_leaf(_rows: Rows) -> Rows:
    log = SignedLog().extend(2).checkpoint()
    forged = SignedLog()
    root = node_hash(*log.leaves)
    forged.leaves, forged.frontier = [root], Frontier.of(1, [root])
    return renumbered([*SignedLog().extend(1).rows, forged.checkpoint().rows[-1]])


def genesis_cut(rows: Rows) -> Rows:
    return rows[1:]


ATTACKS: dict[str, Attack] = {
    "a bit of the content is flipped": Attack(on(5, flipped), "altered", 5),
    "a bit of the first record is flipped": Attack(on(0, flipped), "altered", 0),
    "a bit of the last record is flipped": Attack(on(11, flipped), "altered", 11),
    "content and leaf hash are changed to fit": Attack(on(5, fitting(flipped)), "altered", 4),
    "the key inside the content is changed": Attack(on(6, key_changed), "altered", 6),
    "a header is added to the content": Attack(on(6, header_added), "altered", 6),
    "the stored leaf hash is replaced": Attack(on(7, leaf_replaced), "altered", 7),
    "the index is changed": Attack(on(5, lambda r: r._replace(index=6)), "sequence", 5),
    "the source topic is changed": Attack(on(5, source("topic", "authz.other")), "altered", 5),
    "the source partition is changed": Attack(on(5, source("partition", 3)), "altered", 5),
    "the source offset is raised": Attack(on(5, source("offset", 106)), "altered", 5),
    "the source offset is lowered": Attack(on(5, fitting(source("offset", 100))), "sequence", 5),
    "the source timestamp is changed": Attack(on(5, source("timestamp", 7)), "altered", 5),
    "the Kafka timestamp is changed": Attack(row_of(5, timestamp=7), "altered", 5),
    "a value is cut": Attack(
        lambda rows: row_of(5, value=(rows[positions(rows)[5]].value or b"")[:-1])(rows),
        "altered",
        5,
    ),
    "a value is replaced by garbage": Attack(row_of(5, value=b"garbage"), "altered", 5),
    "two records are swapped": Attack(swapped(5, 6), "sequence", 5),
    "the first record is dropped": Attack(dropped(0), "sequence", 0),
    "a record in the middle is dropped": Attack(dropped(5), "sequence", 5),
    "the last record is dropped": Attack(dropped(11), "sequence", 11),
    "a whole batch is dropped": Attack(dropped(4, 5, 6, 7), "sequence", 4),
    "genesis is dropped": Attack(genesis_cut, "sequence", 0),
    "a batch is doubled": Attack(inserted(batch, 10), "sequence", 8),
    "an old batch is replayed at the end": Attack(inserted(batch, LAST), "sequence", 12),
    "an aborted transaction is offered as history": Attack(inserted(aborted, 11), "sequence", 10),
    "cut and sealed again by another key": Attack(resealed_by(THIEF), "unknown_key", 8),
    "a signature is moved from another partition": Attack(
        checkpoint(signature_of(PARTITION + 1)), "unknown_key", 8
    ),
    "a bit of a signature is flipped": Attack(
        checkpoint(one_bit_of_the_signature), "bad_signature", 8
    ),
    "the frontier is forged": Attack(
        checkpoint(lambda c: c._replace(frontier=(c.frontier[0], bytes(32)))), "altered", 8
    ),
    "the size is forged": Attack(
        checkpoint(lambda c: c._replace(note=c.note.replace("\n12\n", "\n11\n"))),
        "bad_signature",
        8,
    ),
    "the origin is forged": Attack(
        checkpoint(signed_again(f"{BASE}/{TOPIC}/{PARTITION + 1}")), "bad_signature", 8
    ),
    "the epoch is forged": Attack(checkpoint(signed_again(f"{ORIGIN}/e1")), "bad_signature", 8),
    "a root of records that are not there is signed": Attack(
        checkpoint(lambda c: c._replace(note=KEY.note(12, b"\1" * 32))), "altered", 8
    ),
    "a checkpoint is larger than the records before it": Attack(
        inserted(ahead, LAST + 1), "sequence", 12
    ),
    "an older checkpoint is repeated": Attack(inserted(earlier, LAST + 1), "sequence", 12),
    "two checkpoints of one size have different roots": Attack(
        inserted(another_root, LAST + 1), "fork", 12
    ),
    "a node is offered as a leaf": Attack(node_as_leaf, "altered", 0),
}


def truncated() -> Rows:
    return usual_log().rows[:11]


def cut_to_its_first_batch() -> Rows:
    return usual_log().rows[:6]


def sealed_again_from_4() -> Rows:
    forked = SignedLog().extend(4).checkpoint().append([Record(900, 1, None, b"new")])
    forked.next_source_offset = 901
    return forked.extend(9).checkpoint().rows


def sealed_again_at_the_same_size() -> Rows:
    forked = SignedLog().extend(8).checkpoint().append([Record(900, 1, None, b"new")])
    forked.next_source_offset = 901
    return forked.extend(3).checkpoint().rows


SILENT_ATTACKS: dict[str, SilentAttack] = {
    "truncated behind a checkpoint": SilentAttack(truncated, "shorter_than_anchor", 8),
    "cut down to its first batch": SilentAttack(cut_to_its_first_batch, "shorter_than_anchor", 4),
    "sealed again from a smaller size by the same key": SilentAttack(
        sealed_again_from_4, "fork", 0
    ),
    "sealed again to the same size by the same key": SilentAttack(
        sealed_again_at_the_same_size, "fork", 0
    ),
}

assert audit_record(usual_log().rows[1]).index == 0
