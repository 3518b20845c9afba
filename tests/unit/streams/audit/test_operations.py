"""The operator's notes: one spelling, one signer, one deployment."""

from base64 import b64encode
from hashlib import sha256

import pytest

from streams.audit.checkpoint import CheckpointText, make_note
from streams.audit.note import (
    ED25519,
    MalformedError,
    Note,
    SignatureLine,
    TrustedKeys,
    parse_note,
    render_note,
)
from streams.audit.operations import (
    EpochForked,
    GapAccepted,
    KeyAdded,
    KeyRetired,
    Operation,
    SubjectErased,
    open_operation,
    operator_name,
    parse_operation,
    render_operation,
)
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.signed_logs import BASE, KEY, ORIGIN, Key

NEW = Key("new")
ROOT = sha256(b"root").digest()
ROOT64 = b64encode(ROOT).decode()
TRUSTED = OPERATOR.trusted(operator_name(BASE))
OTHER = f"{BASE}/memory.mutations/0"

ADDED = KeyAdded(vkey=NEW.vkey(), prefix=BASE)
RETIRED = KeyRetired(
    vkey=KEY.vkey(), heads=(CheckpointText(ORIGIN, 8, ROOT), CheckpointText(OTHER, 0, ROOT))
)
GAP = GapAccepted(origin=ORIGIN, size=12, expected=112, left=500)
FORK = EpochForked(
    origin=ORIGIN,
    size=12,
    root=ROOT,
    epoch=1,
    cluster_id="c-1",
    topic_id="t_2",
    offset=7,
)
ERASED = SubjectErased(key_id="k1", until=((ORIGIN, 9), (OTHER, 3)))
ALL: list[Operation] = [ADDED, RETIRED, GAP, FORK, ERASED]

TEXTS = {
    "key-added": f"vkey {NEW.vkey().render()}\nfor {BASE}\n",
    "key-retired": (
        f"vkey {KEY.vkey().render()}\nhead {ORIGIN} 8 {ROOT64}\nhead {OTHER} 0 {ROOT64}\n"
    ),
    "gap-accepted": f"origin {ORIGIN}\nsize 12\nfrom 112\nto 500\n",
    "epoch-forked": (
        f"origin {ORIGIN}\nsize 12\nroot {ROOT64}\nepoch 1\nsource c-1 t_2\noffset 7\n"
    ),
    "subject-erased": f"key-id k1\nuntil {ORIGIN} 9\nuntil {OTHER} 3\n",
}


def text_of(kind: str) -> str:
    return f"attestream.operation/{kind}/v1\n{TEXTS[kind]}"


@pytest.mark.parametrize(("kind", "operation"), list(zip(TEXTS, ALL, strict=True)))
def test_operation_is_the_text_of_the_format(kind: str, operation: Operation) -> None:
    assert render_operation(operation) == text_of(kind)
    assert parse_operation(text_of(kind)) == operation


@pytest.mark.parametrize("operation", ALL, ids=TEXTS)
def test_order_of_the_operator_opens(operation: Operation) -> None:
    assert open_operation(signed_order(operation), BASE, TRUSTED) == operation


# --- one spelling ---


@pytest.mark.parametrize("kind", TEXTS)
def test_operation_with_any_line_dropped_doubled_or_moved_is_refused(kind: str) -> None:
    lines = text_of(kind).splitlines(keepends=True)
    # A log's line may be left out: then it is another operation of one spelling.
    rest = [at for at, line in enumerate(lines) if line.split(" ")[0] not in {"head", "until"}]
    for at in rest:
        with pytest.raises(MalformedError):
            parse_operation("".join(lines[:at] + lines[at + 1 :]))
    for at in range(len(lines)):
        with pytest.raises(MalformedError):
            parse_operation("".join([*lines[: at + 1], *lines[at:]]))
    for at in range(len(lines) - 1):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        with pytest.raises(MalformedError):
            parse_operation("".join(swapped))


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize(
    ("was", "now"),
    [("/v1", "/v2"), ("\n", "\r\n"), (" ", "  "), (" ", "\t"), ("\n", "\n\n"), ("\n", " \n")],
)
def test_operation_spelt_otherwise_is_refused(kind: str, was: str, now: str) -> None:
    with pytest.raises(MalformedError):
        parse_operation(text_of(kind).replace(was, now, 1))
    with pytest.raises(MalformedError):
        parse_operation(text_of(kind)[: -len(was)] + now)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("size 12", "size 012"),
        ("size 12", "size +12"),
        ("size 12", "size -1"),
        ("size 12", "size 1_2"),
        ("size 12", "size ١٢"),
        ("size 12", "size"),
        ("size 12", "size " + "9" * 5000),
        ("size 12", f"size {2**63}"),
        ("to 500", "to 112"),
        (f"origin {ORIGIN}", f"origin {BASE}"),
        (f"origin {ORIGIN}", f"origin {ORIGIN}/e0"),
    ],
)
def test_gap_that_is_none_is_refused(was: str, now: str) -> None:
    with pytest.raises(MalformedError):
        parse_operation(text_of("gap-accepted").replace(was, now))


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("epoch 1", "epoch 2"),
        ("epoch 1", "epoch 0"),
        ("source c-1 t_2", "source c-1"),
        ("source c-1 t_2", "source c-1 t_2 x"),
        (ROOT64, b64encode(ROOT[1:]).decode()),
        (ROOT64, ROOT64.rstrip("=")),
    ],
)
def test_fork_that_does_not_follow_is_refused(was: str, now: str) -> None:
    with pytest.raises(MalformedError):
        parse_operation(text_of("epoch-forked").replace(was, now))


