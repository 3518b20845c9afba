"""Trust that moves, and the roster, both read from the sealed logs themselves (formats §5).

A verifier that is given an operator's vkey (`<base>/operator`) needs no other: it reads the sealed
operations, believes those that the operator signed, and learns from them which keys count for
which log, up to where, and which records an operator declared void. Then it reads the sealed
heads: they say which logs there were, and where each stood.

Both logs stand in the store under test. So they can withhold, never invent: every order bears the
operator's signature, every head that of a key of its log. They are read before the logs they
speak of, which can then only have grown.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from schemas.audit_values import decode_content
from schemas.records import AuditRecord, Plain, Record
from streams.audit.checkpoint import parse_log_name
from streams.audit.note import MalformedError, TrustedKeys, Vkey
from streams.audit.operations import Operation, open_operation
from streams.audit.roster import Roster
from streams.audit.trail import Trail
from streams.audit.trust import SealedOrder, TrustHistory, without_void
from streams.errors import BreakError, SourceUnreadableError
from streams.verifier.verdicts import Trust

__all__ = ["OPERATOR", "RootLogs", "anchor_keys", "has_operator", "rooted"]

OPERATOR = "/operator"


class RootLogs(Protocol):
    """The logs of operations and heads, where the logs to be verified are."""

    def rows(self, name: Literal["operations", "heads"]) -> Sequence[AsyncIterator[list[Record]]]:
        """The committed records, in order, of each log that claims to be one of the two.

        A store may hold logs of several deployments, or of nobody.
        """


def has_operator(keys: TrustedKeys | None) -> bool:
    """Whether an operator's key is among `keys`: then others may be sealed orders."""
    return keys is not None and any(vkey.name.endswith(OPERATOR) for vkey in keys.vkeys)


def anchor_keys(keys: TrustedKeys | None) -> TrustedKeys | None:
    """Keys that what the caller kept is checked with when it is opened.

    None where sealed orders are still to say who may sign: what a caller kept then counts as it
    is, and no log can be intact that contradicts it.
    """
    return None if has_operator(keys) else keys


async def rooted(trust: Trust, logs: RootLogs) -> Trust:
    """What the caller trusts, and what follows from it by the sealed operations and heads.

    Raises:
        SourceUnreadableError: an order of the operator that this version does not know.
    """
    if trust.keys is None:
        return trust
    history = await _history(trust.keys, logs)
    keys = history.keys if has_operator(trust.keys) else trust.keys
    heads = [head for origin in sorted(history.origins) for head in history.heads(origin)]
    forks = {origin: history.fork(origin) for origin in history.origins}
    roster = Roster(keys)
    for rows in logs.rows("heads"):
        async for origin, index, content in _sealed(rows, keys):
            fork = forks.get(origin)
            if fork is None or index < fork.size:
                roster.apply(content)
    heads += [head for origin in sorted(roster.origins) for head in roster.heads(origin)]
    manifests = {origin: roster.manifests(origin) for origin in roster.origins}
    return replace(
        trust,
        keys=keys,
        heads=tuple(dict.fromkeys(heads)),
        has_roster=bool(roster.origins),
        manifests={origin: digests for origin, digests in manifests.items() if digests},
        forks={origin: fork for origin, fork in forks.items() if fork is not None},
        has_orders=bool(history.operations),
    )


async def _history(keys: TrustedKeys, logs: RootLogs) -> TrustHistory:
    operators: dict[str, list[Vkey]] = {}
    for vkey in keys.vkeys:
        if vkey.name.endswith(OPERATOR):
            operators.setdefault(vkey.name.removesuffix(OPERATOR), []).append(vkey)
    history = TrustHistory(vkey for vkey in keys.vkeys if not vkey.name.endswith(OPERATOR))
    for base, vkeys in operators.items():
        for operation in without_void(await _orders(base, TrustedKeys(vkeys), logs)):
            history.apply(operation)
    return history


async def _orders(base: str, operator: TrustedKeys, logs: RootLogs) -> list[SealedOrder]:
    """Every order of an operator, with where it is sealed."""
    orders = []
    for rows in logs.rows("operations"):
        # Whose signatures its checkpoints bear is told by the log itself: so its shape alone
        # is checked here, and all of it as that of any log when trust is known.
        async for origin, index, content in _sealed(rows, None):
            if parse_log_name(origin).deployment != base:
                break
            operation = _ordered(content, base, operator)
            if operation is not None:
                orders.append(SealedOrder(origin, index, operation))
    return orders


def _ordered(content: Plain, base: str, operator: TrustedKeys) -> Operation | None:
    try:
        return open_operation(content.value or b"", base, operator)
    except MalformedError as error:
        sentence = f"the operator of {base} signed what this version does not know"
        raise SourceUnreadableError(f"{sentence}: {error}") from error


async def _sealed(
    pages: AsyncIterator[list[Record]], keys: TrustedKeys | None
) -> AsyncIterator[tuple[str, int, Plain]]:
    """Origin, index and content of the sealed records of a log, up to its first break."""
    trail = Trail(None, keys)
    waiting: deque[AuditRecord] = deque()
    offset = 0
    async for page in pages:
        for row in page:
            try:
                # Offsets of archived rows begin anew with each segment; nothing vouches for them.
                fed = trail.feed(row._replace(offset=offset))
            except BreakError:
                return
            offset += 1
            if isinstance(fed, AuditRecord):
                waiting.append(fed)
            while waiting and waiting[0].index < trail.size:
                sealed = waiting.popleft()
                content = decode_content(sealed.content)
                if isinstance(content, Plain):
                    yield trail.origin or "", sealed.index, content
