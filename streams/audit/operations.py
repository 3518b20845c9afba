"""The operator's notes: what moves trust, and what it has moved to (formats §5).

Sealing proves order, not authority: whoever may produce to a topic can get bytes sealed. So what
adds or retires a key, accepts a gap, forks a log or erases a subject is a C2SP note signed by the
operator key, under the name `<ATTESTREAM_ORIGIN>/operator`; whatever else stands in
`attestream.operations` says nothing here. What they come to: `streams.audit.trust`.

The text has one spelling: what is parsed is rendered again and compared.
A signature does not cover the name it is made under. So a note that the same operator key made
for another deployment is known by the names in its text, and ignored.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from streams.audit.checkpoint import CheckpointText, parse_log_name
from streams.audit.note import (
    MalformedError,
    Note,
    SignatureLine,
    TrustedKeys,
    Vkey,
    decode_base64,
    is_key_name,
    parse_note,
    render_note,
)

__all__ = [
    "EpochForked",
    "GapAccepted",
    "KeyAdded",
    "KeyRetired",
    "Operation",
    "SubjectErased",
    "make_operation_note",
    "open_operation",
    "operator_name",
    "parse_operation",
    "render_operation",
]

FIRST_LINE = "attestream.operation/{}/v1"
LONG_MAX = 2**63 - 1
HASH_BYTES = 32

Fields: TypeAlias = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAdded:
    """A key counts for the logs whose origins are `prefix` or below; `vkey` is named above it."""

    vkey: Vkey
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRetired:
    """A key counts no more, whatever its name: in each log only up to the head given.

    `heads`: one checkpoint text a log, in the order of their origins.
    """

    vkey: Vkey
    heads: tuple[CheckpointText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapAccepted:
    """The log of `size` leaves may go on at source offset `left`, where `expected` was due."""

    origin: str
    size: int
    expected: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochForked:
    """The log ends at `size` and `root`; epoch `epoch` of it begins at `offset` of its source."""

    origin: str
    size: int
    root: bytes
    epoch: int
    cluster_id: str
    topic_id: str
    offset: int

    @property
    def opens(self) -> str:
        """The origin of the epoch it opens."""
        name = parse_log_name(self.origin)
        return f"{name.deployment}/{name.topic}/{name.partition}/e{self.epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectErased:
    """The data key `key_id` is destroyed; it was used below each of the sizes given."""

    key_id: str
    until: tuple[tuple[str, int], ...]


Operation: TypeAlias = KeyAdded | KeyRetired | GapAccepted | EpochForked | SubjectErased


def operator_name(base: str) -> str:
    """The key name of the operator of the deployment whose origins begin with `base`."""
    return f"{base}/operator"


def render_operation(operation: Operation) -> str:
    """The text that is signed. `parse_operation` of it gives `operation` again.

    Raises:
        MalformedError: a value that no such text can carry.
    """
    text = _render(operation)
    if _parse(text) != operation:
        raise MalformedError(f"an operation that cannot be written: {operation!r}")
    return text


def parse_operation(text: str) -> Operation:
    """What a note's text orders, in its one spelling. Raises MalformedError."""
    operation = _parse(text)
    if _render(operation) != text:
        raise MalformedError(f"not the one spelling of an operation: {text[:300]!r}")
    return operation


def make_operation_note(
    operation: Operation, base: str, operator: Vkey, signature: bytes
) -> bytes:
    """The record's value: the note with the operator's line. `operator`: under whatever name."""
    vkey = operator.for_origin(operator_name(base))
    line = SignatureLine(vkey.name, vkey.key_id, signature)
    return render_note(Note(render_operation(operation), (line,))).encode()


