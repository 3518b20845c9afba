"""A decision index's state as named bytes and back, for snapshots.

The state itself is `state`'s: arrays that only grow, and what changes. Here each array becomes a
growing part, `<array>/<tenant>`, and everything else a changing one.
"""

import json
from collections.abc import Mapping
from functools import partial

from projections.decision_index.embedding import Features, embed
from projections.decision_index.fold import DecisionFold, MakeRows
from projections.decision_index.scoring import Rules, rule_version
from projections.decision_index.state import (
    STATE_VERSION,
    Appended,
    StateError,
    StoredTenant,
    export_state,
    restore_state,
)
from projections.snapshots.parts import Growing, LoadedParts, StateParts
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.codec import SchemaLookup

__all__ = ["TOLD", "fold_of", "parameters_of", "parts_of", "smoke_search", "told_in"]

FOLD, TENANTS, TOLD = "fold", "tenants", "told"
TENANTS_TRIED, ROWS_TRIED = 3, 5
NOBODY = Features("", "", (), "", "", "", "", "")


def parameters_of(rules: Rules) -> dict[str, str]:
    """What a state depends on beside its log."""
    return {"rules": rule_version(rules), "state": str(STATE_VERSION)}


def parts_of(fold: DecisionFold) -> StateParts:
    """The state as it is now; parts are to be copied before the fold goes on."""
    state = export_state(fold)
    growing: list[Growing] = []
    changing = {FOLD: state.changing}
    listed = []
    for tenant, rows, appended, own in state.tenants:
        listed.append([tenant, rows, [array.name for array in appended], sorted(own)])
        for array in appended:
            size = array.items * array.item_bytes
            growing.append(Growing(f"{array.name}/{tenant}", size, partial(_part, array)))
        changing |= {f"{name}/{tenant}": data for name, data in own.items()}
    changing[TENANTS] = json.dumps(listed).encode()
    return StateParts(tuple(growing), changing)


def fold_of(
    parts: LoadedParts, rules: Rules, make_rows: MakeRows, schemas: SchemaLookup
) -> DecisionFold:
    """A fold in that state; shares nothing, so it may be made in a thread.

    Raises:
        SnapshotRefusedError: the parts are no state.
    """
    try:
        stored = [_stored(parts, *listed) for listed in json.loads(parts.changing[TENANTS])]
        return restore_state(parts.changing[FOLD], stored, rules, make_rows, schemas)
    except (StateError, ValueError, TypeError, KeyError) as error:
        raise SnapshotRefusedError(f"no state of a decision index: {error}"[:300]) from error


def told_in(parts: LoadedParts) -> int:
    """The last leaf whose alert was published when the state was saved, -1 for none.

    Raises:
        SnapshotRefusedError: it does not say.
    """
    try:
        return int(parts.changing[TOLD])
    except (ValueError, KeyError) as error:
        raise SnapshotRefusedError(f"it does not say what was published: {error}") from error


def smoke_search(fold: DecisionFold) -> str:
    """Search for some rows of some tenants: each must be its own nearest; else what is wrong."""
    for tenant in fold.tenants[:TENANTS_TRIED]:
        for row in fold.nearest(tenant, embed(NOBODY), ROWS_TRIED):
            nearest = fold.nearest(tenant, embed(row.features), 1)
            if not nearest or nearest[0].similarity < 1.0:
                return f"the decision of leaf {row.leaf} is not its own nearest"
    return ""


def _part(array: Appended, first: int, end: int) -> bytes:
    """Bytes [first, end) of an array; chunks need not end between two items."""
    size = array.item_bytes
    low = first // size
    whole = array.part(low, -(-end // size))
    # Nearly always the items are whole: then nothing is copied twice.
    return whole if len(whole) == end - first else whole[first - low * size : end - low * size]


def _stored(
    parts: LoadedParts, tenant: str, rows: int, arrays: list[str], own: list[str]
) -> StoredTenant:
    growing: Mapping[str, bytes] = {
        name: parts.growing.get(f"{name}/{tenant}", b"") for name in arrays
    }
    changing = {name: parts.changing[f"{name}/{tenant}"] for name in own}
    return StoredTenant(tenant=tenant, rows=rows, appended=growing, changing=changing)
