"""Running an archiver over a log, and checking an archive with nothing of the archiver's code."""

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import fastavro

from projections.archive.fold import CutRules
from projections.archive.projection import ArchiveProjection, ArchiveWorld
from streams.clock import SystemClock
from streams.errors import FencedError, OutcomeUnknownError, TransientError
from streams.ports import ObjectStore
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog, batches_of

__all__ = [
    "Died",
    "archived",
    "archived_values",
    "archiver",
    "check_archive",
    "run_archiver",
    "stand_still",
]

SEGMENTS = f"archive/v1/{ORIGIN}/segments/"
RECORD = bytes.fromhex("c30131939f51e3268559")


class Died(BaseException):
    """The process ended here: nothing of it runs any more."""


def archiver(objects: ObjectStore, rules: CutRules | None = None) -> ArchiveProjection:
    world = ArchiveWorld(
        objects=objects,
        keys=KEYS,
        clock=SystemClock(),
        retain_days=1,
        rules=rules or CutRules(),
    )
    return ArchiveProjection(world, ORIGIN)


async def run_archiver(
    objects: ObjectStore, log: SealedLog, rules: CutRules | None = None, *, starts: int = 50
) -> None:
    """The read loop until everything sealed is archived: whatever may pass, it opens anew."""
    for _ in range(starts):
        projection = archiver(objects, rules)
        try:
            await stand_still(projection, log)
        except (Died, FencedError, OutcomeUnknownError, TransientError):
            continue
        finally:
            await projection.close()
        return
    raise AssertionError(f"not archived after {starts} starts")


async def stand_still(projection: ArchiveProjection, log: SealedLog) -> None:
    for batch in batches_of(log, await projection.resume()):
        await projection.apply(batch)
    await projection.idle()


async def archived(objects: ObjectStore) -> list[int]:
    """First index of each stored segment."""
    return [int(v.key[len(SEGMENTS) : -5]) for v in await objects.versions(SEGMENTS)]


async def check_archive(objects: ObjectStore, log: SealedLog, *, size: int) -> None:
    """Every leaf below `size` exactly once, manifests chained, anchors verbatim.

    Each name must have one version: nobody wrote twice.
    """
    values = await archived_values(objects)
    assert len(values) == size
    assert values == _sealed(log, size)


async def archived_values(objects: ObjectStore, origin: str = ORIGIN) -> list[bytes]:
    """Every audit record of an archived log, read and checked with nothing of the archiver's.

    Each name must have one version: nobody wrote twice.
    """
    archive, anchors = f"archive/v1/{origin}/", f"anchors/v1/{origin}/"
    kept = [v.key for v in await objects.versions("")]
    names = [name for name in kept if name.startswith((archive, anchors))]
    assert len(names) == len(set(names))
    due, previous = 0, "0" * 64
    values: list[bytes] = []
    segments = [name for name in names if name.startswith(f"{archive}segments/")]
    for name in segments:
        assert name == f"{archive}segments/{due:020d}.avro"
        data = await _body(objects, name)
        rows: list[Any] = list(fastavro.reader(io.BytesIO(data)))
        records = [row["value"] for row in rows if row["value"][:10] == RECORD]
        stored = await _body(objects, f"{archive}manifests/{due:020d}.json")
        manifest = json.loads(stored)
        assert manifest["first_index"] == due
        assert manifest["last_index"] == due + len(records) - 1
        assert manifest["previous"] == previous
        assert manifest["sha256"] == sha256(data).hexdigest()
        assert manifest["segment"] == name
        note = await _body(objects, f"{anchors}{due + len(records):020d}.note")
        assert manifest["checkpoint"].encode() == note
        assert note in rows[-1]["value"]
        due, previous = due + len(records), sha256(stored).hexdigest()
        values += records
    notes = [name for name in names if name.endswith(".note")]
    manifests = [name for name in names if name.endswith(".json")]
    assert len(segments) == len(manifests) == len(notes)
    return values


def _sealed(log: SealedLog, size: int) -> list[bytes]:
    values: Sequence[bytes] = [row.value or b"" for row in log.rows]
    return [value for value in values if value[:10] == RECORD][:size]


async def _body(objects: ObjectStore, name: str) -> bytes:
    (version,) = await objects.versions(name)
    body = await objects.get(name, version.version_id)
    assert body is not None
    return body