def open_operation(note: bytes, base: str, operator: TrustedKeys) -> Operation | None:
    """What the operator of `base` ordered with a record's value.

    Only a key of exactly the operator's name counts: a log's key, trusted for all below its
    name, is no operator. None: not signed by the operator, or an order to another deployment.

    Raises:
        MalformedError: the operator signed what this release does not know.
    """
    try:
        parsed = parse_note(note.decode())
    except (UnicodeDecodeError, MalformedError):
        return None
    if not _is_signed(parsed, operator_name(base), operator):
        return None
    operation = parse_operation(parsed.text)
    return operation if all(_is_of(base, name) for name in _names(operation)) else None


# What the text of each kind says: its fields in order, the last one perhaps several times.


class _Form(NamedTuple):
    """How one kind of operation is written: `name value` a line."""

    kind: str
    single: tuple[str, ...]
    repeated: str = ""


FORMS: Mapping[type[Operation], _Form] = {
    KeyAdded: _Form("key-added", ("vkey", "for")),
    KeyRetired: _Form("key-retired", ("vkey",), "head"),
    GapAccepted: _Form("gap-accepted", ("origin", "size", "from", "to")),
    EpochForked: _Form("epoch-forked", ("origin", "size", "root", "epoch", "source", "offset")),
    SubjectErased: _Form("subject-erased", ("key-id",), "until"),
}
BY_FIRST_LINE = {FIRST_LINE.format(form.kind): kind for kind, form in FORMS.items()}


def _render(operation: Operation) -> str:
    lines = [f"{name} {value}\n" for name, value in _fields(operation)]
    return f"{FIRST_LINE.format(FORMS[type(operation)].kind)}\n{''.join(lines)}"


def _fields(operation: Operation) -> Fields:
    match operation:
        case KeyAdded(vkey=vkey, prefix=prefix):
            return [("vkey", vkey.render()), ("for", prefix)]
        case KeyRetired(vkey=vkey, heads=heads):
            return [("vkey", vkey.render()), *(("head", _head(head)) for head in heads)]
        case GapAccepted(origin=origin, size=size, expected=expected, left=left):
            values = (origin, str(size), str(expected), str(left))
            return zip(FORMS[GapAccepted].single, values, strict=True)
        case EpochForked():
            return _fork_fields(operation)
        case SubjectErased(key_id=key_id, until=until):
            return [("key-id", key_id), *(("until", f"{name} {size}") for name, size in until)]


def _fork_fields(fork: EpochForked) -> Fields:
    values = (
        fork.origin,
        str(fork.size),
        b64encode(fork.root).decode(),
        str(fork.epoch),
        f"{fork.cluster_id} {fork.topic_id}",
        str(fork.offset),
    )
    return zip(FORMS[EpochForked].single, values, strict=True)


def _head(head: CheckpointText) -> str:
    return f"{head.origin} {head.size} {b64encode(head.root).decode()}"


def _parse(text: str) -> Operation:
    first, *lines = text.split("\n")
    kind = BY_FIRST_LINE.get(first)
    if kind is None or lines[-1:] != [""]:
        raise MalformedError(f"no operation that is known here: {first[:100]!r}")
    form, fields = FORMS[kind], [line.split(" ", 1) for line in lines[:-1]]
    names = [field[0] for field in fields]
    more = len(fields) - len(form.single)
    expected = [*form.single, *([form.repeated] * max(0, more))]
    if names != expected or any(len(field) != 2 for field in fields):
        raise MalformedError(f"{form.kind}: expected the lines {expected}, found {names[:20]}")
    values = [field[1] for field in fields]
    return PARSERS[kind](values)


def _key_added(values: list[str]) -> KeyAdded:
    added = KeyAdded(vkey=Vkey.parse(values[0]), prefix=values[1])
    if not is_key_name(added.prefix) or "" in added.prefix.split("/"):
        raise MalformedError(f"not an origin, or the beginning of one: {added.prefix[:300]!r}")
    if not added.vkey.trusts(added.prefix):
        raise MalformedError(f"a key named {added.vkey.name} does not count for {added.prefix}")
    return added


