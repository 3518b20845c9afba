"""Named attacks on checkpoints, keys and whole logs, each with the breaks a trail must name."""

import pytest

from schemas.audit_values import encode_checkpoint
from schemas.records import Checkpoint, Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.merkle import EMPTY_ROOT, Frontier, node_hash
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import BreakError
from tests.support.forgeries import TRUSTED, anchor, breaks_of
from tests.support.signed_logs import (
    BASE,
    KEY,
    ORIGIN,
    PARTITION,
    TOPIC,
    Key,
    SignedLog,
    checkpoint_of,
    renumbered,
    usual_log,
)

THIEF = Key("somebody else")
OLD, NEW = Key("old"), Key("new")


def with_last_checkpoint(rows: list[Record], value: Checkpoint) -> list[Record]:
    """usual_log's rows up to its checkpoint of 12, which is replaced."""
    return [*rows[:-3], rows[-3]._replace(value=encode_checkpoint(value))]


def without_checkpoints(log: SignedLog, *keep: int) -> list[Record]:
    sizes = {log.rows.index(row): size for size, row in checkpoints(log).items()}
    return [row for at, row in enumerate(log.rows) if sizes.get(at, 0) in keep]


def checkpoints(log: SignedLog) -> dict[int, Record]:
    found = {}
    for row in log.rows:
        try:
            note = checkpoint_of(row).note
        except AssertionError:
            continue
        found[int(note.split("\n")[1])] = row
    return found


def both_lines(*notes: str) -> str:
    text, _, first = notes[0].rpartition("\n\n")
    return text + "\n\n" + first + "".join(n.rpartition("\n\n")[2] for n in notes[1:])


# --- signatures ---


def test_log_sealed_again_with_another_key_has_no_known_key() -> None:
    assert breaks_of(usual_log(THIEF).rows) == [("unknown_key", 0)]


def test_cut_and_sealed_again_with_another_key_is_named_where_it_was_cut() -> None:
    log = SignedLog().extend(4).checkpoint().extend(4).checkpoint()
    assert breaks_of(log.extend(2).checkpoint(key=THIEF).rows) == [("unknown_key", 8)]


def test_flipped_bit_in_a_signature_is_a_bad_signature() -> None:
    log = usual_log()
    value = checkpoint_of(checkpoints(log)[12])
    at = value.note.rindex("=") - 4
    note = value.note[:at] + ("A" if value.note[at] != "A" else "B") + value.note[at + 1 :]
    rows = with_last_checkpoint(log.rows, value._replace(note=note))
    assert breaks_of(rows) == [("bad_signature", 8)]


def test_signature_moved_from_another_partition_is_no_known_key() -> None:
    other = SignedLog(origin=f"{BASE}/{TOPIC}/{PARTITION + 1}")
    foreign = checkpoint_of(other.rows[0]).note.rpartition("\n\n")[2]
    mine = checkpoint_of(SignedLog().rows[0])
    note = mine.note.rpartition("\n\n")[0] + "\n\n" + foreign
    assert breaks_of([SignedLog().row(mine._replace(note=note))]) == [("unknown_key", 0)]


def test_signature_moved_and_renamed_is_no_known_key() -> None:
    other = f"{BASE}/{TOPIC}/{PARTITION + 1}"
    note = KEY.note(0, EMPTY_ROOT, other).replace(other, ORIGIN)
    row = SignedLog().row(Checkpoint(note, ()))
    assert breaks_of([row]) == [("unknown_key", 0)]


def test_line_of_a_trusted_key_under_another_name_does_not_count() -> None:
    note = KEY.note(0, EMPTY_ROOT).replace(f"\N{EM DASH} {ORIGIN} ", f"\N{EM DASH} {BASE} ")
    assert breaks_of([SignedLog().row(Checkpoint(note, ()))]) == [("unknown_key", 0)]


def test_checkpoint_of_another_origin_is_a_bad_signature() -> None:
    other = SignedLog(origin=f"{BASE}/{TOPIC}/{PARTITION + 1}")
    assert breaks_of(other.rows)[0] == ("bad_signature", 0)


def test_forged_epoch_is_a_bad_signature() -> None:
    log = SignedLog().extend(2)
    log.origin = f"{ORIGIN}/e1"
    assert breaks_of(log.checkpoint().rows) == [("bad_signature", 0)]


def test_log_of_an_epoch_is_a_log_of_its_own() -> None:
    log = SignedLog(origin=f"{ORIGIN}/e1").extend(2).checkpoint()
    assert breaks_of(log.rows, origin=f"{ORIGIN}/e1") == []


def test_key_of_another_deployment_is_not_trusted() -> None:
    keys = KEY.trusted("audit.example.com/tes")
    assert breaks_of(usual_log().rows, keys) == [("unknown_key", 0)]


