"""Trust followed while it moves: only what is sealed, only what the operator signed."""

import asyncio
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from schemas.records import Record
from streams.audit.checkpoint import CheckpointText
from streams.audit.note import ED25519, Vkey
from streams.audit.operations import EpochForked, KeyAdded, KeyRetired, operator_name
from streams.errors import SettingsError, TransientError
from streams.keys.local import LocalSigner, load_private_key
from streams.operations_log import OwnForks, SealedTrust, UnverifiedOrdersError
from streams.ports import Bounds, Fetched, Signer
from streams.trust import FollowedKeys, GivenTrust
from tests.support.operations_partition import ORIGIN, OperationsPartition
from tests.support.operator_notes import OPERATOR, signed_order
from tests.support.signed_logs import BASE, KEY, Key

OLD, NEW = KEY, Key("new")
LOG = f"{BASE}/authz.decisions/0"


def added(key: Key) -> bytes:
    return signed_order(KeyAdded(vkey=key.vkey(), prefix=BASE))


def retired(key: Key, log: OperationsPartition) -> bytes:
    head = CheckpointText(ORIGIN, log.frontier.size, log.frontier.root())
    return signed_order(KeyRetired(vkey=key.vkey(), heads=(head,)))


def trust_in(log: OperationsPartition, *signers: Signer, given: Key = OLD) -> SealedTrust:
    return SealedTrust(log.source(), [given.vkey()], lambda: signers)


async def counts(trust: SealedTrust) -> set[str]:
    return {vkey.render() for vkey in (await trust.refresh()).keys.vkeys}


async def test_order_counts_once_a_checkpoint_covers_it() -> None:
    log = OperationsPartition()
    trust = trust_in(log)
    log.send(added(NEW))
    assert await counts(trust) == {OLD.vkey().render()}
    log.seal(OLD)
    assert await counts(trust) == {OLD.vkey().render(), NEW.vkey().render()}


async def test_orders_are_followed_over_many_readings_and_two_rotations() -> None:
    log, third = OperationsPartition(), Key("third")
    trust = trust_in(log)
    log.send(added(OLD)).seal(OLD)
    await trust.refresh()
    log.send(b"junk", added(NEW)).seal(OLD).send(b"more")
    await trust.refresh()
    log.seal(OLD, NEW).send(retired(OLD, log)).seal(OLD, NEW).seal(NEW)
    assert (await trust.refresh()).is_retired(OLD.vkey())
    log.send(added(third)).seal(NEW).send(retired(NEW, log)).seal(NEW, third).seal(third)
    history = await trust.refresh()
    assert not history.is_current(NEW.vkey(), LOG)
    assert history.is_current(third.vkey(), LOG)
    assert (await trust.refresh()) is history
    fresh = trust_in(log, given=third)
    assert await counts(fresh) == {key.vkey().render() for key in (OLD, NEW, third)}
    assert fresh.history.is_retired(OLD.vkey())
    assert fresh.history.is_retired(NEW.vkey())


async def test_record_that_lies_before_a_smaller_checkpoint_is_not_lost() -> None:
    log = OperationsPartition().send(b"one")
    size, root, nodes = log.frontier.size, log.frontier.root(), log.frontier.copy()
    assert (size, len(root)) == (1, 32)
    log.send(added(NEW))
    log.rows.append(log.checkpoint_row(nodes))
    log._offset += 1
    trust = trust_in(log)
    assert len(await counts(trust)) == 1
    log.seal(OLD)
    assert len(await counts(trust)) == 2


async def test_order_of_somebody_else_is_sealed_and_ignored() -> None:
    forged = signed_order(KeyAdded(vkey=NEW.vkey(), prefix=BASE), key=NEW)
    trust = trust_in(OperationsPartition().send(forged, added(Key("c"))[:-9]).seal(OLD))
    assert await counts(trust) == {OLD.vkey().render()}


async def test_log_that_no_counting_key_signed_moves_no_trust() -> None:
    stranger = Key("stranger")
    log = OperationsPartition().send(added(NEW)).seal(OLD)
    trust = trust_in(log)
    history = await trust.refresh()
    log.send(retired(OLD, log)).seal(stranger)
    with pytest.raises(TransientError, match="does not verify"):
        await trust.refresh()
    assert trust.history is history


async def test_log_that_was_cut_brings_nothing_new() -> None:
    log = OperationsPartition().send(added(NEW)).seal(OLD)
    trust = trust_in(log)
    before = await counts(trust)
    cut = OperationsPartition()
    log.rows, log._offset = cut.rows, cut._offset
    assert await counts(trust) == before


async def test_order_of_a_later_release_holds_everything_up() -> None:
    text, name = "attestream.operation/key-retired/v2\n", operator_name(BASE)
    key_id = Vkey(name, ED25519, OPERATOR.public).key_id
    line = b64encode(key_id + OPERATOR.sign(text.encode())).decode()
    note = f"{text}\n\N{EM DASH} {name} {line}\n".encode()
    with pytest.raises(TransientError, match="no operation that is known"):
        await trust_in(OperationsPartition().send(note).seal(OLD)).refresh()


