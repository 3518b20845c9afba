"""Trust that moves: what keys count for what, whatever is sent again, and by whom."""

from base64 import b64encode
from hashlib import sha256

import pytest

from schemas.audit_values import encode_content
from schemas.records import Record
from streams.audit.checkpoint import CheckpointText, joined_notes, open_note
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import MalformedError, TrustedKeys, Vkey
from streams.audit.operations import (
    EpochForked,
    GapAccepted,
    KeyAdded,
    KeyRetired,
    Operation,
    SubjectErased,
    operator_name,
)
from streams.audit.trust import TrustHistory, opened_operations
from streams.errors import BreakError
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.signed_logs import BASE, KEY, ORIGIN, Key

OLD, NEW, NEWEST = KEY, Key("new"), Key("newest")
OTHER = f"{BASE}/memory.mutations/0"
ROOT = sha256(b"root").digest()
HEAD = CheckpointText(ORIGIN, 8, ROOT)


def added(key: Key, prefix: str = BASE, name: str = BASE) -> KeyAdded:
    return KeyAdded(vkey=key.vkey(name), prefix=prefix)


def retired(key: Key, *heads: CheckpointText, name: str = BASE) -> KeyRetired:
    return KeyRetired(vkey=key.vkey(name), heads=heads)


def opens(key: Key, keys: TrustedKeys, size: int, origin: str = ORIGIN) -> bool:
    try:
        open_note(key.note(size, ROOT, origin), origin, keys)
    except BreakError as error:
        if error.kind != "unknown_key":
            raise
        return False
    return True


def test_nobody_counts_before_the_operator_said_so() -> None:
    assert not opens(OLD, TrustHistory().keys, 0)


def test_key_added_counts_for_its_prefix_and_nowhere_else() -> None:
    keys = TrustHistory.of([added(NEW, ORIGIN)]).keys
    assert opens(NEW, keys, 5)
    assert not opens(NEW, keys, 5, OTHER)


def test_key_given_counts_beside_those_added() -> None:
    keys = TrustHistory.of([added(NEW)], given=[OLD.vkey()]).keys
    assert opens(OLD, keys, 5)
    assert opens(NEW, keys, 5)


def test_retired_key_counts_up_to_its_head_and_not_beyond() -> None:
    keys = TrustHistory.of([added(OLD), added(NEW), retired(OLD, HEAD)]).keys
    assert opens(OLD, keys, 0)
    assert opens(OLD, keys, 8)
    assert not opens(OLD, keys, 9)
    assert opens(NEW, keys, 9)


def test_retired_key_counts_nowhere_in_a_log_without_a_head_of_it() -> None:
    keys = TrustHistory.of([added(OLD), retired(OLD, HEAD)]).keys
    assert not opens(OLD, keys, 0, OTHER)


def test_retired_line_beyond_its_head_is_ignored_even_where_it_is_bad() -> None:
    keys = TrustHistory.of([added(OLD), added(NEW), retired(OLD, HEAD)]).keys
    bad = OLD.note(9, EMPTY_ROOT).splitlines()[-1]
    text = open_note(NEW.note(9, ROOT) + bad + "\n", ORIGIN, keys)
    assert text.size == 9
    with pytest.raises(BreakError, match="bad_signature"):
        open_note(NEW.note(8, ROOT) + bad + "\n", ORIGIN, keys)


def test_both_lines_of_an_overlap_open_under_either_key() -> None:
    note = joined_notes([OLD.note(9, ROOT), NEW.note(9, ROOT), OLD.note(9, ROOT)])
    assert note.count("\N{EM DASH}") == 2
    for key in (OLD, NEW):
        assert open_note(note, ORIGIN, key.trusted()).size == 9


def test_notes_of_two_texts_are_not_joined() -> None:
    with pytest.raises(ValueError, match="one text"):
        joined_notes([OLD.note(9, ROOT), NEW.note(8, ROOT)])


def test_keys_follow_every_order_as_it_is_applied() -> None:
    history = TrustHistory([OLD.vkey()])
    assert not opens(NEW, history.keys, 9)
    assert history.apply(added(NEW))
    assert opens(NEW, history.keys, 9)
    assert history.apply(retired(OLD, HEAD))
    assert not opens(OLD, history.keys, 9)


def test_key_that_was_only_given_was_not_added() -> None:
    history = TrustHistory([OLD.vkey()])
    assert not history.is_added(OLD.vkey())
    assert history.apply(added(OLD, ORIGIN))
    assert history.is_added(OLD.vkey())
    assert not history.is_added(NEW.vkey())


# --- attacks ---


def test_retired_key_is_not_brought_back_by_the_note_that_added_it() -> None:
    history = TrustHistory.of([added(OLD), retired(OLD, HEAD)])
    assert not history.apply(added(OLD))
    assert not opens(OLD, history.keys, 9)


