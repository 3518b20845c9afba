"""Foreign documents are hostile: what is odd is kept in a form Avro can hold."""

import json
from hashlib import sha256

import pytest

from schemas.codec import decode_event, encode_event
from schemas.errors import InvalidEventError, TooLargeError
from schemas.events import AuthorizationDecision, Entity, Evaluation
from schemas.limits import EVENT_BYTES_MAX, ID_CHARS_MAX
from schemas.sources import FORMATS, decisions_jsonl
from schemas.sources.fitting import encode_fitting
from schemas.sources.reading import (
    Json,
    Options,
    canonical_json,
    identifier,
    parse_moment,
    parse_object,
    source_record,
)
from tests.support.events import full_decision, full_mutation, record


@pytest.mark.parametrize(
    ("written", "micros", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("2018-01-01T00:00:00.000000Z", 1_514_764_800_000_000, 0),
        ("2019-06-03T20:07:16.939402185Z", 1_559_592_436_939_402, 185),
        ("2023-05-12T13:36:37.496602+02:00", 1_683_891_397_496_602, 0),
        ("2023-05-12T13:36:37.496602-0530", 1_683_918_397_496_602, 0),
        ("2022-11-29 00:09:04.38", 1_669_680_544_380_000, 0),
        ("2025-08-26 17:40:49.320496000", 1_756_230_049_320_496, 0),
        ("2022-11-29 00:09:04 UTC", 1_669_680_544_000_000, 0),
        ("1969-12-31T23:59:59.999999999Z", -1, 999),
        ("2023-01-01t00:00:00,5z", 1_672_531_200_500_000, 0),
    ],
)
def test_times_are_read_to_the_nanosecond(written: str, micros: int, nanos: int) -> None:
    assert parse_moment(written) == (micros, nanos, written)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "yesterday",
        "2023-13-01T00:00:00Z",
        "2023-01-01T25:00:00Z",
        "2023-01-01",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2023-01-01T00:00:00+99:99",
        "２０２３-01-01T00:00:00Z",
        "1" * 100_000,
        None,
        17,
        ["2023-01-01T00:00:00Z"],
    ],
)
def test_what_is_no_time_is_none_and_its_text_is_kept(written: Json) -> None:
    moment = parse_moment(written)
    assert moment.micros is None
    if isinstance(written, str):
        assert moment.written == written


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"{" * 100_000, id="cut"),
        pytest.param(b'{"a":' + b"[" * 2_000 + b"]" * 2_000 + b"}", id="two-thousand-levels"),
        pytest.param(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", id="two-hundred-levels"),
        pytest.param(b'{"a":NaN}', id="not-a-number"),
        pytest.param(b'{"a":"\xff"}', id="no-utf-8"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_object_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidEventError):
        parse_object(document)


HOSTILE = {
    "lone surrogate": r'{"principal":"a\ud800b","action":"x","extra":"\udc00"}',
    "pair of surrogates": r'{"principal":"\ud83d\ude00","action":"x"}',
    "number beyond a double": '{"principal":"a","action":"x","extra":1e999}',
    "number of ten thousand digits": '{"principal":"a","action":"x","extra":' + "9" * 10_000 + "}",
    "long principal": '{"principal":"' + "p" * 100_000 + '","action":"x"}',
    "long id": '{"principal":"a","action":"x","id":"' + "i" * 100_000 + '"}',
    "zero byte": r'{"principal":"a\u0000","action":"x"}',
    "hundred levels": '{"principal":"a","action":"x","extra":' + "[" * 100 + "]" * 100 + "}",
    "megabytes of attributes": '{"principal":"a","action":"x","extra":"' + "e" * 3_000_000 + '"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_cannot_make_its_decision_vanish(name: str) -> None:
    event = decisions_jsonl.translate(HOSTILE[name].encode(), Options())
    decoded = decode_event(record(encode_fitting(event)))
    assert isinstance(decoded, AuthorizationDecision)
    assert decoded.evaluations[0].action.name == "x"
    assert decoded.source_record.sha256 == sha256(HOSTILE[name].encode()).digest()


def test_long_ids_stay_apart() -> None:
    one, other = "p" * 100_000 + "1", "p" * 100_000 + "2"
    assert identifier(one) != identifier(other)
    assert len(identifier(one)) <= ID_CHARS_MAX


def test_json_is_kept_in_one_form() -> None:
    assert canonical_json({"b": [1, 2.5, "é"], "a": None}) == '{"a":null,"b":[1,2.5,"é"]}'
    nothing: list[Json] = [None, "", [], {}]
    assert list(map(canonical_json, nothing)) == [""] * 4
    assert (canonical_json(False), canonical_json(0)) == ("false", "0")


def test_source_bytes_are_kept_or_hashed() -> None:
    kept, hashed = (
        source_record(b"{}", Options()),
        source_record(b"{}", Options(keep_source=False)),
    )
    assert (kept.content, hashed.content) == (b"{}", None)
    assert kept.sha256 == hashed.sha256 == sha256(b"{}").digest()
    assert source_record(bytes(600_000), Options()).content is None


def crowd(attributes: int, count: int) -> AuthorizationDecision:
    entity = Entity(id="a", attributes_json="x" * attributes)
    return AuthorizationDecision(event_id="e", evaluations=(Evaluation(subject=entity),) * count)


def test_an_event_that_fits_is_not_shrunk() -> None:
    assert encode_fitting(full_decision()) == encode_event(full_decision())
    assert encode_fitting(full_mutation()) == encode_event(full_mutation())


def test_repeated_attributes_are_left_out_before_a_decision_is() -> None:
    decoded = decode_event(record(encode_fitting(crowd(100_000, 2_500))))
    assert isinstance(decoded, AuthorizationDecision)
    assert (len(decoded.evaluations), decoded.truncated) == (2_500, True)
    assert decoded.evaluations[0].subject == Entity(id="a")


def test_what_fits_in_no_way_is_refused() -> None:
    with pytest.raises(TooLargeError):
        encode_fitting(
            AuthorizationDecision(
                event_id="e",
                evaluations=(Evaluation(reasons=("r" * EVENT_BYTES_MAX,)),),
            )
        )


@pytest.mark.parametrize("name", FORMATS)
def test_every_adapter_refuses_what_it_cannot_read_with_a_declared_error(name: str) -> None:
    for document in (b"", b"{}", b"[]", b"null", b'"x"', b'{"a":', b'{"x":{"y":[1]}}'):
        with pytest.raises(InvalidEventError):
            FORMATS[name].translate(document, Options())


def test_json_that_is_written_back_is_the_same_json() -> None:
    value = {"z": [{"y": "\u2028"}], "a": 10**50, "m": 1.25}
    assert json.loads(canonical_json(value)) == value