async def test_readings_at_once_take_each_order_once() -> None:
    log = OperationsPartition().send(added(NEW), added(Key("c"))).seal(OLD)
    trust = trust_in(log)
    await asyncio.gather(*(trust.refresh() for _ in range(5)))
    assert len(trust.history.operations) == 2


# --- who signs ---


def signer(word: str) -> LocalSigner:
    from hashlib import sha256

    return LocalSigner(load_private_key(sha256(word.encode()).hexdigest()))


async def test_both_keys_sign_from_the_adding_to_the_retiring() -> None:
    log, old, new = OperationsPartition(), signer("test"), signer("new")
    trust = trust_in(log, old, new)
    await trust.refresh()
    assert trust.signers(LOG) == [old]
    log.send(added(NEW)).seal(OLD)
    await trust.refresh()
    assert trust.signers(LOG) == [old, new]
    log.seal(OLD, NEW).send(retired(OLD, log)).seal(OLD, NEW)
    await trust.refresh()
    assert trust.signers(LOG) == [new]


async def test_nobody_signs_with_a_retired_key() -> None:
    log, old = OperationsPartition().send(added(NEW)).seal(OLD), signer("test")
    log.seal(OLD, NEW).send(retired(OLD, log)).seal(OLD, NEW)
    trust = trust_in(log, old)
    await trust.refresh()
    with pytest.raises(SettingsError, match="retired it"):
        trust.signers(LOG)


async def test_keys_that_are_kept_are_those_that_count_now() -> None:
    log = OperationsPartition()
    trust = trust_in(log)
    keys = FollowedKeys(trust)
    assert [vkey.key for vkey in keys.vkeys] == [OLD.public]
    log.send(added(NEW)).seal(OLD).send(retired(OLD, log)).seal(OLD, NEW)
    await trust.refresh()
    assert [vkey.key for vkey in keys.vkeys] == [OLD.public, NEW.public]
    assert len(keys.for_origin(LOG)) == 2
    (still,) = keys.for_checkpoint(LOG, 0).values()
    assert [vkey.key for vkey in still] == [NEW.public]


async def test_without_an_operator_the_keys_held_sign_and_nothing_moves() -> None:
    mine = signer("test")
    trust = GivenTrust([mine], BASE)
    assert trust.signers(LOG) == [mine]
    assert await trust.refresh() is trust.history
    with pytest.raises(SettingsError):
        trust.signers("elsewhere/authz.decisions/0")


# --- a log of operations that was forked ---


FORK = EpochForked(
    origin=ORIGIN,
    size=1,
    root=bytes(32),
    epoch=1,
    cluster_id="cluster",
    topic_id="topic",
    offset=1,
)


def forked(first: OperationsPartition, later: OperationsPartition | None) -> SealedTrust:
    async def open_epoch(number: int) -> tuple[Any, str] | None:
        return None if later is None or number > 1 else (later, later.origin)

    source = first.source()._replace(open_epoch=open_epoch)
    return SealedTrust(source, [OLD.vkey()])


def ended(first: OperationsPartition) -> EpochForked:
    """The fork that ends the log where it stands."""
    return replace(FORK, size=first.frontier.size, root=first.frontier.root())


async def test_orders_go_on_in_the_epoch_that_its_own_order_opens() -> None:
    first = OperationsPartition().send(added(NEW)).seal(OLD)
    fork = ended(first)
    first.send(added(Key("void"))).seal(OLD)
    later = OperationsPartition(origin=FORK.opens)
    later.send(signed_order(fork), added(Key("third"))).seal(OLD)
    trust = forked(first, later)
    expected = {key.vkey().render() for key in (OLD, NEW, Key("third"))}
    assert await counts(trust) == expected
    assert trust.history.forks(ORIGIN) == (fork,)
    later.send(added(Key("fourth"))).seal(NEW)
    assert await counts(trust) == expected | {Key("fourth").vkey().render()}


@pytest.mark.parametrize(
    "order",
    [
        b"junk",
        added(NEW),
        signed_order(FORK, NEW),
        signed_order(replace(FORK, epoch=2, origin=FORK.opens)),
    ],
)
async def test_a_topic_of_the_right_name_without_its_order_opens_no_epoch(order: bytes) -> None:
    first = OperationsPartition().send(b"junk").seal(OLD)
    later = OperationsPartition(origin=FORK.opens).send(order).seal(OLD)
    trust = forked(first, later)
    assert await counts(trust) == {OLD.vkey().render()}
    assert trust.history.forks(ORIGIN) == ()


