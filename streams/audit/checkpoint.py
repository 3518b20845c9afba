"""Checkpoints: what the signed note says, and whether its signature holds (formats §3).

The text is a C2SP tlog-checkpoint without extension lines: origin, size, root. The origin names
one audit partition for ever: `<deployment>/<source topic>/<partition>`, with `/e<n>` behind it
from epoch 1 on.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from streams.audit.merkle import Frontier
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
from streams.errors import BreakError

__all__ = [
    "CheckpointText",
    "LogName",
    "check_signatures",
    "claimed_frontier",
    "joined_notes",
    "make_note",
    "open_note",
    "parse_checkpoint",
    "parse_log_name",
]

SIZE_MAX = 2**64 - 1
PARTITION_MAX = 2**31 - 1
HASH_BYTES = 32
DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
LOG_NAME = re.compile(
    r"(?P<deployment>.+)/(?P<topic>[a-zA-Z0-9._-]{1,249})"
    r"/(?P<partition>0|[1-9][0-9]{0,9})(?:/e(?P<epoch>[1-9][0-9]{0,17}))?"
)


class CheckpointText(NamedTuple):
    """What a checkpoint signs."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> "CheckpointText":
        """The three lines, in their one spelling. Raises MalformedError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise MalformedError(f"a checkpoint has three lines, not {len(lines) - 1}")
        origin, size, root = lines[:3]
        if not is_key_name(origin) or "" in origin.split("/"):
            raise MalformedError(f"not an origin: {origin[:300]!r}")
        if not DECIMAL.fullmatch(size) or int(size) > SIZE_MAX:
            raise MalformedError(f"not a tree size: {size[:100]!r}")
        digest = decode_base64(root)
        if len(digest) != HASH_BYTES:
            raise MalformedError(f"a root of {len(digest)} bytes")
        return cls(origin, int(size), digest)

    def render(self) -> str:
        """The text, which is what is signed. `parse` of it gives this again."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


class LogName(NamedTuple):
    """The parts of an origin; `epoch` is 0 for a log that was never forked."""

    deployment: str
    topic: str
    partition: int
    epoch: int


def parse_log_name(origin: str) -> LogName:
    """The parts of an origin. Raises MalformedError where it names no audit partition."""
    found = LOG_NAME.fullmatch(origin)
    if not found or not is_key_name(origin) or "" in origin.split("/"):
        raise MalformedError(f"an origin that names no topic and partition: {origin[:300]!r}")
    partition = int(found["partition"])
    if partition > PARTITION_MAX:
        raise MalformedError(f"no topic has a partition {partition}")
    return LogName(found["deployment"], found["topic"], partition, int(found["epoch"] or 0))


def make_note(text: CheckpointText, algorithm: int, public_key: bytes, signature: bytes) -> str:
    """A checkpoint with one signature line, whose key name is the origin."""
    vkey = Vkey(text.origin, algorithm, public_key)
    line = SignatureLine(text.origin, vkey.key_id, signature)
    return render_note(Note(text.render(), (line,)))


def joined_notes(notes: Sequence[str]) -> str:
    """One checkpoint with the signature lines of several, as in the overlap of a key rotation.

    Raises:
        ValueError: notes of different texts, or none.
        MalformedError: no note.
    """
    parsed = [parse_note(note) for note in notes]
    if len({note.text for note in parsed}) != 1:
        raise ValueError("expected notes of one text")
    lines = dict.fromkeys(line for note in parsed for line in note.lines)
    return render_note(Note(parsed[0].text, tuple(lines)))


def parse_checkpoint(note: str, *, at: int = 0) -> tuple[CheckpointText, Note]:
    """What a checkpoint note says, signatures unchecked.

    Raises:
        BreakError: `altered` at index `at` where it is no checkpoint note in its one spelling.
    """
    try:
        parsed = parse_note(note)
        return CheckpointText.parse(parsed.text), parsed
    except MalformedError as error:
        raise BreakError("altered", at, f"a checkpoint that is none: {error}") from error


def check_signatures(note: Note, text: CheckpointText, keys: TrustedKeys, *, at: int = 0) -> None:
    """Demand one good signature line of a trusted key, and no bad one.

    `text` is what the note's text says. Lines of other names and keys are ignored, so
    cosignatures never count; so are those of a retired key beyond its recorded head.

    Raises:
        BreakError: `bad_signature` or `unknown_key`, at index `at`.
    """
    origin = text.origin
    trusted = keys.for_checkpoint(origin, text.size)
    message = note.text.encode()
    good = False
    for name, key_id, signature in dict.fromkeys(note.lines):
        vkeys = trusted.get(key_id, ()) if name == origin else ()
        if not vkeys:
            continue
        if not any(vkey.is_signature(signature, message) for vkey in vkeys):
            raise BreakError(
                "bad_signature", at, f"key {key_id.hex()} did not sign this checkpoint"
            )
        good = True
    if not good:
        seen = ", ".join(f"{line.name}+{line.key_id.hex()}" for line in note.lines[:5])
        raise BreakError("unknown_key", at, f"no line of a trusted key; the lines are of {seen}")


def claimed_frontier(text: CheckpointText, hashes: Sequence[bytes], *, at: int = 0) -> Frontier:
    """The compact range a checkpoint carries, once it folds to the root that is signed.

    Raises:
        BreakError: `altered`, at index `at`.
    """
    try:
        claimed = Frontier.of(text.size, hashes)
    except ValueError as error:
        raise BreakError("altered", at, f"the checkpoint of {text.size}: {error}") from error
    if claimed.root() != text.root:
        detail = f"the frontier of the checkpoint of {text.size} has another root"
        raise BreakError("altered", at, detail)
    return claimed


def open_note(note: str, origin: str, keys: TrustedKeys | None, *, at: int = 0) -> CheckpointText:
    """What a checkpoint of `origin` says, once its text, origin and signatures are checked.

    Without `keys` no signature is checked.

    Raises:
        BreakError: the first of `altered` (text), `bad_signature` (another origin, or a line of
            a trusted key that does not hold), `unknown_key`; named by index `at`.
    """
    text, parsed = parse_checkpoint(note, at=at)
    if text.origin != origin:
        raise BreakError(
            "bad_signature", at, f"a checkpoint of {text.origin!r}, where {origin!r} was expected"
        )
    if keys is not None:
        check_signatures(parsed, text, keys, at=at)
    return text
