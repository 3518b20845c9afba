"""How large an event and its parts may be, and the checks that say so.

Everything here is checked on values that came from outside. Lengths of text are in characters.
A decoded value already has the types of its schema; what is checked is what Avro cannot say.
"""

from schemas.errors import InvalidEventError

__all__ = [
    "EVALUATIONS_MAX",
    "EVENT_BYTES_MAX",
    "ID_CHARS_MAX",
    "ITEMS_MAX",
    "MICROS_MAX",
    "MICROS_MIN",
    "NAME_CHARS_MAX",
    "VECTOR_DIMENSION_MAX",
    "check_id",
    "check_items",
    "check_micros",
]

EVENT_BYTES_MAX = 1_048_576
"""Bytes of one framed event: what a Kafka broker takes by default."""

EVALUATIONS_MAX = 4_096
"""Evaluations of one decision."""

ITEMS_MAX = 1_024
"""Items of any other list or map of an event."""

NAME_CHARS_MAX = 256
"""Tenants, namespaces, event ids."""

ID_CHARS_MAX = 4_096
"""Ids of principals, resources and nodes: some are URLs."""

VECTOR_DIMENSION_MAX = 8_192
"""Components of a vector."""

MICROS_MIN = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z in microseconds since the epoch."""

MICROS_MAX = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z in microseconds since the epoch."""


def check_id(name: str, value: str, chars_max: int, *, required: bool = False) -> None:
    """Raise InvalidEventError unless `value` fits, and is there where it is `required`."""
    if len(value) > chars_max:
        raise InvalidEventError(f"{name}: {len(value)} characters, at most {chars_max} fit")
    if required and not value:
        raise InvalidEventError(f"{name}: is empty")


def check_items(name: str, count: int, count_max: int = ITEMS_MAX) -> None:
    """Raise InvalidEventError unless a list or map of `count` items is short enough."""
    if count > count_max:
        raise InvalidEventError(f"{name}: {count} items, at most {count_max} fit")


def check_micros(name: str, value: int | None) -> None:
    """Raise InvalidEventError unless a time lies within the years 1 to 9999."""
    if value is not None and not MICROS_MIN <= value <= MICROS_MAX:
        raise InvalidEventError(f"{name}: {value} microseconds is not within years 1 to 9999")