def test_heads_are_one_a_log_in_order() -> None:
    head = CheckpointText(ORIGIN, 9, ROOT)
    for heads in ((RETIRED.heads[1], RETIRED.heads[0]), (RETIRED.heads[0], head)):
        with pytest.raises(MalformedError):
            render_operation(KeyRetired(vkey=KEY.vkey(), heads=heads))


def test_key_is_not_added_for_more_than_its_name() -> None:
    with pytest.raises(MalformedError):
        render_operation(KeyAdded(vkey=NEW.vkey(ORIGIN), prefix=BASE))


@pytest.mark.parametrize("key_id", ["", "k 1", "k\n1", "k+1"])
def test_erasure_of_no_key_is_refused(key_id: str) -> None:
    with pytest.raises(MalformedError):
        render_operation(SubjectErased(key_id=key_id, until=((ORIGIN, 9),)))
    with pytest.raises(MalformedError):
        render_operation(SubjectErased(key_id="k1", until=()))


# --- one signer ---


def test_note_that_another_key_signed_under_the_operators_name_is_ignored() -> None:
    assert open_operation(signed_order(ADDED, key=KEY), BASE, TRUSTED) is None


def test_key_of_the_logs_is_no_operator() -> None:
    # Its name is above the operator's, so it is trusted for a log of that name.
    keys = TrustedKeys([OPERATOR.vkey(operator_name(BASE)), KEY.vkey(BASE)])
    assert open_operation(signed_order(ADDED, key=KEY), BASE, keys) is None


def test_operators_line_made_under_another_name_is_ignored() -> None:
    note = parse_note(signed_order(ADDED).decode())
    for name in (BASE, ORIGIN, operator_name("elsewhere")):
        vkey = OPERATOR.vkey(name)
        line = SignatureLine(name, vkey.key_id, note.lines[0].signature)
        moved = render_note(Note(note.text, (line,))).encode()
        assert open_operation(moved, BASE, TRUSTED) is None


def test_order_with_any_byte_changed_is_ignored() -> None:
    order = signed_order(GAP)
    for at in range(len(order)):
        changed = order[:at] + bytes([order[at] ^ 1]) + order[at + 1 :]
        assert open_operation(changed, BASE, TRUSTED) is None


def test_order_with_a_bad_line_of_the_operator_beside_the_good_one_is_ignored() -> None:
    note = parse_note(signed_order(ADDED).decode())
    bad = note.lines[0]._replace(signature=bytes(64))
    assert (
        open_operation(render_note(Note(note.text, (*note.lines, bad))).encode(), BASE, TRUSTED)
        is None
    )


def test_order_with_a_strangers_line_beside_the_good_one_opens() -> None:
    note = parse_note(signed_order(ADDED).decode())
    lines = (SignatureLine("witness", b"1234", b"5"), *note.lines)
    assert open_operation(render_note(Note(note.text, lines)).encode(), BASE, TRUSTED) == ADDED


@pytest.mark.parametrize("value", [b"", b"\xff", b"\xc3\x01avro", b"text\n\n", b"\n\n\n"])
def test_bytes_that_are_no_note_are_ignored(value: bytes) -> None:
    assert open_operation(value, BASE, TRUSTED) is None


def test_checkpoint_the_operator_signed_is_no_order_and_not_passed_over() -> None:
    text = CheckpointText(operator_name(BASE), 1, ROOT)
    signature = OPERATOR.sign(text.render().encode())
    note = make_note(text, ED25519, OPERATOR.public, signature)
    with pytest.raises(MalformedError, match="no operation that is known"):
        open_operation(note.encode(), BASE, TRUSTED)


def test_order_of_a_later_release_is_not_passed_over() -> None:
    text = text_of("key-added").replace("/v1", "/v2")
    vkey = OPERATOR.vkey(operator_name(BASE))
    line = SignatureLine(vkey.name, vkey.key_id, OPERATOR.sign(text.encode()))
    with pytest.raises(MalformedError, match="no operation that is known"):
        open_operation(render_note(Note(text, (line,))).encode(), BASE, TRUSTED)


# --- one deployment ---


@pytest.mark.parametrize("operation", ALL, ids=TEXTS)
def test_order_to_another_deployment_of_the_same_operator_is_ignored(
    operation: Operation,
) -> None:
    # The signature does not cover the name in its line: only the text tells whom it is for.
    elsewhere = "audit.example.com/elsewhere"
    order = signed_order(operation, base=elsewhere)
    keys = OPERATOR.trusted(operator_name(elsewhere))
    assert open_operation(order, elsewhere, keys) is None
    assert open_operation(order, BASE, TRUSTED) is None


def test_order_for_a_name_that_only_begins_like_ours_is_ignored() -> None:
    longer = ORIGIN.replace(BASE, BASE + "ing")
    gap = GapAccepted(origin=longer, size=1, expected=2, left=3)
    assert open_operation(signed_order(gap), BASE, TRUSTED) is None
