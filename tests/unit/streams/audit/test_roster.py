"""The roster: a dropped log is missed, and nobody without a log's key can write it."""

from hashlib import sha256

import pytest

from schemas.codec import encode_head
from schemas.heads import LogHead
from schemas.records import Plain
from streams.audit.checkpoint import CheckpointText
from streams.audit.roster import Roster
from tests.support.signed_logs import BASE, KEY, ORIGIN, Key

ROOT, OTHER_ROOT = sha256(b"a").digest(), sha256(b"b").digest()
SEEN, LATER = sha256(b"m1").digest(), sha256(b"m2").digest()
MEMORY = f"{BASE}/memory.mutations/0"


def head(
    size: int, root: bytes = ROOT, origin: str = ORIGIN, key: Key = KEY, seen: bytes | None = SEEN
) -> Plain:
    note = key.note(size, root, origin)
    value = encode_head(LogHead(origin=origin, note=note, manifest_sha256=seen))
    return Plain(origin.encode(), value, ())


def roster(*heads: Plain) -> Roster:
    found = Roster(KEY.trusted())
    for one in heads:
        found.apply(one)
    return found


def test_every_log_that_was_there_is_on_the_roster() -> None:
    assert roster(head(3), head(5), head(0, origin=MEMORY)).origins == {ORIGIN, MEMORY}


def test_largest_head_of_a_log_stands_whatever_is_sent_again() -> None:
    found = roster(head(3), head(9, seen=LATER), head(3), head(0))
    assert found.heads(ORIGIN) == (CheckpointText(ORIGIN, 9, ROOT),)
    assert found.manifests(ORIGIN)[-1] == LATER
    assert found.heads(MEMORY) == ()
    assert found.manifests(MEMORY) == ()


def test_archive_that_is_not_seen_keeps_what_was_seen_of_it() -> None:
    assert roster(head(3), head(9, seen=None)).manifests(ORIGIN) == (SEEN,)


def test_two_roots_of_one_size_both_stand() -> None:
    found = roster(head(9), head(9, OTHER_ROOT), head(9))
    assert {text.root for text in found.heads(ORIGIN)} == {ROOT, OTHER_ROOT}


@pytest.mark.parametrize(
    "planted",
    [
        head(99, key=Key("stranger")),
        head(99, origin="elsewhere/authz.decisions/0"),
        Plain(None, None, ()),
        Plain(None, b"", ()),
        Plain(None, b"\xc3\x01 nothing that is known", ()),
        Plain(None, (head(99).value or b"")[:-1], ()),
    ],
    ids=["stranger's key", "another deployment", "no value", "empty", "unknown", "cut"],
)
def test_head_that_no_key_of_its_log_signed_says_nothing(planted: Plain) -> None:
    found = Roster(KEY.trusted())
    assert not found.apply(planted)
    assert found.origins == frozenset()
