"""Whatever a decoder is handed, it takes it or raises its own error, soon and in little memory.

Seeded: thousands of random inputs, and thousands of mutated good ones, for each decoder.
"""

import io
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from schemas.audit_values import decode_audit_value, decode_content, encode_checkpoint
from schemas.codec import decode_alert, decode_event, decode_head, encode_head
from schemas.errors import RejectedInput
from schemas.framing import read_frame
from schemas.heads import LogHead
from schemas.records import Record
from streams.audit.checkpoint import parse_checkpoint, parse_log_name
from streams.audit.leaf import leaf_entry, parse_entry
from streams.audit.merkle import Frontier
from streams.audit.note import MalformedError, TrustedKeys, Vkey
from streams.audit.operations import KeyAdded, open_operation, operator_name
from streams.audit.proofs import (
    TlogProof,
    inclusion_proof,
    parse_tlog_proof,
    render_tlog_proof,
    verify_consistency,
    verify_inclusion,
)
from streams.audit.runs import runs_of
from streams.audit.tiles import decode_bundle, encode_bundle, parse_tile_path, tile_hashes
from streams.errors import BreakError, SettingsError, VerificationError
from streams.segments import (
    Manifest,
    SegmentReader,
    digest_block,
    encode_segment,
    parse_object_name,
)
from streams.segments.blocks import Block
from streams.verifier import verify_rows
from streams.verifier.verdicts import Trust
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.signed_logs import BASE, KEY, ORIGIN, audit_record, checkpoint_of, usual_log

LOG = usual_log()
NOTE = checkpoint_of(LOG.rows[-3]).note
VALUES = [row.value or b"" for row in LOG.rows]
RECORD = audit_record(LOG.rows[1])
SEGMENT = encode_segment(ORIGIN, 0, None, LOG.rows[:-2])
PROOF = render_tlog_proof(TlogProof(5, inclusion_proof(Frontier(), LOG.leaves[:12], 5), NOTE))
ENTRY = leaf_entry(0, RECORD.source, RECORD.content)
MANIFEST = (
    b'{"format":"attestream.manifest/v1","origin":"a/b/0","segment":"s","version_id":"v",'
    b'"first_index":0,"last_index":3,"schemas":{}}'
)
ORDER = signed_order(KeyAdded(vkey=KEY.vkey(), prefix=BASE))
OPERATORS = TrustedKeys([OPERATOR.vkey(operator_name(BASE))])
ROUNDS = 1500  # of each kind, for each decoder
SECONDS = 0.5  # the most one input may take, on a busy machine
MEMORY = 48 * 2**20  # the most all inputs of one decoder may hold at once


class Decoder(NamedTuple):
    """What is fuzzed: what it is given, good inputs of it, and all it may raise."""

    decode: Callable[[bytes], object]
    good: list[bytes]
    errors: tuple[type[Exception], ...]