def test_bad_line_of_a_known_key_beside_a_good_one_refuses_the_checkpoint() -> None:
    good = NEW.note(0, EMPTY_ROOT)
    bad = OLD.note(0, b"\1" * 32)
    row = SignedLog().row(Checkpoint(both_lines(good, bad), ()))
    keys = TrustedKeys([OLD.vkey(), NEW.vkey()])
    assert breaks_of([row], keys) == [("bad_signature", 0)]
    assert breaks_of([row], NEW.trusted()) == []


def test_all_later_kinds_are_told_behind_an_unknown_key() -> None:
    log = usual_log(THIEF)
    rows = [row for row in log.rows if row is not log.rows[8]]
    assert breaks_of(rows) == [("unknown_key", 0), ("sequence", 6)]


# --- sizes and roots ---


def test_checkpoint_larger_than_the_records_before_it_misses_the_first_of_them() -> None:
    log = SignedLog().extend(4)
    ahead = SignedLog().extend(6).checkpoint().rows[-1]
    assert breaks_of([*log.rows, ahead]) == [("sequence", 4)]


def test_checkpoint_smaller_than_the_one_before_is_out_of_sequence() -> None:
    assert breaks_of(usual_log().checkpoint(4).rows) == [("sequence", 12)]


def test_checkpoint_repeated_with_the_same_lines_is_out_of_sequence() -> None:
    assert breaks_of(usual_log().checkpoint(12).rows) == [("sequence", 12)]


def test_two_roots_of_one_size_are_a_fork() -> None:
    log = SignedLog().extend(4).checkpoint()
    other = SignedLog().append([Record(1, 2, None, b"other")]).extend(3).checkpoint().rows[-1]
    rows = renumbered([*log.rows, other])
    assert breaks_of(rows) == [("fork", 4)]


def test_signed_root_that_the_records_do_not_have_is_altered() -> None:
    log = SignedLog().extend(2).checkpoint().extend(2)
    other = SignedLog().extend(2).append([Record(500, 2, None, b"other")]).extend(1)
    assert breaks_of([*log.rows, other.checkpoint().rows[-1]]) == [("altered", 2)]


def test_frontier_with_a_changed_hash_is_altered() -> None:
    log = usual_log()
    value = checkpoint_of(checkpoints(log)[12])
    frontier = (value.frontier[0], b"\0" * 32)
    rows = with_last_checkpoint(log.rows, value._replace(frontier=frontier))
    assert breaks_of(rows) == [("altered", 8)]


def test_signed_root_that_the_frontier_does_not_have_is_altered_though_the_records_fit() -> None:
    log = usual_log()
    value = checkpoint_of(checkpoints(log)[12])
    lie = value._replace(note=KEY.note(12, b"\1" * 32))
    assert breaks_of(with_last_checkpoint(log.rows, lie)) == [("altered", 8)]


def test_checkpoint_at_an_offset_before_the_last_is_out_of_sequence() -> None:
    log = usual_log()
    log.rows[-3] = log.rows[-3]._replace(offset=log.rows[-4].offset)
    assert breaks_of(log.rows) == [("sequence", 8)]


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_frontier_with_a_wrong_number_of_hashes_is_altered(count: int) -> None:
    log = usual_log()
    value = checkpoint_of(checkpoints(log)[12])
    rows = with_last_checkpoint(log.rows, value._replace(frontier=(b"\1" * 32,) * count))
    assert breaks_of(rows) == [("altered", 8)]


@pytest.mark.parametrize(
    "line", ["012", "+12", "12 ", "1٢", "99999999999999999999999999999", "", "-1"]
)
def test_size_not_in_its_one_spelling_is_altered(line: str) -> None:
    log = usual_log()
    value = checkpoint_of(checkpoints(log)[12])
    note = value.note.replace("\n12\n", f"\n{line}\n")
    assert breaks_of(with_last_checkpoint(log.rows, value._replace(note=note))) == [("altered", 8)]


def test_extension_line_in_a_checkpoint_is_altered() -> None:
    log = usual_log()
    value = checkpoint_of(checkpoints(log)[12])
    note = value.note.replace("\n\n", "\nextension\n\n")
    assert breaks_of(with_last_checkpoint(log.rows, value._replace(note=note))) == [("altered", 8)]


def test_largest_size_there_is_misses_the_records() -> None:
    nodes = (b"\1" * 32,) * 64
    frontier = Frontier.of(2**64 - 1, nodes)
    log = SignedLog().extend(2)
    log.rows.append(log.checkpoint_row(frontier))
    log.next_source_offset = 200
    assert breaks_of(log.extend(2).rows)[0] == ("sequence", 2)


def test_node_offered_as_a_leaf_does_not_fold_to_the_root() -> None:
    log = SignedLog().extend(2).checkpoint()
    root = node_hash(*log.leaves)
    forged = SignedLog()
    forged.leaves, forged.frontier = [root], Frontier.of(1, [root])
    assert forged.frontier.root() == log.frontier.root()
    rows = renumbered([*SignedLog().extend(1).rows, forged.checkpoint().rows[-1]])
    assert breaks_of(rows) == [("altered", 0)]


