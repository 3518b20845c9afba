"""The audit core against vectors made by independent programs, byte for byte."""

from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.audit_values import (
    decode_audit_value,
    decode_content,
    encode_audit_record,
    encode_checkpoint,
    encode_content,
)
from schemas.records import AuditRecord, Checkpoint, Encrypted, Omitted, Plain, Record, Source
from streams.audit.checkpoint import CheckpointText, check_signatures, make_note, open_note
from streams.audit.leaf import leaf_entry, leaf_hash
from streams.audit.merkle import Frontier
from streams.audit.note import (
    ECDSA_P256,
    ED25519,
    MalformedError,
    TrustedKeys,
    Vkey,
    parse_note,
    render_note,
)
from streams.audit.proofs import (
    inclusion_proof,
    parse_tlog_proof,
    render_tlog_proof,
    verify_consistency,
    verify_inclusion,
)
from streams.audit.sealing import checkpoint_record, plan_batch
from streams.audit.trail import Trail
from streams.errors import BreakError
from tests.support.vectors import C2SP, LOG, blob, log_rows, source_record

ORIGIN = LOG["origin"]
TOPIC = "memory.mutations"


def hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


# --- the log ---


def test_plan_of_the_source_records_is_the_vector_partition() -> None:
    plan = plan_batch(Frontier(), TOPIC, 0, [source_record(r) for r in LOG["records"]])
    expected = [row for row in LOG["partition"] if row["kind"] == "AuditRecord"]
    assert [new.value for new in plan.records] == [blob(row["value"]) for row in expected]
    assert [new.timestamp for new in plan.records] == [row["kafka_timestamp"] for row in expected]
    assert plan.leaves == [bytes.fromhex(r["leaf_hash_hex"]) for r in LOG["records"]]
    assert plan.bytes == sum(len(new.value) for new in plan.records)
    assert plan.frontier.root().hex() == LOG["checkpoints"][-1]["root_hex"]


@pytest.mark.parametrize("described", LOG["records"], ids=lambda r: r["why"])
def test_content_entry_and_leaf_of_a_record(described: dict[str, Any]) -> None:
    record = source_record(described)
    content = encode_content(record)
    source = Source(**described["source"])
    assert content == blob(described["content"])
    assert sha256(content).hexdigest() == described["content"]["sha256_hex"]
    assert decode_content(content) == Plain(record.key, record.value, record.headers)
    assert leaf_entry(described["index"], source, content).decode() == described["entry_text"]
    assert leaf_hash(described["index"], source, content).hex() == described["leaf_hash_hex"]


def test_every_value_of_the_partition_survives_decoding() -> None:
    for row in log_rows():
        value = decode_audit_value(row.value or b"")
        encode = encode_checkpoint if isinstance(value, Checkpoint) else encode_audit_record
        assert encode(value) == row.value  # type: ignore[arg-type]


@pytest.mark.parametrize("described", LOG["checkpoints"], ids=lambda c: f"size {c['size']}")
def test_checkpoint_is_signed_byte_for_byte(described: dict[str, Any]) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(LOG["ed25519_seed_hex"]))
    text = CheckpointText(ORIGIN, described["size"], bytes.fromhex(described["root_hex"]))
    assert text.render() == described["text"]
    signature = key.sign(text.render().encode())
    public = key.public_key().public_bytes_raw()
    assert make_note(text, ED25519, public, signature) == described["note"]
    frontier = Frontier.of(text.size, hashes(described["frontier_hex"]))
    assert frontier.root() == text.root
    row = next(r for r in LOG["partition"] if r.get("checkpoint_size") == text.size)
    new = checkpoint_record(described["note"], frontier, row["kafka_timestamp"])
    assert (new.value, new.timestamp) == (blob(row["value"]), row["kafka_timestamp"])


