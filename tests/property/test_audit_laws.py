"""Laws of the audit core: round trips, strictness, a naive RFC 6962 oracle, any byte changed."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.audit_values import (
    decode_audit_value,
    decode_content,
    encode_audit_record,
    encode_checkpoint,
    encode_content,
    is_usual_plain,
)
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Record, Source
from streams.audit.checkpoint import CheckpointText, open_note, parse_checkpoint
from streams.audit.leaf import leaf_entry, leaf_hash
from streams.audit.merkle import EMPTY_ROOT, Frontier, node_hash
from streams.audit.note import MalformedError, Vkey, parse_note, render_note
from streams.audit.proofs import (
    TlogProof,
    inclusion_proofs,
    parse_tlog_proof,
    render_tlog_proof,
    verify_consistency,
    verify_inclusion,
)
from streams.audit.record_checks import UsualRecords
from streams.audit.sealing import plan_batch
from streams.audit.trail import Trail
from streams.errors import BreakError, VerificationError
from tests.support.forgeries import breaks_of
from tests.support.signed_logs import KEY, ORIGIN, PARTITION, TOPIC, SignedLog, usual_log

longs = st.integers(-(2**63), 2**63 - 1)
optional_bytes = st.none() | st.binary(max_size=200)
headers = st.lists(st.tuples(st.binary(max_size=20), optional_bytes), max_size=4).map(tuple)
source_records = st.builds(
    Record,
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**50),
    key=optional_bytes,
    value=optional_bytes | st.binary(min_size=8000, max_size=8400),
    headers=headers,
)
hashes = st.binary(min_size=32, max_size=32)
texts = st.text(max_size=60)
audit_records = st.builds(
    AuditRecord,
    index=longs,
    source=st.builds(
        Source,
        topic=texts,
        partition=st.integers(-(2**31), 2**31 - 1),
        offset=longs,
        timestamp=longs,
    ),
    content=st.binary(max_size=300),
    leaf=hashes,
)
checkpoints = st.builds(Checkpoint, note=texts, frontier=st.lists(hashes, max_size=70).map(tuple))


# --- values ---


@given(audit_records)
def test_audit_record_survives_encoding(record: AuditRecord) -> None:
    assert decode_audit_value(encode_audit_record(record)) == record


@given(checkpoints)
def test_checkpoint_survives_encoding(checkpoint: Checkpoint) -> None:
    assert decode_audit_value(encode_checkpoint(checkpoint)) == checkpoint


@given(source_records)
def test_content_survives_encoding(record: Record) -> None:
    content = encode_content(record)
    assert decode_content(content) == (record.key, record.value, record.headers)


@given(st.binary(max_size=300) | source_records.map(encode_content), st.data())
def test_content_that_is_accepted_has_no_other_encoding(
    content: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, max(len(content) - 1, 0)))
    mutated = content[:at] + data.draw(st.binary(max_size=3)) + content[at + 1 :]
    for candidate in (content, mutated):
        try:
            decoded = decode_content(candidate)
        except DecodeError:
            assert len(candidate) < 133 or not is_usual_plain(candidate)
            continue
        if len(decoded) == 3:
            assert encode_content(Record(0, 0, *decoded)) == candidate


@given(st.binary(max_size=200), st.sampled_from(["31939f51e3268559", "8d3ad55c060df88d"]))
def test_decoder_of_values_raises_nothing_but_decode_errors(body: bytes, schema: str) -> None:
    for value in (body, b"\xc3\x01" + bytes.fromhex(schema) + body):
        try:
            decoded = decode_audit_value(value)
        except DecodeError:
            continue
        encode = encode_checkpoint if isinstance(decoded, Checkpoint) else encode_audit_record
        assert len(encode(decoded)) <= len(value)  # type: ignore[arg-type]


# --- leaves and plans ---


@settings(deadline=None)
@given(st.lists(source_records, min_size=1, max_size=6), st.integers(0, 2**40))
def test_plan_agrees_with_the_plain_definitions(records: list[Record], before: int) -> None:
    frontier = Frontier.of(before, [bytes([n]) * 32 for n in range(before.bit_count())])
    nodes = frontier.nodes
    plan = plan_batch(frontier, TOPIC, PARTITION, records)
    assert frontier.nodes == nodes
    one_by_one = frontier.copy()
    for index, (record, new) in enumerate(zip(records, plan.records, strict=True), before):
        source = Source(TOPIC, PARTITION, record.offset, record.timestamp)
        content = encode_content(record)
        leaf = leaf_hash(index, source, content)
        assert new.value == encode_audit_record(AuditRecord(index, source, content, leaf))
        assert (new.key, new.headers) == (None, ())
        assert new.timestamp == max(record.timestamp, 0)
        one_by_one.append(leaf)
    assert plan.frontier.nodes == one_by_one.nodes


@given(source_records, st.integers(0, 2**62))
def test_what_is_usual_is_what_decoding_gives(record: Record, index: int) -> None:
    (new,) = plan_batch(
        Frontier.of(index, [b"\1" * 32] * index.bit_count()), TOPIC, PARTITION, [record]
    ).records
    value = decode_audit_value(new.value)
    assert isinstance(value, AuditRecord)
    usual = UsualRecords(TOPIC, PARTITION)
    found = usual.content_and_leaf(new.value, index, record.offset, record.timestamp)
    assert found in (None, (value.content, value.leaf))
    if record.headers == () and len(value.content) > 300 and record.timestamp >= 0:
        assert (found is None) == (len(record.key or b"") > 63)


def test_entry_is_never_longer_than_the_format_says() -> None:
    source = Source("t" * 249, 2**31 - 1, 2**63 - 1, 2**63 - 1)
    assert len(leaf_entry(2**63 - 1, source, b"")) == 385


# --- tree and proofs, against RFC 6962 §2.1 as it is written ---

LEAVES = [sha256(b"%d" % n).digest() for n in range(300)]


def split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


class Oracle:
    """RFC 6962 §2.1, word for word."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], bytes] = {}

    def root(self, low: int, high: int) -> bytes:
        if high - low <= 1:
            return LEAVES[low] if high > low else EMPTY_ROOT
        if (low, high) not in self.known:
            k = low + split(high - low)
            self.known[low, high] = node_hash(self.root(low, k), self.root(k, high))
        return self.known[low, high]

    def path(self, index: int, low: int, high: int) -> list[bytes]:
        if high - low == 1:
            return []
        k = low + split(high - low)
        if index < k:
            return [*self.path(index, low, k), self.root(k, high)]
        return [*self.path(index, k, high), self.root(low, k)]

    def subproof(self, size: int, low: int, high: int, *, whole: bool) -> list[bytes]:
        if low + size == high:
            return [] if whole else [self.root(low, high)]
        k = split(high - low)
        if size <= k:
            return [*self.subproof(size, low, low + k, whole=whole), self.root(low + k, high)]
        return [
            *self.subproof(size - k, low + k, high, whole=False),
            self.root(low, low + k),
        ]