def test_history_that_begins_with_a_later_checkpoint_misses_the_first_record() -> None:
    log = usual_log()
    assert breaks_of(log.rows[5:])[0] == ("sequence", 0)


def test_second_genesis_is_out_of_sequence() -> None:
    log = SignedLog().extend(4).checkpoint()
    assert breaks_of(log.checkpoint(0).rows) == [("sequence", 4)]


def test_dropped_checkpoint_that_is_not_the_last_is_no_break() -> None:
    assert breaks_of(renumbered(without_checkpoints(usual_log(), 0, 12))) == []


def test_lagging_checkpoint_behind_records_it_does_not_cover_is_no_break() -> None:
    assert breaks_of(SignedLog().extend(4).extend(3).checkpoint(4).checkpoint(6).rows) == []


# --- rotation ---


def test_rotation_signs_one_size_again_with_both_keys() -> None:
    log = SignedLog(OLD).extend(4).checkpoint()
    root = log.frontier.root()
    note = both_lines(OLD.note(4, root), NEW.note(4, root))
    log.rows.append(log.row(Checkpoint(note, log.frontier.nodes)))
    rows = renumbered(log.extend(2).checkpoint(key=NEW).rows)
    keys = TrustedKeys([OLD.vkey(), NEW.vkey()])
    assert breaks_of(rows, keys) == []
    assert breaks_of(rows, OLD.trusted()) == [("unknown_key", 4)]


def test_same_lines_in_another_order_are_no_rotation() -> None:
    log = SignedLog(OLD)
    notes = OLD.note(0, EMPTY_ROOT), NEW.note(0, EMPTY_ROOT)
    rows = [log.row(Checkpoint(both_lines(*order), ())) for order in (notes, notes[::-1])]
    assert breaks_of(renumbered(rows), OLD.trusted()) == [("sequence", 0)]


# --- what only an anchor tells ---


def test_truncation_behind_a_checkpoint_is_shorter_than_its_anchor() -> None:
    log = usual_log()
    cut = log.rows[:11]
    assert breaks_of(cut) == []
    assert breaks_of(cut, anchors=[anchor(log, 12)]) == [("shorter_than_anchor", 8)]


def test_log_cut_to_nothing_is_shorter_than_its_anchor() -> None:
    assert breaks_of([], anchors=[anchor(usual_log(), 12)]) == [("shorter_than_anchor", 0)]


def test_log_sealed_again_with_the_same_key_is_a_fork_behind_the_last_anchor_that_agrees() -> None:
    log = usual_log()
    forked = SignedLog().extend(4).checkpoint().append([Record(900, 1, None, b"new")])
    forked.next_source_offset = 901
    rows = forked.extend(9).checkpoint().rows
    assert breaks_of(rows) == []
    assert breaks_of(rows, anchors=[anchor(log, 12)]) == [("fork", 0)]
    assert breaks_of(rows, anchors=[anchor(log, 12), anchor(log, 4)]) == [("fork", 4)]


def test_anchor_is_compared_as_soon_as_its_size_is_sealed() -> None:
    log = SignedLog().extend(4).checkpoint()
    trail = Trail(ORIGIN, TRUSTED, anchors=[CheckpointText(ORIGIN, 4, b"\1" * 32)])
    with pytest.raises(BreakError, match="fork at index 0"):
        trail.feed_all(log.rows)


def test_anchor_between_two_checkpoints_is_compared() -> None:
    log = usual_log()
    rows = renumbered(without_checkpoints(log, 0, 12))
    assert breaks_of(rows, anchors=[anchor(log, 8)]) == []
    wrong = CheckpointText(ORIGIN, 8, b"\1" * 32)
    assert breaks_of(rows, anchors=[wrong]) == [("fork", 0)]


def test_anchor_whose_checkpoint_was_cut_off_is_compared_with_the_tail() -> None:
    log = usual_log()
    rows = log.rows[:-3]
    assert breaks_of(rows, anchors=[anchor(log, 12)]) == []
    assert breaks_of(rows, anchors=[CheckpointText(ORIGIN, 12, b"\1" * 32)]) == [("fork", 0)]


def test_anchor_of_another_log_says_nothing() -> None:
    other = CheckpointText(f"{BASE}/{TOPIC}/7", 4, b"\1" * 32)
    assert breaks_of(usual_log().rows, anchors=[other]) == []


def test_anchors_are_compared_without_keys_too() -> None:
    log = usual_log()
    assert breaks_of(log.rows[:11], None, anchors=[anchor(log, 12)]) == [
        ("shorter_than_anchor", 8)
    ]
    assert TRUSTED.vkeys == (KEY.vkey(),)