@pytest.mark.parametrize("vkey", ["vkey", "vkey_of_prefix"])
def test_whole_log_is_intact_under_its_key_and_under_the_key_of_its_prefix(vkey: str) -> None:
    trail = Trail(ORIGIN, TrustedKeys.parse(LOG[vkey]))
    trail.feed_all(log_rows())
    trail.finish()
    assert (trail.size, trail.root.hex()) == (7, LOG["checkpoints"][-1]["root_hex"])
    assert (trail.records, trail.checkpoints, trail.tail) == (7, 4, 0)


def test_vector_segments_join_and_stand_alone() -> None:
    rows, keys = log_rows(), TrustedKeys.parse(LOG["vkey"])
    joined = Trail(ORIGIN, keys)
    for segment in LOG["segments"]:
        at = segment["opening"]
        opening = None if at is None else decode_audit_value(rows[at].value or b"")
        assert opening is None or isinstance(opening, Checkpoint)
        alone = Trail(ORIGIN, keys)
        for trail in (joined, alone):
            trail.begin_file(segment["first_index"], opening)
            trail.feed_all([rows[i] for i in segment["rows"]])
            trail.end_file()
            assert trail.size == segment["closing_size"]
    joined.finish()


def test_encrypted_content_is_read_without_its_key() -> None:
    described = LOG["encrypted"]
    record = described["record"]
    content = blob(record["content"])
    ciphertext = bytes.fromhex(described["ciphertext_hex"])
    assert decode_content(content) == Encrypted(described["key_id"], ciphertext)
    assert leaf_hash(7, Source(**record["source"]), content).hex() == record["leaf_hash_hex"]


@pytest.mark.parametrize("described", LOG["omitted"], ids=lambda o: o["why"])
def test_content_too_long_is_omitted_from_the_first_byte_over(described: dict[str, Any]) -> None:
    record = Record(0, 0, None, bytes(described["value_size"]))
    content = encode_content(record)
    assert sha256(content).hexdigest() == described["content"]["sha256_hex"]
    assert sha256(blob(described["plain"])).hexdigest() == described["plain"]["sha256_hex"]
    kind = Plain if described["content"]["size"] > 100 else Omitted
    assert isinstance(decode_content(content), kind)
    plan = plan_batch(Frontier.of(8, [b"\1" * 32]), TOPIC, 0, [record])
    value = decode_audit_value(plan.records[0].value)
    assert isinstance(value, AuditRecord)
    assert value.content == content


# --- C2SP ---

LOG_KEYS = TrustedKeys.parse(C2SP["log_key"]["vkey"])
C2SP_ORIGIN = C2SP["log_key"]["name"]


PLAIN_CHECKPOINTS = [c for c in C2SP["checkpoints"] if "extension" not in c["text"]]


@pytest.mark.parametrize("described", PLAIN_CHECKPOINTS, ids=lambda c: f"size {c['size']}")
def test_c2sp_checkpoint_opens_and_renders(described: dict[str, Any]) -> None:
    text = open_note(described["text"], C2SP_ORIGIN, LOG_KEYS)
    assert (text.size, text.root.hex()) == (described["size"], described["root"])
    assert render_note(parse_note(described["text"])) == described["text"]


def test_c2sp_checkpoint_with_extension_lines_is_a_good_note_and_none_of_ours() -> None:
    (described,) = [c for c in C2SP["checkpoints"] if c not in PLAIN_CHECKPOINTS]
    text = CheckpointText(C2SP_ORIGIN, described["size"], bytes.fromhex(described["root"]))
    check_signatures(parse_note(described["text"]), text, LOG_KEYS)
    with pytest.raises(BreakError, match="altered"):
        open_note(described["text"], C2SP_ORIGIN, LOG_KEYS)


def test_c2sp_checkpoint_signed_by_ecdsa_opens() -> None:
    described = C2SP["checkpoint_ecdsa_p256"]
    keys = TrustedKeys.parse(C2SP["log_key_ecdsa_p256"]["vkey"])
    assert open_note(described["text"], C2SP_ORIGIN, keys).size == described["size"]
    with pytest.raises(BreakError, match="unknown_key"):
        open_note(described["text"], C2SP_ORIGIN, LOG_KEYS)