ORACLE = Oracle()


def test_roots_agree_with_the_oracle_up_to_300_leaves() -> None:
    one_by_one = Frontier()
    for size in range(301):
        assert one_by_one.root() == ORACLE.root(0, size)
        assert len(one_by_one.nodes) == size.bit_count()
        at_once = Frontier()
        at_once.extend(LEAVES[: size // 3])
        at_once.extend(LEAVES[size // 3 : size])
        assert (at_once.size, at_once.nodes) == (size, one_by_one.nodes)
        if size < 300:
            one_by_one.append(LEAVES[size])


def test_inclusion_proofs_agree_with_the_oracle_up_to_300_leaves() -> None:
    for size in range(1, 301):
        before = Frontier()
        before.extend(LEAVES[: size * size % size or size // 2])
        indexes = range(before.size, size)
        root = ORACLE.root(0, size)
        proofs = inclusion_proofs(before, LEAVES[before.size : size], indexes)
        for index, proof in zip(indexes, proofs, strict=True):
            assert list(proof) == ORACLE.path(index, 0, size)
        for index in {0, size // 3, size - 1}:
            verify_inclusion(index, size, LEAVES[index], ORACLE.path(index, 0, size), root)


def test_consistency_proofs_of_the_oracle_hold_up_to_300_leaves() -> None:
    for new in range(1, 301):
        for old in {1, new // 3, new // 2, 1 << (new.bit_length() - 1), new - 1, new} - {0}:
            proof = ORACLE.subproof(old, 0, new, whole=True)
            verify_consistency((old, new), (ORACLE.root(0, old), ORACLE.root(0, new)), proof)


sizes = st.integers(1, 300)


def bit_flipped(proof: Sequence[bytes], at: int, bit: int) -> list[bytes]:
    node = bytearray(proof[at])
    node[bit // 8] ^= 1 << bit % 8
    return [*proof[:at], bytes(node), *proof[at + 1 :]]


@given(sizes, st.data())
def test_inclusion_proof_with_any_change_fails(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = ORACLE.path(index, 0, size), ORACLE.root(0, size)
    forged = [[*proof, proof[-1] if proof else root], proof[1:], proof[:-1]] if proof else []
    forged += [bit_flipped(proof, at, data.draw(st.integers(0, 255))) for at in range(len(proof))]
    for one in forged:
        with pytest.raises(VerificationError):
            verify_inclusion(index, size, LEAVES[index], one, root)
    for other in {index - 1, index + 1, size, -1} - {index}:
        with pytest.raises(VerificationError):
            verify_inclusion(other, size, LEAVES[index], proof, root)


@given(sizes, st.data())
def test_consistency_proof_with_any_change_fails(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = ORACLE.subproof(old, 0, new, whole=True)
    roots = ORACLE.root(0, old), ORACLE.root(0, new)
    forged = [[*proof, roots[0]]]
    forged += [proof[1:], proof[:-1]] if proof else []
    forged += [bit_flipped(proof, at, data.draw(st.integers(0, 255))) for at in range(len(proof))]
    for one in forged:
        with pytest.raises(VerificationError):
            verify_consistency((old, new), roots, one)
    for wrong in ((roots[0], b"\0" * 32), (b"\0" * 32, roots[1])):
        with pytest.raises(VerificationError):
            verify_consistency((old, new), wrong, proof)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_consistency_from_size_0_is_refused(size: int) -> None:
    with pytest.raises(VerificationError):
        verify_consistency((0, size), (EMPTY_ROOT, ORACLE.root(0, size)), [])


# --- texts ---


@given(texts, st.integers(0, 2**64 - 1), hashes)
def test_checkpoint_text_is_read_as_written_or_not_at_all(
    origin: str, size: int, root: bytes
) -> None:
    text = CheckpointText(origin, size, root)
    try:
        assert CheckpointText.parse(text.render()) == text
    except MalformedError:
        assert (
            not origin
            or set(origin) & set("+\n")
            or any(c.isspace() or c < " " for c in origin)
            or ("" in origin.split("/"))
        )


@given(st.text(max_size=300) | st.text("a\n \N{EM DASH}+=/9", max_size=80))
def test_parsers_of_text_raise_nothing_but_their_error(text: str) -> None:
    for parse in (parse_note, Vkey.parse, parse_tlog_proof, CheckpointText.parse):
        try:
            parsed = parse(text)
        except MalformedError:
            continue
        if isinstance(parsed, CheckpointText | Vkey):
            assert parsed.render() == text


NOTE = KEY.note(7, b"\3" * 32)


@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_note_with_any_character_changed_is_refused(at: int, character: str) -> None:
    changed = NOTE[:at] + character + NOTE[at + 1 :]
    if changed == NOTE:
        return
    with pytest.raises(BreakError):
        open_note(changed, ORIGIN, KEY.trusted())


def test_note_is_rendered_as_it_was_read() -> None:
    assert render_note(parse_checkpoint(NOTE)[1]) == NOTE


@given(st.integers(0, 2**63 - 1), st.lists(hashes, max_size=63), st.none() | st.binary())
def test_tlog_proof_survives_its_file(index: int, proof: list[bytes], extra: bytes | None) -> None:
    written = TlogProof(index, tuple(proof), NOTE, extra)
    assert parse_tlog_proof(render_tlog_proof(written)) == written


# --- the trail ---

USUAL = usual_log()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_byte_breaks_the_trail(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(USUAL.rows) - 1))
    value = bytearray(USUAL.rows[at].value or b"")
    byte = data.draw(st.integers(0, len(value) - 1))
    value[byte] ^= data.draw(st.integers(1, 255))
    rows = [*USUAL.rows[:at], USUAL.rows[at]._replace(value=bytes(value)), *USUAL.rows[at + 1 :]]
    assert breaks_of(rows)


# Long records are what it is about, so examples are large.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(
    st.lists(st.lists(source_records.map(lambda r: r._replace(offset=0)), max_size=4), max_size=5),
    st.data(),
)
def test_any_records_under_any_lagging_checkpoints_are_valid_history(
    batches: list[list[Record]], data: st.DataObject
) -> None:
    log, offset, signed = SignedLog(), 0, 0
    for batch in batches:
        step = data.draw(st.integers(1, 3))
        log.append(r._replace(offset=offset + n * step) for n, r in enumerate(batch))
        offset += len(batch) * step
        size = data.draw(st.integers(signed, log.frontier.size))
        if size > signed:
            log.checkpoint(signed := size)
    one, many = Trail(None, KEY.trusted()), Trail(None, KEY.trusted())
    for row in log.rows:
        one.feed(row)
    many.feed_all(log.rows)
    for trail in (one, many):
        trail.finish()
        assert (trail.size, trail.tail) == (signed, log.frontier.size - signed)
        assert trail.root == _root(log, signed)
        assert trail.records == log.frontier.size


def garbled(rows: list[Record], data: st.DataObject) -> list[Record]:
    at = data.draw(st.integers(0, len(rows) - 1))
    other = data.draw(st.integers(0, len(rows) - 1))
    match data.draw(st.sampled_from(["drop", "swap", "double", "garble", "value"])):
        case "drop":
            return rows[:at] + rows[at + 1 :] or rows
        case "swap":
            rows[at], rows[other] = rows[other], rows[at]
        case "double":
            rows.insert(at, rows[other])
        case "garble":
            rows[at] = rows[at]._replace(value=data.draw(st.none() | st.binary(max_size=40)))
        case _:
            rows[at] = rows[at]._replace(value=rows[other].value)
    return rows


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_patient_trail_survives_whatever_is_fed(data: st.DataObject) -> None:
    rows = list(USUAL.rows)
    for _ in range(data.draw(st.integers(1, 6))):
        rows = garbled(rows, data)
    # A strict trail stops at what a patient one tells first: `breaks_of` compares them.
    assert breaks_of(rows) or len(rows) <= len(USUAL.rows)


def _root(log: SignedLog, size: int) -> bytes:
    frontier = Frontier()
    frontier.extend(log.leaves[:size])
    return frontier.root()