def test_retired_key_is_not_brought_back_under_another_name() -> None:
    history = TrustHistory.of([added(OLD), retired(OLD, HEAD)])
    assert not history.apply(added(OLD, ORIGIN, ORIGIN))
    assert not opens(OLD, history.keys, 9)


def test_key_retired_under_one_name_is_retired_under_all() -> None:
    history = TrustHistory.of([added(OLD), added(OLD, OTHER, OTHER)])
    history.apply(retired(OLD, HEAD, name=OTHER))
    assert not opens(OLD, history.keys, 1, OTHER)
    assert not opens(OLD, history.keys, 9)


def test_key_retired_before_it_is_added_never_counts() -> None:
    keys = TrustHistory.of([retired(NEW, HEAD), added(NEW)]).keys
    assert not opens(NEW, keys, 9)


def test_key_that_was_given_is_retired_like_one_added() -> None:
    keys = TrustHistory.of([retired(OLD, HEAD)], given=[OLD.vkey()]).keys
    assert opens(OLD, keys, 8)
    assert not opens(OLD, keys, 9)


def test_second_retirement_does_not_move_the_head() -> None:
    history = TrustHistory.of([added(OLD), retired(OLD, HEAD)])
    assert not history.apply(retired(OLD, HEAD._replace(size=800)))
    assert not opens(OLD, history.keys, 9)
    assert history.heads(ORIGIN) == (HEAD,)


def test_notes_sent_again_change_nothing() -> None:
    gap = GapAccepted(origin=ORIGIN, size=8, expected=20, left=50)
    erased = SubjectErased(key_id="k", until=((ORIGIN, 3),))
    order: list[Operation] = [added(OLD), added(NEW), retired(OLD, HEAD), gap, erased]
    history = TrustHistory.of(order)
    assert not any(history.apply(operation) for operation in order)
    assert history.operations == order


def test_contents_the_operator_did_not_sign_move_no_trust() -> None:
    orders = [
        signed_order(added(OLD)),
        signed_order(added(NEWEST), key=NEWEST),
        signed_order(retired(OLD), key=OLD),
        signed_order(added(NEWEST), base="audit.example.com/elsewhere"),
        b"\xc3\x01 an Avro event",
        signed_order(added(NEW)),
    ]
    contents = [encode_content(Record(n, 0, None, value)) for n, value in enumerate(orders)]
    contents.append(encode_content(Record(9, 0, b"key", None)))
    contents.append(encode_content(Record(10, 0, None, bytes(9 * 2**20))))  # omitted
    operator = OPERATOR.trusted(operator_name(BASE))
    assert list(opened_operations(contents, BASE, operator)) == [added(OLD), added(NEW)]


def test_unknown_order_of_the_operator_is_not_passed_over() -> None:
    text = "attestream.operation/key-added/v9\n"
    name = operator_name(BASE)
    vkey = Vkey(name, 1, OPERATOR.public)
    line = b64encode(vkey.key_id + OPERATOR.sign(text.encode())).decode()
    content = encode_content(Record(0, 0, None, f"{text}\n\N{EM DASH} {name} {line}\n".encode()))
    with pytest.raises(MalformedError):
        list(opened_operations([content], BASE, OPERATOR.trusted(name)))


# --- who may sign next, gaps, forks ---


def test_current_key_is_added_and_not_retired() -> None:
    history = TrustHistory.of([added(OLD), added(NEW, ORIGIN)])
    assert history.is_current(NEW.vkey("any/name"), ORIGIN)
    assert not history.is_current(NEW.vkey(), OTHER)
    history.apply(retired(OLD, HEAD))
    assert not history.is_current(OLD.vkey(), ORIGIN)
    assert not history.is_current(NEWEST.vkey(), ORIGIN)


def test_gap_is_accepted_for_one_log_at_one_size_and_offset() -> None:
    gap = GapAccepted(origin=ORIGIN, size=8, expected=20, left=50)
    later = GapAccepted(origin=ORIGIN, size=8, expected=20, left=70)
    history = TrustHistory.of([gap, later, gap])
    assert history.accepted_gap(ORIGIN, 8, 20) == later
    assert history.accepted_gap(ORIGIN, 9, 20) is None
    assert history.accepted_gap(ORIGIN, 8, 21) is None
    assert history.accepted_gap(OTHER, 8, 20) is None


def test_first_fork_of_a_log_stands() -> None:
    fork = EpochForked(
        origin=ORIGIN, size=8, root=ROOT, epoch=1, cluster_id="c", topic_id="t", offset=0
    )
    second = EpochForked(
        origin=ORIGIN, size=3, root=ROOT, epoch=1, cluster_id="c", topic_id="t", offset=0
    )
    history = TrustHistory.of([fork])
    assert not history.apply(second)
    assert history.fork(ORIGIN) == fork
    assert history.fork(OTHER) is None
    assert history.heads(ORIGIN) == (HEAD,)
    assert history.origins == {ORIGIN}