@pytest.mark.parametrize("name", ["cosignature", "cosignature_mldsa44"])
def test_cosignature_does_not_count_and_does_not_harm(name: str) -> None:
    line = C2SP[name]["line"]
    note = next(c["text"] for c in C2SP["checkpoints"] if c["size"] == 7)
    assert open_note(note + line, C2SP_ORIGIN, LOG_KEYS).size == 7
    alone = note.rpartition("\n\n")[0] + "\n\n" + line
    with pytest.raises(BreakError, match="unknown_key"):
        open_note(alone, C2SP_ORIGIN, LOG_KEYS)


@pytest.mark.parametrize("described", C2SP["must_reject"], ids=lambda m: m["why"])
def test_note_that_must_be_rejected_is(described: dict[str, Any]) -> None:
    with pytest.raises((BreakError, UnicodeDecodeError)):
        open_note(b64decode(described["note_base64"]).decode(), C2SP_ORIGIN, LOG_KEYS)


@pytest.mark.parametrize(
    ("name", "algorithm", "field"),
    [("log_key", ED25519, "public"), ("log_key_ecdsa_p256", ECDSA_P256, "spki")],
)
def test_vkey_renders_byte_for_byte(name: str, algorithm: int, field: str) -> None:
    described = C2SP[name]
    vkey = Vkey(described["name"], algorithm, bytes.fromhex(described[field]))
    assert vkey.render() == described["vkey"]
    assert vkey.key_id.hex() == described["key_id"]
    assert Vkey.parse(described["vkey"]) == vkey


@pytest.mark.parametrize("name", ["witness_key", "witness_key_mldsa44"])
def test_witness_key_is_no_key_of_a_log(name: str) -> None:
    with pytest.raises(MalformedError):
        Vkey.parse(C2SP[name]["vkey"])


def test_small_tree_has_the_roots_of_the_go_library() -> None:
    tree = C2SP["small_tree"]
    frontier = Frontier()
    assert frontier.root().hex() == tree["root_at_size"][0]
    for data, leaf, root in zip(
        tree["leaves"], tree["leaf_hashes"], tree["root_at_size"][1:], strict=True
    ):
        assert sha256(b"\0" + bytes.fromhex(data)).hexdigest() == leaf
        frontier.append(bytes.fromhex(leaf))
        assert frontier.root().hex() == root


@pytest.mark.parametrize("described", C2SP["inclusion"], ids=lambda p: f"{p['index']}/{p['size']}")
def test_inclusion_proof_of_the_go_library(described: dict[str, Any]) -> None:
    leaf, root = bytes.fromhex(described["leaf_hash"]), bytes.fromhex(described["root"])
    proof = hashes(described["proof"])
    verify_inclusion(described["index"], described["size"], leaf, proof, root)
    leaves = [sha256(b"\0leaf %d" % i if i else b"\0").digest() for i in range(described["size"])]
    assert list(inclusion_proof(Frontier(), leaves, described["index"])) == proof


@pytest.mark.parametrize(
    "described", C2SP["consistency"], ids=lambda p: f"{p['size1']} to {p['size2']}"
)
def test_consistency_proof_of_the_go_library(described: dict[str, Any]) -> None:
    sizes = described["size1"], described["size2"]
    roots = bytes.fromhex(described["root1"]), bytes.fromhex(described["root2"])
    verify_consistency(sizes, roots, hashes(described["proof"]))


@pytest.mark.parametrize("described", C2SP["tlog_proof"])
def test_tlog_proof_file_of_the_go_library(described: dict[str, Any]) -> None:
    parsed = parse_tlog_proof(described["text"])
    assert render_tlog_proof(parsed) == described["text"]
    text = open_note(parsed.checkpoint, C2SP_ORIGIN, LOG_KEYS)
    leaf = sha256(b"\0" + bytes.fromhex(described["leaf_data"])).digest()
    verify_inclusion(parsed.leaf_index, text.size, leaf, parsed.proof, text.root)
