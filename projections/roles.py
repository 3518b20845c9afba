"""The roles of a worker, and the projection behind each.

A projection's libraries are imported only where its role runs.
"""

from collections.abc import Callable

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
    makers: list[Callable[[Deployment], RoleSpec]] = []
    return [make(deployment) for make in makers]
