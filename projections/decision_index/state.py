"""The whole state of a decision index as arrays, to be stored, and taken back.

What comes back is checked before it is used, but not against the log: whoever stored it binds it
to the log, to `STATE_VERSION` and to the version of the rules, and authenticates every byte. The
graph is no part of it: no verdict depends on it, and it catches up.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from projections.decision_index.fold import DecisionFold, MakeRows, Tallies
from projections.decision_index.scoring import Rules
from projections.decision_index.stored import Appended, Parts, StateError
from schemas.codec import BUILT_IN, SchemaLookup

__all__ = [
    "STATE_VERSION",
    "Appended",
    "FoldState",
    "StateError",
    "StoredTenant",
    "TenantState",
    "export_state",
    "restore_state",
]

STATE_VERSION = 1  # of the arrays: their names, their order, what their numbers mean


class TenantState(NamedTuple):
    """One tenant: arrays that are only appended to, and what changes."""

    tenant: str
    rows: int
    appended: tuple[Appended, ...]
    changing: dict[str, bytes]


class FoldState(NamedTuple):
    """Tenants in the order of their names, and what belongs to all of them."""

    tenants: tuple[TenantState, ...]
    changing: bytes


class StoredTenant(NamedTuple):
    """One tenant as it comes back: every array whole."""

    tenant: str
    rows: int
    appended: Mapping[str, bytes]
    changing: Mapping[str, bytes]


def export_state(fold: DecisionFold) -> FoldState:
    """The state to be stored. Its parts are to be copied before the fold learns more."""
    tenants = []
    for name in fold.tenants:
        tenant = fold.tenant(name)
        small = {
            "leaves": tenant.leaves,
            "throttle": tenant.throttle.state(),
            "budget": tenant.budget.state(),
        }
        tenants.append(
            TenantState(
                name,
                len(tenant.rows),
                (*tenant.rows.appended(), *tenant.habits.appended()),
                {
                    **tenant.rows.changing(),
                    **tenant.habits.changing(),
                    "small": json.dumps(small).encode(),
                },
            )
        )
    common = {
        "version": STATE_VERSION,
        "timestamp": fold.timestamp,
        "tallies": asdict(fold.tallies),
    }
    return FoldState(tuple(tenants), json.dumps(common).encode())


def restore_state(
    changing: bytes,
    tenants: Sequence[StoredTenant],
    rules: Rules,
    make_rows: MakeRows,
    schemas: SchemaLookup = BUILT_IN,
) -> DecisionFold:
    """The fold that was stored.

    Raises:
        StateError: no fold of this version can have been stored so.
    """
    fold = DecisionFold(rules, make_rows, schemas)
    try:
        common = json.loads(changing)
        _check_version(common["version"])
        fold.timestamp = int(common["timestamp"])
        fold.tallies = Tallies(**common["tallies"])
        for stored in tenants:
            _restore_tenant(fold, stored)
    except StateError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise StateError(f"no state of a decision index: {error!r}") from error
    return fold


def _check_version(version: object) -> None:
    if version != STATE_VERSION:
        raise StateError(f"state of version {version}, this is {STATE_VERSION}")


def _restore_tenant(fold: DecisionFold, stored: StoredTenant) -> None:
    if stored.tenant in fold.tenants:
        raise StateError(f"the tenant {stored.tenant!r} stands twice")
    parts = Parts({**stored.changing, **stored.appended})
    tenant = fold.tenant(stored.tenant)
    tenant.rows.restore(parts)
    if len(tenant.rows) != stored.rows:
        raise StateError(f"{len(tenant.rows)} rows of {stored.rows}")
    tenant.habits.lexicon = tenant.rows.lexicon
    tenant.habits.restore(parts)
    small = json.loads(parts.bytes("small"))
    tenant.leaves = int(small["leaves"])
    tenant.throttle.restore(small["throttle"])
    tenant.budget.restore(small["budget"])
    fold.restored(stored.tenant)
