"""Laws of the operator's notes: round trips, idempotence, and a verdict that no order sways."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import MalformedError
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
from streams.audit.trust import TrustHistory
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.signed_logs import BASE, Key

KEYS = [Key(word) for word in "abc"]
TRUSTED = OPERATOR.trusted(operator_name(BASE))
origins = st.builds(
    "{}/{}/{}".format,
    st.just(BASE),
    st.from_regex(r"[a-z._-]{1,8}", fullmatch=True),
    st.integers(0, 2**31 - 1),
)
vkeys = st.sampled_from(KEYS).map(lambda key: key.vkey())
sizes = st.integers(0, 2**63 - 1)
roots = st.binary(min_size=32, max_size=32)
names = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1).filter(
    lambda text: "+" not in text and not any(c.isspace() for c in text)
)


def by_origin(pairs: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(pairs.items())


heads = st.dictionaries(origins, st.tuples(sizes, roots), max_size=4).map(
    lambda found: tuple(CheckpointText(o, *rest) for o, rest in by_origin(found))
)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(KeyAdded, vkey=vkeys, prefix=origins | st.just(BASE)),
    st.builds(KeyRetired, vkey=vkeys, heads=heads),
    st.builds(
        lambda origin, size, ends: GapAccepted(
            origin=origin, size=size, expected=min(ends), left=max(ends)
        ),
        origins,
        sizes,
        st.sets(sizes, min_size=2, max_size=2),
    ),
    st.builds(
        EpochForked,
        origin=origins,
        size=sizes,
        root=roots,
        epoch=st.just(1),
        cluster_id=names,
        topic_id=names,
        offset=sizes,
    ),
    st.builds(
        SubjectErased,
        key_id=names,
        until=st.dictionaries(origins, sizes, min_size=1, max_size=4).map(
            lambda found: tuple(by_origin(found))
        ),
    ),
)


@given(operations)
def test_order_survives_its_note(operation: Operation) -> None:
    assert open_operation(signed_order(operation), BASE, TRUSTED) == operation


@given(operations, st.data())
def test_text_changed_anywhere_is_another_operation_or_none(
    operation: Operation, data: st.DataObject
) -> None:
    text = render_operation(operation)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    try:
        found = parse_operation(changed)
    except MalformedError:
        return
    assert (found == operation) == (changed == text)
    assert render_operation(found) == changed


@given(st.binary(max_size=400) | operations.map(signed_order), st.integers(0, 400), st.binary())
def test_any_bytes_open_or_are_ignored(value: bytes, at: int, junk: bytes) -> None:
    for bytes_ in (value, value[:at] + junk + value[at + len(junk) :]):
        found = open_operation(bytes_, BASE, TRUSTED)
        assert found is None or signed_order(found).split(b"\n\n")[0] in bytes_


@given(st.lists(operations, max_size=8), st.data())
def test_operations_sent_again_anywhere_behind_change_nothing(
    order: list[Operation], data: st.DataObject
) -> None:
    once = TrustHistory.of(order)
    twice = TrustHistory()
    for n, operation in enumerate(order):
        twice.apply(operation)
        for again in data.draw(st.lists(st.sampled_from(order[: n + 1]), max_size=2)):
            assert not twice.apply(again)
    assert twice.operations == once.operations
    assert [v.render() for v in twice.keys.vkeys] == [v.render() for v in once.keys.vkeys]


@given(st.lists(operations, max_size=8), origins, sizes)
def test_key_once_retired_never_counts_beyond_its_heads_again(
    order: list[Operation], origin: str, size: int
) -> None:
    history = TrustHistory()
    limits: dict[bytes, dict[str, int]] = {}
    for operation in order:
        history.apply(operation)
        if isinstance(operation, KeyRetired):
            heads = {head.origin: head.size for head in operation.heads}
            limits.setdefault(operation.vkey.key, heads)
    for place in (origin, *(o for heads in limits.values() for o in heads)):
        for known in history.keys.for_checkpoint(place, size).values():
            for vkey in known:
                assert size <= limits.get(vkey.key, {place: size}).get(place, -1)
