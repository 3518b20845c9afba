"""The roles of a worker, and the projection behind each.

A projection's libraries are imported only where its role runs.
"""

from projections.services import RoleSpec
from streams.app import Deployment

__all__ = ["ALL_ROLES", "ARCHIVE", "DEAD_LETTERS", "INDEX", "MEMORY", "SEALER", "projection_specs"]

SEALER = "sealer"
INDEX = "index"
ARCHIVE = "archive"
DEAD_LETTERS = "dead-letters"
MEMORY = "memory"
ALL_ROLES = (SEALER, INDEX, ARCHIVE, DEAD_LETTERS, MEMORY)


def projection_specs(deployment: Deployment) -> list[RoleSpec]:
    """Every projection of this deployment, by role."""
    return [_archive(deployment)]


def _archive(d: Deployment) -> RoleSpec:
    from projections.archive.fold import CutRules  # noqa: PLC0415  # as its role runs
    from projections.archive.projection import ArchiveProjection, ArchiveWorld  # noqa: PLC0415

    world = ArchiveWorld(
        objects=d.objects,
        keys=d.keys,
        clock=d.clock,
        retain_days=d.settings.retention_days,
        rules=CutRules(
            bytes_max=d.settings.segment_bytes, records_max=d.settings.segment_records
        ),
    )
    topology = d.engine.topology
    return RoleSpec(
        name=ARCHIVE,
        sources=topology.sources,
        make=lambda topic, partition: ArchiveProjection(world, topology.origin(topic, partition)),
    )