async def test_a_log_that_fails_behind_its_fork_holds_up_no_order() -> None:
    first = OperationsPartition().send(added(NEW)).seal(OLD)
    fork = ended(first)
    trust = forked(first, None)
    await trust.refresh()
    first.send(b"x").seal(Key("stranger"))
    with pytest.raises(TransientError, match="does not verify"):
        await trust.refresh()
    later = OperationsPartition(origin=FORK.opens).send(signed_order(fork)).seal(NEW)
    trust._source = forked(first, later)._source
    assert len(await counts(trust)) == 2


@pytest.mark.parametrize("signer", [OLD, NEW])
async def test_a_start_behind_a_fork_keeps_every_order_before_it(signer: Key) -> None:
    """One foreign value behind the fork takes back no retirement, and lets no stolen key sign."""
    first = OperationsPartition().send(added(NEW), added(OLD)).seal(OLD)
    first.seal(OLD, NEW).send(retired(OLD, first)).seal(OLD, NEW).seal(NEW)
    fork = ended(first)
    first.rows.append(Record(first._offset, 1, None, b"garbage"))
    first._offset += 1
    later = OperationsPartition(key=signer, origin=FORK.opens)
    later.send(signed_order(fork)).seal(signer)
    trust = forked(first, later)
    if signer is OLD:
        with pytest.raises(UnverifiedOrdersError, match="does not verify"):
            await trust.refresh()
    else:
        assert (await trust.refresh()).forks(ORIGIN) == (fork,)
    assert trust.history.is_retired(OLD.vkey())
    assert trust.history.is_added(NEW.vkey())


async def test_what_is_sealed_before_a_place_that_fails_counts_at_a_start() -> None:
    log = OperationsPartition().send(added(NEW)).seal(OLD)
    log.send(retired(OLD, log)).seal(Key("stranger"))
    trust = trust_in(log)
    with pytest.raises(UnverifiedOrdersError, match="does not verify"):
        await trust.refresh()
    assert trust.history.is_added(NEW.vkey())
    assert not trust.history.is_retired(OLD.vkey())


async def test_an_epoch_behind_a_log_that_is_not_the_accepted_one_does_not_count() -> None:
    first = OperationsPartition().send(added(NEW)).seal(OLD)
    fork = replace(ended(first), root=bytes(32))
    later = OperationsPartition(origin=FORK.opens)
    later.send(signed_order(fork), added(Key("third"))).seal(OLD)
    with pytest.raises(TransientError, match="restore it from the archive"):
        await forked(first, later).refresh()


async def test_orders_that_were_forked_are_not_forgotten_with_the_topic_they_stood_in() -> None:
    first = OperationsPartition().send(added(NEW)).seal(OLD)
    later = OperationsPartition(origin=FORK.opens).send(signed_order(ended(first))).seal(OLD)
    with pytest.raises(TransientError, match="restore it from the archive"):
        await forked(OperationsPartition(), later).refresh()


class _Sent:
    """The source of the operations, as a reader gets it."""

    topic, partition = "attestream.operations", 0

    def __init__(self, *values: bytes) -> None:
        self.rows = [Record(n, 1, None, value) for n, value in enumerate(values)]

    async def bounds(self) -> Bounds:
        return Bounds(0, len(self.rows), len(self.rows))

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        found = [row for row in self.rows if row.offset >= offset][:max_records]
        assert max_wait_ms
        return Fetched(found, offset + len(found))


async def test_its_sealer_takes_a_fork_of_its_own_log_as_it_is_sent() -> None:
    other = replace(FORK, origin=LOG)
    sent = _Sent(b"junk", signed_order(FORK, NEW), signed_order(other))
    sealed = trust_in(OperationsPartition())
    own = OwnForks(sealed, OperationsPartition().source()._replace(reader=sent))  # type: ignore[arg-type]
    assert (await own.refresh()).operations == []
    sent.rows.append(Record(3, 1, None, signed_order(FORK)))
    assert (await own.refresh()).forks(ORIGIN) == (FORK,)
    assert sealed.history.forks(ORIGIN) == ()


@pytest.mark.parametrize("anchored", [0, 1])
async def test_nothing_is_signed_while_orders_lack_that_were_kept_once(anchored: int) -> None:
    """The audit topic was emptied, and with it a retirement: its own sealer may restore it."""
    old = signer("test")
    log, whole = OperationsPartition(), OperationsPartition().send(added(NEW)).seal(OLD)
    log.rows, log._offset = [], 0

    async def kept(_origin: str) -> int:
        return anchored

    source = log.source()._replace(kept=kept)
    trust = SealedTrust(source, [OLD.vkey()], lambda: [old])
    await trust.refresh()
    with pytest.raises(SettingsError, match="some that add and retire keys may be missing"):
        trust.signers(LOG)
    assert trust.signers(ORIGIN) == [old]
    log.rows, log._offset = whole.rows, whole._offset
    await trust.refresh()
    assert (trust.lacking, trust.signers(LOG)) == ("", [old])
