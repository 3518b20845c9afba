"""What all adapters need to read a foreign document: JSON, text, times, the source record.

Foreign documents are hostile: whoever can make a policy engine log something must not be able to
make that record vanish. So what is odd but readable is kept in a form Avro can hold (lone
surrogates replaced, long ids shortened to a prefix and their digest), and only what cannot be
read at all raises `InvalidEventError`.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite
from typing import Any, NamedTuple

from schemas.errors import InvalidEventError
from schemas.events import SourceRecord
from schemas.limits import ID_CHARS_MAX, MICROS_MAX, MICROS_MIN, NAME_CHARS_MAX

__all__ = [
    "Json",
    "Moment",
    "Options",
    "canonical_json",
    "event_id",
    "identifier",
    "listed",
    "member",
    "members",
    "numbers",
    "parse_moment",
    "parse_object",
    "source_record",
    "status_code",
    "text",
    "texts",
]

Json = Any
"""A JSON value."""

DEPTH_MAX = 128
"""Levels of a document."""

NUMBER_CHARS_MAX = 100
"""A longer integer is kept as text, like a number beyond the range of a double."""

INLINE_BYTES_MAX = 524_288
"""A longer source document is kept as its digest only."""

_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?\s*(Z|z|UTC|[+-]\d\d:?\d\d)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Options(NamedTuple):
    """What the caller of an adapter knows: the tenant, and whether source bytes are kept."""

    tenant: str = ""
    keep_source: bool = True


class Moment(NamedTuple):
    """A time: microseconds since the epoch and nanoseconds beyond; None where unreadable."""

    micros: int | None
    nanos: int
    written: str


def parse_object(document: bytes) -> dict[str, Json]:
    """A document that is one JSON object. Raises InvalidEventError."""
    try:
        value = json.loads(
            document, parse_constant=_refuse, parse_int=_integer, parse_float=_finite
        )
        _check_depth(value)
        if _LONE_SURROGATE.search(document):
            value = json.loads(_without_surrogates(value))
    except RecursionError:
        raise InvalidEventError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidEventError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidEventError(f"a JSON object is expected, not {type(value).__name__}")
    return value


def canonical_json(value: Json) -> str:
    """A JSON value as text: members sorted, no spaces; "" for null and for what is empty."""
    if value is None or value in ("", [], {}):
        return ""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def text(value: Json) -> str:
    """A string as it is, a number or boolean as JSON writes it, "" for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return ""


def identifier(value: Json) -> str:
    """`text`, where one too long becomes its beginning and its SHA-256."""
    whole = text(value)
    if len(whole) <= ID_CHARS_MAX:
        return whole
    return f"{whole[: ID_CHARS_MAX - 80]}#sha256:{sha256(whole.encode()).hexdigest()}"


def texts(value: Json) -> tuple[str, ...]:
    """The texts of a list, of a single string, or none."""
    items = [value] if isinstance(value, str) else listed(value)
    return tuple(filter(None, map(text, items)))


def listed(value: Json) -> list[Json]:
    """A list as it is, otherwise an empty one."""
    return value if isinstance(value, list) else []


def members(value: Json) -> dict[str, Json]:
    """An object as it is, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def member(value: Json, name: str) -> Json:
    """A member of an object by its lowerCamelCase name, or by the snake_case one of its proto."""
    found = members(value)
    if name in found:
        return found[name]
    return found.get(re.sub("([A-Z])", lambda match: f"_{match[1].lower()}", name))


def parse_moment(value: Json) -> Moment:
    """An RFC 3339 time to the nanosecond; a space for the T and no zone (UTC) are read too."""
    written = text(value)
    match = _MOMENT.fullmatch(written)
    if match is None:
        return Moment(None, 0, written)
    day, clock, fraction, zone = match.groups()
    offset = "+00:00" if zone is None or zone[0] not in "+-" else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
    except ValueError:
        return Moment(None, 0, written)
    nanos = int((fraction or "").ljust(9, "0"))
    micros = (moment - _EPOCH) // timedelta(microseconds=1) + nanos // 1000
    if not MICROS_MIN <= micros <= MICROS_MAX:
        return Moment(None, 0, written)
    return Moment(micros, nanos % 1000, written)


def status_code(value: Json) -> int:
    """A status code given as number or text; 0 for what is none."""
    written = text(value)
    return int(written) if written.isascii() and written.isdigit() and len(written) < 6 else 0


def source_record(document: bytes, options: Options) -> SourceRecord:
    """The source bytes and their digest; the digest alone where they are not to be kept."""
    kept = options.keep_source and len(document) <= INLINE_BYTES_MAX
    return SourceRecord(
        media_type="application/json",
        sha256=sha256(document).digest(),
        content=document if kept else None,
    )


def event_id(value: Json, document: bytes) -> str:
    """The id the producer gave; without one, or with one too long, the document's SHA-256."""
    given = text(value)
    return given if 0 < len(given) <= NAME_CHARS_MAX else sha256(document).hexdigest()


def numbers(value: Json) -> Mapping[str, float]:
    """The members of an object that are numbers."""
    return {
        name: float(number)
        for name, number in members(value).items()
        if isinstance(number, int | float) and not isinstance(number, bool)
    }


def _refuse(name: str) -> Json:
    raise ValueError(f"{name} is no JSON number")


def _integer(digits: str) -> Json:
    return int(digits) if len(digits) <= NUMBER_CHARS_MAX else digits


def _finite(digits: str) -> Json:
    number = float(digits)
    return number if isfinite(number) else digits


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            child
            for part in level
            if isinstance(part, dict | list)
            for child in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return
    raise InvalidEventError(f"the JSON is nested more than {DEPTH_MAX} levels deep")


def _without_surrogates(value: Json) -> str:
    whole = json.dumps(value, ensure_ascii=False)
    return whole.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