def text(decode: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: decode(data.decode("utf-8", "surrogateescape"))


def of_record(decode: Callable[[Record], object]) -> Callable[[bytes], object]:
    return lambda data: decode(Record(0, 0, None, data))


def read_all(data: bytes) -> int:
    return sum(len(rows) for rows in SegmentReader(io.BytesIO(data)).batches())


def proof_of(data: bytes) -> list[bytes]:
    return [data[at : at + 32] for at in range(0, len(data), 32)]


DECODERS = {
    "note": Decoder(text(parse_checkpoint), [NOTE.encode()], (BreakError,)),
    "vkey": Decoder(text(Vkey.parse), [KEY.vkey().render().encode()], (MalformedError,)),
    "keys file": Decoder(
        text(TrustedKeys.parse), [KEY.vkey().render().encode() + b"\n# c\n"], (SettingsError,)
    ),
    "origin": Decoder(text(parse_log_name), [ORIGIN.encode()], (MalformedError,)),
    "audit value": Decoder(decode_audit_value, VALUES, (RejectedInput,)),
    "content": Decoder(decode_content, [RECORD.content], (RejectedInput,)),
    "frame": Decoder(of_record(read_frame), [b"\0\0\0\0\1body", VALUES[0]], (RejectedInput,)),
    "event": Decoder(of_record(decode_event), VALUES[:2], (RejectedInput,)),
    "alert": Decoder(of_record(decode_alert), VALUES[:2], (RejectedInput,)),
    "head": Decoder(
        of_record(decode_head), [encode_head(LogHead(origin=ORIGIN, note=NOTE))], (RejectedInput,)
    ),
    "entry": Decoder(parse_entry, [ENTRY], (MalformedError,)),
    "tlog-proof": Decoder(text(parse_tlog_proof), [PROOF.encode()], (MalformedError, BreakError)),
    "inclusion proof": Decoder(
        lambda data: verify_inclusion(5, 12, LOG.leaves[5], proof_of(data), bytes(32)),
        [b"".join(inclusion_proof(Frontier(), LOG.leaves[:12], 5))],
        (VerificationError,),
    ),
    "consistency proof": Decoder(
        lambda data: verify_consistency((5, 12), (bytes(32), bytes(32)), proof_of(data)),
        [bytes(32 * 4)],
        (VerificationError,),
    ),
    "bundle": Decoder(
        lambda data: decode_bundle(data, 3), [encode_bundle([ENTRY] * 3)], (MalformedError,)
    ),
    "tile": Decoder(lambda data: tile_hashes(data, 3), [bytes(96)], (MalformedError,)),
    "tile name": Decoder(text(parse_tile_path), [b"tile/0/x001/067.p/8"], (MalformedError,)),
    "object name": Decoder(
        text(parse_object_name), [b"archive/v1/a/b/0/segments/00000000000000000007.avro"], ()
    ),
    "segment": Decoder(read_all, [SEGMENT], (BreakError,)),
    "block": Decoder(lambda data: digest_block(Block(5, data)), [SEGMENT[-900:]], ()),
    "manifest": Decoder(Manifest.parse, [MANIFEST], (BreakError,)),
    "order": Decoder(
        lambda data: open_operation(data, BASE, OPERATORS), [ORDER], (MalformedError,)
    ),
    "row": Decoder(lambda data: list(runs_of([Record(0, 9, None, data)])), VALUES, ()),
    "log": Decoder(
        lambda data: verify_rows(
            [*LOG.rows[:3], Record(9, 9, None, data), *LOG.rows[3:]], Trust()
        ),
        VALUES,
        (),
    ),
}


def inputs(good: list[bytes], rng: random.Random) -> Iterator[bytes]:
    for _ in range(ROUNDS):
        yield rng.randbytes(rng.choice((0, 1, 3, 12, 60, 500)))
    for number in range(ROUNDS):
        yield mutated(good[number % len(good)], rng)
    for one in good:
        yield from (one[:cut] for cut in range(0, len(one), max(1, len(one) // 60)))
        yield one + b"\0"
        yield one * 3


def mutated(good: bytes, rng: random.Random) -> bytes:
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + rng.randrange(9)] = b""
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                # Lengths and counts of every size: what is promised must not be set aside.
                data[at : at + 5] = rng.choice((b"\xff", b"\x80", b"\x7f")) * rng.randrange(1, 11)
            case _:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[min(at, other) : max(at, other)][:200]
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_raises_only_its_own_errors_in_bounded_time_and_memory(name: str) -> None:
    decode, good, errors = DECODERS[name]
    rng = random.Random(name)
    fed = list(inputs(good, rng))
    slowest = 0.0
    for data in fed:
        began = time.process_time()
        with suppress(*errors):
            decode(data)
        slowest = max(slowest, time.process_time() - began)
    assert slowest < SECONDS
    tracemalloc.start()
    try:
        for data in fed[:: max(1, len(fed) // 200)]:
            with suppress(*errors):
                decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


def test_good_inputs_are_taken() -> None:
    # Otherwise the mutations would be of nothing.
    for name, decoder in DECODERS.items():
        if name in {"event", "alert", "inclusion proof", "consistency proof", "manifest"}:
            continue  # of these the good ones are near misses: right in form, wrong in content
        for data in decoder.good:
            decoder.decode(data)
    assert decode_audit_value(encode_checkpoint(checkpoint_of(LOG.rows[0])))