def _key_retired(values: list[str]) -> KeyRetired:
    heads = []
    for value in values[1:]:
        # A checkpoint's text has the same three parts, a line each.
        head = CheckpointText.parse("\n".join((*value.split(" "), "")))
        parse_log_name(head.origin)
        heads.append(head)
    _require_rising([head.origin for head in heads])
    return KeyRetired(vkey=Vkey.parse(values[0]), heads=tuple(heads))


def _gap_accepted(values: list[str]) -> GapAccepted:
    parse_log_name(values[0])
    size, expected, left = map(_number, values[1:])
    if left <= expected:
        raise MalformedError(f"no gap: {expected} was expected, and {left} is left")
    return GapAccepted(origin=values[0], size=size, expected=expected, left=left)


def _epoch_forked(values: list[str]) -> EpochForked:
    origin, size, root, epoch, source, offset = values
    identity = source.split(" ")
    if len(identity) != 2 or not all(map(is_key_name, identity)):
        raise MalformedError(f"not a cluster id and a topic id: {source[:300]!r}")
    digest = decode_base64(root)
    if len(digest) != HASH_BYTES:
        raise MalformedError(f"a root of {len(digest)} bytes")
    before = parse_log_name(origin)
    if _number(epoch) != before.epoch + 1:
        raise MalformedError(f"epoch {epoch[:20]} does not follow that of {origin}")
    return EpochForked(
        origin=origin,
        size=_number(size),
        root=digest,
        epoch=before.epoch + 1,
        cluster_id=identity[0],
        topic_id=identity[1],
        offset=_number(offset),
    )


def _subject_erased(values: list[str]) -> SubjectErased:
    until = []
    for value in values[1:]:
        origin, _, size = value.partition(" ")
        parse_log_name(origin)
        until.append((origin, _number(size)))
    if not until or not is_key_name(values[0]):
        raise MalformedError("expected a key id and the logs it was used in")
    _require_rising([origin for origin, _ in until])
    return SubjectErased(key_id=values[0], until=tuple(until))


PARSERS: Mapping[type[Operation], Callable[[list[str]], Operation]] = {
    KeyAdded: _key_added,
    KeyRetired: _key_retired,
    GapAccepted: _gap_accepted,
    EpochForked: _epoch_forked,
    SubjectErased: _subject_erased,
}


def _number(text: str) -> int:
    try:
        number = int(text[:20])
    except ValueError as error:
        raise MalformedError(f"not a decimal: {text[:100]!r}") from error
    if not 0 <= number <= LONG_MAX or str(number) != text:
        raise MalformedError(f"not a decimal in its one spelling: {text[:100]!r}")
    return number


def _require_rising(origins: list[str]) -> None:
    if any(one >= other for one, other in pairwise(origins)):
        raise MalformedError("expected each log once, in the order of their origins")


def _is_signed(note: Note, name: str, operator: TrustedKeys) -> bool:
    vkeys = [vkey for vkey in operator.vkeys if vkey.name == name]
    message, good = note.text.encode(), False
    for line in dict.fromkeys(note.lines):
        mine = [v for v in vkeys if line.name == name and v.key_id == line.key_id]
        if not mine:
            continue
        if not any(vkey.is_signature(line.signature, message) for vkey in mine):
            return False
        good = True
    return good


def _names(operation: Operation) -> Iterator[str]:
    """Every name an operation speaks of."""
    match operation:
        case KeyAdded(vkey=vkey, prefix=prefix):
            yield from (vkey.name, prefix)
        case KeyRetired(vkey=vkey, heads=heads):
            yield vkey.name
            yield from (head.origin for head in heads)
        case GapAccepted(origin=origin) | EpochForked(origin=origin):
            yield origin
        case SubjectErased(until=until):
            yield from (origin for origin, _ in until)


def _is_of(base: str, name: str) -> bool:
    return name == base or name.startswith(base + "/")
